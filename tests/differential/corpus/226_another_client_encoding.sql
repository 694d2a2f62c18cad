CREATE TABLE t (a text);
SET client_encoding = 'LATIN1';
INSERT INTO t VALUES ('ä;'), ('€');
COPY t FROM stdin;
ü;
\.
SET NAMES 'UTF8';
INSERT INTO t VALUES ('ö;');
