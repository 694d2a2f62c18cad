CREATE TABLE target (id integer PRIMARY KEY, amount integer);
INSERT INTO target VALUES (1, 10), (2, 20);
CREATE TABLE changes (what text, id integer);
WITH merged AS (
  MERGE INTO target AS t USING (VALUES (1, 5), (9, 9)) AS s (id, delta) ON t.id = s.id
    WHEN MATCHED THEN UPDATE SET amount = delta
    WHEN NOT MATCHED BY SOURCE THEN DELETE
    WHEN NOT MATCHED THEN INSERT VALUES (s.id, s.delta)
    RETURNING merge_action(), t.id
)
INSERT INTO changes SELECT * FROM merged;
