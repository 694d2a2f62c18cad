CREATE TABLE t (a integer, b text);
INSERT INTO t VALUES (0, 'ahead');
COPY t FROM stdin WITH (FORMAT csv, HEADER);
a,b
1,"two
lines"
2
\.
SELECT 'behind';
