\restrict gGm1VhVg5Xc7xqYQbEXAMPLE

SET statement_timeout = 0;
SET lock_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;
SET default_tablespace = '';
SET default_table_access_method = heap;

CREATE TABLE public.a (id integer NOT NULL, body text);
COPY public.a (id, body) FROM stdin;
1	a;b
2	\N
\.

ALTER TABLE ONLY public.a ADD CONSTRAINT a_pkey PRIMARY KEY (id);

\unrestrict gGm1VhVg5Xc7xqYQbEXAMPLE
