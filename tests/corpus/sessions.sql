BEGIN;
-- ===
BEGIN ISOLATION LEVEL SERIALIZABLE, READ ONLY;
-- ===
START TRANSACTION READ WRITE;
-- ===
SAVEPOINT a;
-- ===
RELEASE SAVEPOINT a;
-- ===
ROLLBACK TO SAVEPOINT a;
-- ===
END;
-- ===
COMMIT AND NO CHAIN;
-- ===
ABORT;
-- ===
PREPARE TRANSACTION 'a;b';
-- ===
COMMIT PREPARED 'a;b';
-- ===
SET search_path TO "a;", public;
-- ===
SET LOCAL statement_timeout = '1s';
-- ===
SET standard_conforming_strings = on;
-- ===
SET SESSION AUTHORIZATION 'r;';
-- ===
SET TIME ZONE INTERVAL '1:00' HOUR TO MINUTE;
-- ===
RESET ALL;
-- ===
SHOW ALL;
-- ===
VACUUM (ANALYZE, VERBOSE) t (a, b);
-- ===
ANALYZE t;
-- ===
CLUSTER t USING i;
-- ===
REINDEX (VERBOSE) TABLE CONCURRENTLY t;
-- ===
REFRESH MATERIALIZED VIEW CONCURRENTLY m;
-- ===
LOCK TABLE t IN ACCESS EXCLUSIVE MODE NOWAIT;
-- ===
LISTEN "a;b";
-- ===
NOTIFY c, 'a;b';
-- ===
DISCARD ALL;
-- ===
CHECKPOINT;
-- ===
DEALLOCATE ALL;
-- ===
LOAD 'a;b';
-- ===
SET CONSTRAINTS ALL IMMEDIATE;
