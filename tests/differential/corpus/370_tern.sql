CREATE TABLE a (x integer);
---- create above / drop below ----
DROP TABLE a;
