-- migrate: no-transaction
CREATE TABLE a (x integer);
BEGIN;
INSERT INTO a VALUES (1);
INSERT INTO a VALUES ('x');
COMMIT;
