DROP TABLE IF EXISTS a, b;
CREATE TABLE a (x integer);
CREATE TABLE IF NOT EXISTS a (x integer);
DO $$ BEGIN RAISE NOTICE 'one'; RAISE NOTICE 'two; of the same'; END $$;
SELECT 1; DO $$ BEGIN RAISE WARNING 'the second of its line'; END $$;
DO $$
BEGIN
  RAISE INFO 'several
lines';
END $$;
TRUNCATE a;
DO 'BEGIN RAISE NOTICE ''the last''; END'
