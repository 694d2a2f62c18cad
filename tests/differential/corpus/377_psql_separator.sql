CREATE TABLE a (x integer) \;
SELECT 1;
