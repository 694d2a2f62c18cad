CREATE TABLE a (x integer);
rollback;
