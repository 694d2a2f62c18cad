-- migrate: no-transaction
CREATE TABLE t (a integer PRIMARY KEY);
INSERT INTO t SELECT generate_series(1, 100);
DELETE FROM t WHERE a > 50;
VACUUM t;
VACUUM (FULL, ANALYZE) t;
CLUSTER t USING t_pkey;
CLUSTER;
ANALYZE;
