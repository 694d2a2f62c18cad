CREATE SEQUENCE s;
CREATE TABLE t (a bigint DEFAULT nextval('s'), b bigint);
INSERT INTO t (b) SELECT currval('s') FROM (SELECT nextval('s')) AS n (x);
INSERT INTO t (b) VALUES (lastval()), (currval('s'));
ALTER SEQUENCE s RESTART WITH 50 INCREMENT -7 MAXVALUE 60 MINVALUE -100;
INSERT INTO t (b) VALUES (0), (1);
