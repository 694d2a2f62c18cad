CREATE FUNCTION near(integer, integer) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT abs($1 - $2) < 2';
CREATE OPERATOR ~~~ (LEFTARG = integer, RIGHTARG = integer, FUNCTION = near, COMMUTATOR = ~~~);
CREATE FUNCTION backwards(integer, integer) RETURNS integer LANGUAGE sql IMMUTABLE AS 'SELECT sign($2 - $1)::integer';
CREATE FUNCTION twice(integer) RETURNS integer LANGUAGE sql IMMUTABLE AS 'SELECT $1 * 2';
CREATE OPERATOR @#@ (RIGHTARG = integer, FUNCTION = twice);
CREATE OPERATOR FAMILY reversed USING btree;
CREATE OPERATOR CLASS reversed_ops FOR TYPE integer USING btree FAMILY reversed AS
  OPERATOR 1 >, OPERATOR 2 >=, OPERATOR 3 =, OPERATOR 4 <=, OPERATOR 5 <, FUNCTION 1 backwards(integer, integer);
CREATE TABLE n AS SELECT i, @#@ i AS doubled, i OPERATOR(public.~~~) 3 AS close FROM generate_series(1, 5) AS i;
CREATE INDEX ON n (i reversed_ops);
