\set ON_ERROR_STOP off
CREATE TABLE a (x integer);
