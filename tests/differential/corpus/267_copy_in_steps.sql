-- migrate: no-transaction
CREATE TABLE t (a integer, b text);
COPY t FROM stdin;
1	a;b
2	\N
\.
BEGIN;
COPY t FROM stdin WITH (FORMAT csv);
3,"x
y"
\.
COMMIT;
COPY t TO STDOUT;
VACUUM t;
