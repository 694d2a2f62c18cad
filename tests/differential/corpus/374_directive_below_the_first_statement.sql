CREATE TABLE a (x integer);
-- migrate: no-transaction
CREATE INDEX CONCURRENTLY i ON a (x);
