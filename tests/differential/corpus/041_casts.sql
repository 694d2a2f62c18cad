CREATE TYPE celsius AS (degrees numeric);
CREATE FUNCTION celsius(numeric) RETURNS celsius LANGUAGE sql IMMUTABLE AS $$ SELECT ROW($1)::celsius $$;
CREATE CAST (numeric AS celsius) WITH FUNCTION celsius(numeric) AS ASSIGNMENT;
CREATE TABLE weather (day integer, warmth celsius);
INSERT INTO weather VALUES (1, 21.5);
CREATE DOMAIN code AS text;
CREATE CAST (celsius AS text) WITH INOUT;
COMMENT ON CAST (numeric AS celsius) IS 'a number; in degrees';
