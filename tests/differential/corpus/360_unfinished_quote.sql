CREATE TABLE a (x integer);
INSERT INTO a VALUES ('one);
CREATE TABLE b (y text);
