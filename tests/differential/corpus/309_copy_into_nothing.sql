CREATE TABLE t (a integer);
COPY nothing FROM stdin;
1
CREATE TABLE never (x integer);
\.
CREATE TABLE never (x integer);
