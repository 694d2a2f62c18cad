CREATE TABLE t (a integer, b text);
COPY t FROM stdin;
1	fine
COPY t, line 99	not a number
\.
