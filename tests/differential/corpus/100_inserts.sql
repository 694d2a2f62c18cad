CREATE TABLE t (id integer PRIMARY KEY, label text DEFAULT 'default;', at date);
INSERT INTO t VALUES (1, 'a;b', '2026-01-01'), (2, DEFAULT, NULL);
INSERT INTO t (id) SELECT n FROM generate_series(10, 15) AS n;
INSERT INTO t AS old VALUES (1, 'again') ON CONFLICT (id) DO UPDATE SET label = old.label || excluded.label RETURNING *;
INSERT INTO t TABLE t ON CONFLICT DO NOTHING;
