CREATE TABLE t (id integer, "from" text, "to" text);
COPY t ("from", id) FROM STDIN WITH (FORMAT text, FREEZE false, ENCODING 'UTF8') WHERE id > 1;
one	1
two; stdin	2
drei ü	3
\.
COPY (SELECT "from", "to" FROM t ORDER BY id) TO STDOUT WITH (FORMAT csv);
COPY t TO STDOUT;
INSERT INTO t VALUES (4, 'after', 'COPY TO');
