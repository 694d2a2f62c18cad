CREATE SCHEMA a;
SELECT pg_catalog.set_config('search_path', '', false);
CREATE TABLE a.t (x integer);
CREATE TABLE public.u (y integer);
INSERT INTO a.t VALUES (1);
