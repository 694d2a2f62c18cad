-- migrate: no-transaction
CREATE TABLE a (x integer);
INSERT INTO a VALUES (1);
SELECT 1 / 0;
CREATE TABLE never (x integer);
