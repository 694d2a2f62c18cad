CREATE TABLE base (id integer PRIMARY KEY, label text, secret text);
INSERT INTO base VALUES (1, 'a;b', 'x'), (2, 'c', NULL);
CREATE VIEW plain AS SELECT id, label || ';' AS label FROM base WHERE secret IS NOT NULL;
CREATE OR REPLACE VIEW plain AS SELECT id, label || ';' AS label, 1 AS extra FROM base;
CREATE VIEW careful WITH (security_barrier, security_invoker = true) AS SELECT id, label FROM base WHERE label <> ';'
  WITH CASCADED CHECK OPTION;
CREATE RECURSIVE VIEW countdown (n) AS VALUES (3) UNION ALL SELECT n - 1 FROM countdown WHERE n > 0;
INSERT INTO careful VALUES (3, 'through the view');
ALTER VIEW plain ALTER COLUMN extra SET DEFAULT 5;
ALTER VIEW plain RENAME COLUMN extra TO additional;
