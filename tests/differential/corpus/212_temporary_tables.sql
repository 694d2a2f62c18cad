CREATE TEMP TABLE gathered (a integer);
INSERT INTO gathered SELECT generate_series(1, 5);
CREATE TABLE kept AS SELECT sum(a) FROM gathered;
CREATE TEMPORARY VIEW seen AS SELECT * FROM gathered;
CREATE TEMP SEQUENCE numbers;
INSERT INTO kept SELECT nextval('numbers') FROM seen;
CREATE FUNCTION pg_temp.plus(a integer) RETURNS integer LANGUAGE sql AS 'SELECT $1 + 1';
INSERT INTO kept VALUES (pg_temp.plus(1));
