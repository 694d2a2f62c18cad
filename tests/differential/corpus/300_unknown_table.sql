CREATE TABLE a (x integer);
INSERT INTO a VALUES (1);

INSERT INTO nothing VALUES (1);
CREATE TABLE never (x integer);
