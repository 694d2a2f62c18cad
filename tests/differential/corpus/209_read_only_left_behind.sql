CREATE TABLE t (a integer);
INSERT INTO t VALUES (1);
SET default_transaction_read_only = on;
