INSERT INTO t (a, b) VALUES (1, 'x;'), (2, E'\';') ON CONFLICT (a) DO UPDATE SET b = excluded.b || ';' RETURNING *;
-- ===
INSERT INTO t DEFAULT VALUES;
-- ===
UPDATE t SET a = ';', (b, c) = (SELECT 1, ';') FROM u WHERE t.a = u.a;
-- ===
DELETE FROM ONLY t USING u WHERE t.a <> ';' RETURNING t.a AS end;
-- ===
MERGE INTO t USING u ON t.a = u.a WHEN MATCHED AND t.b = ';' THEN DELETE WHEN NOT MATCHED THEN INSERT VALUES (';');
-- ===
WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r WHERE n < 5), d AS (DELETE FROM t RETURNING *) SELECT * FROM r, d;
-- ===
SELECT DISTINCT ON (a) a, count(*) FILTER (WHERE b = ';') OVER (PARTITION BY c ORDER BY d ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) FROM t;
-- ===
SELECT * FROM a NATURAL JOIN b LEFT JOIN LATERAL (SELECT ';' AS x) c ON true WHERE EXISTS (SELECT 1) GROUP BY ROLLUP (a, b) HAVING count(*) > 1;
-- ===
(SELECT 1 UNION SELECT 2) EXCEPT SELECT ';' ORDER BY 1 LIMIT 1 OFFSET 2 FOR UPDATE SKIP LOCKED;
-- ===
VALUES (1, ';'), (2, ')');
-- ===
TABLE t;
-- ===
SELECT 1 ;
-- ===
COPY t TO stdout;
-- ===
COPY t (a, b) FROM '/a;b' WITH (FORMAT csv, DELIMITER ';', QUOTE '''');
-- ===
COPY (SELECT * FROM stdin) TO STDOUT;
-- ===
COPY t FROM PROGRAM 'cat; stdin' WHERE a IS DISTINCT FROM stdin;
-- ===
COPY "from stdin;" TO PROGRAM 'cat';
-- ===
TRUNCATE t, u RESTART IDENTITY CASCADE;
-- ===
SELECT pg_catalog.set_config('search_path', '', false);
-- ===
SELECT xmlelement(name a, ';'), extract(year FROM now()), position(';' IN a), trim(both ';' from b), a IS NOT DISTINCT FROM b;
-- ===
SELECT json_object('a;' : 1), ARRAY[[1, 2], [3, 4]], ROW(1, ';'), a[1], (b).c, 'x' COLLATE "C;";
-- ===
EXPLAIN (ANALYZE, FORMAT json) SELECT ';';
-- ===
PREPARE q (int) AS SELECT $1, ';';
-- ===
EXECUTE q (';');
-- ===
DECLARE c SCROLL CURSOR WITH HOLD FOR SELECT ';';
-- ===
FETCH ALL FROM c;
-- ===
CALL p(1, a => ';');
