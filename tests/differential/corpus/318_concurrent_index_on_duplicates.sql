-- migrate: no-transaction
CREATE TABLE a (x integer);
INSERT INTO a VALUES (1), (1);
CREATE UNIQUE INDEX CONCURRENTLY i ON a (x);
