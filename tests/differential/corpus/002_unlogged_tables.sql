CREATE UNLOGGED TABLE cache (key text PRIMARY KEY, value bytea) WITH (fillfactor = 70, autovacuum_enabled = off);
INSERT INTO cache VALUES ('a', '\xdeadbeef'), ('b', 'plain\\text');
ALTER TABLE cache SET LOGGED;
CREATE UNLOGGED TABLE scratch AS SELECT * FROM cache;
