CREATE TABLE t (a text, b text);
COPY t FROM stdin;
\.
COPY t (b) FROM stdin;

x

\.
COPY public.t (a) FROM STDIN; -- the data begin on the next line

\.
copy"public"."t"(a)from/* stdin; */stdin;
no blanks
\.
