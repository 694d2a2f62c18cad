--
-- PostgreSQL database dump
--

SELECT pg_catalog.set_config('search_path', '', false);

CREATE TABLE public.files (
    id integer,
    content oid
);

--
-- Name: 16853; Type: BLOB; Schema: -; Owner: -
--

SELECT pg_catalog.lo_create('16853');

--
-- Data for Name: files; Type: TABLE DATA; Schema: public; Owner: -
--

COPY public.files (id, content) FROM stdin;
1	16853
\.

--
-- Data for Name: BLOBS; Type: BLOBS; Schema: -; Owner: -
--

BEGIN;

SELECT pg_catalog.lo_open('16853', 131072);
SELECT pg_catalog.lowrite(0, '\x78797a');
SELECT pg_catalog.lowrite(0, '\x31');
SELECT pg_catalog.lo_close(0);

COMMIT;

--
-- PostgreSQL database dump complete
--

CREATE TABLE public.sizes AS SELECT content, octet_length(pg_catalog.lo_get(content)) AS bytes FROM public.files;
