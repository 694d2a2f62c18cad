CREATE TABLE t (a integer, "end" text);
INSERT INTO t SELECT n, CASE WHEN n > 1 THEN CASE n WHEN 2 THEN 'two;' ELSE 'many' END ELSE 'one' END FROM generate_series(1, 3) AS n;
CREATE FUNCTION label(n integer) RETURNS text LANGUAGE sql
BEGIN ATOMIC
  SELECT CASE WHEN n = 1 THEN 'one;' ELSE (SELECT CASE WHEN true THEN 'nested' END) END;
END;
CREATE VIEW labelled AS SELECT label(a) AS begin, "end" FROM t;
