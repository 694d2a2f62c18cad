CREATE TABLE t (a text, b text);
COPY t FROM stdin;
\\i other.sql	\\set x 1
\\.x	.\\
<<<<<<< HEAD	>>>>>>> branch
	BEGIN; COMMIT;
COPY t FROM stdin;	\\.
\.
