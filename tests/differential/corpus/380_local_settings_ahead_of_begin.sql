SET LOCAL search_path = pg_catalog;
BEGIN;
CREATE TABLE public.a (x integer);
COMMIT;
