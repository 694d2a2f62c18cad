CREATE TABLE t (id integer, body text, more text);
COPY t FROM stdin;
1	plain	\N
2	semi;colon	it's "quoted"
3	tab\tnewline\nbackslash\\	\\N
4	-- not a comment	/* nor this
5	$$ not a dollar quote	$1 %s
6		\x41\101
7	\\.	SELECT 1;
8	\\restrict abc	日本𝄞
\.
INSERT INTO t VALUES (9, 'behind the data', NULL);
