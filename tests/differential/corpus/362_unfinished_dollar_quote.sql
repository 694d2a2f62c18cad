CREATE TABLE a (x integer);
DO $body$ BEGIN NULL; END $Body$;
SELECT 1;
