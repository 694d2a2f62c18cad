BEGIN;
CREATE TABLE a (x integer);
PREPARE TRANSACTION 'differential; one';
