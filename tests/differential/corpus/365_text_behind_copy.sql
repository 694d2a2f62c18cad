CREATE TABLE a (x text);
COPY a FROM stdin; SELECT 1;
one
\.
