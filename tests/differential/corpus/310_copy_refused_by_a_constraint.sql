CREATE TABLE t (a integer UNIQUE);
COPY t FROM stdin;
1
2
1
\.
