-- migrate: no-transaction
BEGIN;
CREATE TABLE a (x integer);
COMMIT AND CHAIN;
INSERT INTO a VALUES (1);
ROLLBACK;
