-- migrate: lock_timeout=2s
CREATE TABLE t (a integer);
INSERT INTO t VALUES (1);
