CREATE TABLE squares AS SELECT n, n * n AS square FROM generate_series(1, 10) AS s (n);
SELECT n, 'odd; ' || n AS label INTO odds FROM squares WHERE n % 2 = 1;
CREATE TABLE nothing (a, b) AS SELECT 1, 'x'::text WITH NO DATA;
CREATE TABLE listed AS VALUES (1, 'one;'), (2, 'two');
PREPARE wide (int) AS SELECT $1 AS a, ';' AS b;
CREATE TABLE executed AS EXECUTE wide(7);
DEALLOCATE wide;
