CREATE TABLE live (id integer, note text);
CREATE TABLE dead (LIKE live);
INSERT INTO live SELECT n, 'note; ' || n FROM generate_series(1, 10) AS n;
WITH moved AS (DELETE FROM live WHERE id > 6 RETURNING *), copied AS (INSERT INTO dead SELECT * FROM moved RETURNING id)
INSERT INTO live SELECT -id, 'moved; away' FROM copied;
WITH RECURSIVE r (n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM r WHERE n < 5)
UPDATE dead SET note = note || (SELECT string_agg(n::text, ';') FROM r) WHERE id = 7;
