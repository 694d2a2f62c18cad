BEGIN;
CREATE TABLE a (x integer);
