CREATE COLLATION byte_order (LOCALE = 'C');
CREATE COLLATION IF NOT EXISTS byte_order (LOCALE = 'POSIX');
CREATE COLLATION copied FROM "C";
CREATE TABLE sorted (word text COLLATE byte_order, other text COLLATE "copied");
INSERT INTO sorted VALUES ('b', 'Z'), ('Ä', 'a'), ('a;', 'é');
CREATE TABLE in_order AS SELECT row_number() OVER (ORDER BY word) AS n, word FROM sorted;
CREATE INDEX ON sorted (lower(word) COLLATE "C");
ALTER COLLATION copied RENAME TO "copied; once";
