-- migrate: no-transactions
CREATE TABLE a (x integer);
