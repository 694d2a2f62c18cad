CREATE TABLE a (x text);
COPY a FROM stdin;
one
two
