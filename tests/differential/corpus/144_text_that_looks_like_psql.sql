CREATE TABLE t (a text);
INSERT INTO t VALUES ('
\set ON_ERROR_STOP off
\i other.sql
\.
\copy t from stdin
\gexec
'), ($$
\! true
\q
\.
$$), ('COPY t FROM stdin;
1
\.
');
SELECT /*
\echo nothing
*/ 1;
