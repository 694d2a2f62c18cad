-- migrate: no-transaction
CREATE TYPE mood AS ENUM ('sad');
CREATE TABLE t (felt mood);
ALTER TYPE mood ADD VALUE 'happy';
INSERT INTO t VALUES ('happy'), ('sad');
