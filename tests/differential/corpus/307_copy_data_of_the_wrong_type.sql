CREATE TABLE t (a integer, b text);
COPY t FROM stdin;
1	one
2	two
three	three
4	four
\.
CREATE TABLE never (x integer);
