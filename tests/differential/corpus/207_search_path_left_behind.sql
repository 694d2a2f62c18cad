CREATE SCHEMA "My;Schema";
SET search_path TO "My;Schema", public;
CREATE TABLE t (a integer DEFAULT 1);
CREATE FUNCTION f() RETURNS integer LANGUAGE sql AS 'SELECT a FROM t';
