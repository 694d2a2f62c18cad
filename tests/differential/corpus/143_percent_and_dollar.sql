CREATE TABLE t (a text, b numeric);
INSERT INTO t VALUES ('100%', 7 % 4), ('%s %(name)s %%', 5%3), ('$1 $2 {0} {name} ? :name @name', 1);
PREPARE add (text, numeric) AS INSERT INTO t VALUES ($1 || '%', $2 % 2);
EXECUTE add ('%s;', 5);
SELECT a LIKE '%;%' FROM t;
DO $$ BEGIN RAISE NOTICE '100%%; %', (SELECT count(*) FROM t); END $$;
