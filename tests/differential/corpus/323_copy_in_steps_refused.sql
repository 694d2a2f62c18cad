-- migrate: no-transaction
CREATE TABLE t (a integer);
COPY t FROM stdin;
1
\.
COPY t FROM stdin;
2
x
\.
CREATE TABLE never (x integer);
