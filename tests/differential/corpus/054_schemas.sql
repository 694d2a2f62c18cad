CREATE SCHEMA "a;b";
CREATE SCHEMA nested
  CREATE TABLE inside (id integer PRIMARY KEY, label text DEFAULT ';')
  CREATE VIEW seen AS SELECT label FROM inside
  CREATE INDEX ON inside (label)
  CREATE SEQUENCE numbers
  GRANT SELECT ON inside TO app_reader;
CREATE TABLE "a;b"."c.d" (e integer);
ALTER SCHEMA nested RENAME TO renamed;
DROP SCHEMA IF EXISTS never CASCADE;
