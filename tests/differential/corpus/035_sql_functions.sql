CREATE FUNCTION one() RETURNS integer LANGUAGE sql AS 'SELECT 1;';
CREATE FUNCTION quoted(text) RETURNS text AS 'SELECT ''it''''s; '' || $1' LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION escaped() RETURNS text LANGUAGE sql AS E'SELECT \'a;\\\\b\';';
CREATE FUNCTION several(a integer, b integer DEFAULT 5) RETURNS SETOF integer LANGUAGE sql ROWS 2 COST 10 AS $f$
  SELECT a; -- thrown away
  SELECT a UNION ALL SELECT b;
$f$;
CREATE FUNCTION table_of(n integer) RETURNS TABLE (i integer, label text) LANGUAGE sql STABLE
  AS $$ SELECT i, $b$;$b$ || i FROM generate_series(1, n) AS i $$;
CREATE FUNCTION variadic_sum(VARIADIC numbers integer[]) RETURNS bigint LANGUAGE sql RETURN (SELECT sum(n) FROM unnest(numbers) AS n);
CREATE FUNCTION outs(IN a integer, OUT b integer, INOUT c integer) LANGUAGE sql AS $_$ SELECT $1 + 1, $2 + 1 $_$;
CREATE TABLE result AS SELECT one(), quoted('x'), escaped(), (outs(1, 2)).b, variadic_sum(1, 2, 3), (SELECT sum(several) FROM several(2));
