CREATE TABLE target (id integer PRIMARY KEY, amount integer);
CREATE TABLE source (id integer, delta integer);
INSERT INTO target VALUES (1, 10), (2, 20), (3, 30);
INSERT INTO source VALUES (1, 5), (2, -20), (4, 40), (5, -1);
MERGE INTO target AS t USING source AS s ON t.id = s.id
  WHEN MATCHED AND t.amount + s.delta = 0 THEN DELETE
  WHEN MATCHED THEN UPDATE SET amount = t.amount + s.delta
  WHEN NOT MATCHED AND s.delta < 0 THEN DO NOTHING
  WHEN NOT MATCHED THEN INSERT VALUES (s.id, s.delta);
