-- migrate:up
CREATE TABLE a (x integer);

-- migrate:down
DROP TABLE a;
