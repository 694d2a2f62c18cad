CREATE TABLE t (a text);
COPY t FROM stdin;
one
\.two
three
\.
