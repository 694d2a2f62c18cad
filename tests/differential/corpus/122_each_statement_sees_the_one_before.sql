CREATE TABLE step (n integer, seen bigint);
INSERT INTO step SELECT 1, count(*) FROM step;
INSERT INTO step SELECT 2, count(*) FROM step;
CREATE TABLE made (a integer); INSERT INTO made VALUES (1); ALTER TABLE made ADD COLUMN b text DEFAULT 'b;'; INSERT INTO made VALUES (2, 'c');
INSERT INTO step SELECT 3, count(*) FROM made; ALTER TABLE made RENAME TO renamed; INSERT INTO step SELECT 4, count(b) FROM renamed;
DROP TABLE renamed; CREATE TABLE renamed (c text); INSERT INTO renamed VALUES ('a new one');
CREATE FUNCTION f() RETURNS integer LANGUAGE sql AS 'SELECT 1'; CREATE OR REPLACE FUNCTION f() RETURNS integer LANGUAGE sql AS 'SELECT 2';
INSERT INTO step SELECT 5, f();
