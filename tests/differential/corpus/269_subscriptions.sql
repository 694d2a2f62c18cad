-- migrate: no-transaction
CREATE SUBSCRIPTION differential_away CONNECTION 'dbname=nowhere' PUBLICATION p WITH (connect = false, slot_name = NONE);
CREATE TABLE t AS SELECT subname, subenabled FROM pg_subscription WHERE subname = 'differential_away';
ALTER SUBSCRIPTION differential_away SET (synchronous_commit = off);
DROP SUBSCRIPTION differential_away;
