CREATE FUNCTION span_diff(a numeric, b numeric) RETURNS double precision LANGUAGE sql IMMUTABLE AS 'SELECT (a - b)::double precision';
CREATE TYPE span AS RANGE (subtype = numeric, subtype_diff = span_diff, multirange_type_name = spans);
CREATE TABLE opening (during span, several spans, days datemultirange);
INSERT INTO opening VALUES ('[1,2)', '{[1,2), [5,)}', '{[2026-01-01,2026-02-01)}');
CREATE INDEX ON opening USING gist (during);
