CREATE TABLE customer (
  id bigint PRIMARY KEY,
  email text NOT NULL UNIQUE,
  balance numeric(12, 2) DEFAULT 0.00 CHECK (balance >= -100),
  tags text[] DEFAULT ARRAY['new', 'it''s; odd']::text[],
  settings jsonb DEFAULT '{"theme": "dark; plain"}'
);
CREATE TABLE IF NOT EXISTS customer (id text);
CREATE TABLE "Order; Line" ("Größe" integer, "a""b" text, CONSTRAINT "pk;" PRIMARY KEY ("Größe", "a""b"));
INSERT INTO customer (id, email) VALUES (1, 'ada@example.org'), (2, 'bob@example.org');
