CREATE TABLE alias (owner integer, name text, UNIQUE NULLS NOT DISTINCT (owner, name));
CREATE UNIQUE INDEX alias_name ON alias (name) NULLS NOT DISTINCT;
INSERT INTO alias VALUES (NULL, 'a'), (1, NULL) ON CONFLICT DO NOTHING;
INSERT INTO alias VALUES (NULL, 'a') ON CONFLICT (owner, name) DO UPDATE SET name = excluded.name || ';';
