-- What is set is the transaction that the file runs in.
SET TRANSACTION ISOLATION LEVEL REPEATABLE READ;
CREATE TABLE t AS SELECT current_setting('transaction_isolation') AS isolation;
