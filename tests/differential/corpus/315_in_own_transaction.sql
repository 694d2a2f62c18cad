BEGIN;
CREATE TABLE a (x integer);
INSERT INTO a VALUES ('not a number');
COMMIT;
