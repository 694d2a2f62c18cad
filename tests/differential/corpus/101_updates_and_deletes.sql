CREATE TABLE t (id integer, a text, b integer);
INSERT INTO t SELECT n, 'row ' || n, n % 3 FROM generate_series(1, 20) AS n;
UPDATE t SET (a, b) = (SELECT 'x;' || max(u.id), 5 FROM t AS u WHERE u.b = t.b) WHERE id < 4;
DELETE FROM t USING generate_series(5, 8) AS gone WHERE t.id = gone RETURNING t.*;
UPDATE t SET a = upper(a) FROM (VALUES (10), (11)) AS v (id) WHERE v.id = t.id;
DELETE FROM t WHERE ctid IN (SELECT ctid FROM t WHERE b = 0 LIMIT 2);
