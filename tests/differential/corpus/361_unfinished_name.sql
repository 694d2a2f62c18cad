CREATE TABLE a (x integer);
SELECT "x FROM a;
