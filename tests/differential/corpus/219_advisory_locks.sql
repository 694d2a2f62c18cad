SELECT pg_advisory_lock(42), pg_advisory_lock(1, 2);
CREATE TABLE t AS SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid IN (42, 2) AND pid = pg_backend_pid();
SELECT pg_advisory_unlock(42);
SELECT pg_advisory_xact_lock(43), pg_try_advisory_lock_shared(44);
