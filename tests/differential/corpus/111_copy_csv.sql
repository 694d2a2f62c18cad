CREATE TABLE t (id integer, body text, more text);
COPY t (id, body, more) FROM STDIN WITH (FORMAT csv, HEADER true, NULL 'none', FORCE_NOT_NULL (body));
id,body,more
1,"a;b",none
2,"two
lines; of 'text'","she said ""hi"""
3,$$ -- /*,\N
4,"\",'
5,none,"none"
\.
SELECT count(*) FROM t;
