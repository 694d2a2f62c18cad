-- A header.
SET search_path = pg_catalog, public;
RESET work_mem;
START TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ WRITE;
CREATE TABLE public.a AS SELECT current_setting('transaction_isolation') AS isolation;
END WORK;
