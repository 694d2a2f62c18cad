CREATE TABLE item (id integer, name text);
CREATE TABLE journal (what text, id integer);
CREATE VIEW items AS SELECT * FROM item;
CREATE RULE add AS ON INSERT TO items DO INSTEAD (
  INSERT INTO item VALUES (NEW.id, NEW.name || '; ruled');
  INSERT INTO journal VALUES ('insert;', NEW.id);
);
CREATE OR REPLACE RULE change AS ON UPDATE TO items WHERE OLD.id > 0 DO ALSO (
  UPDATE item SET name = NEW.name WHERE id = OLD.id;
  INSERT INTO journal SELECT 'update (' || CASE WHEN OLD.id = 1 THEN 'first' ELSE 'other' END || ');', OLD.id
);
CREATE RULE change_all AS ON UPDATE TO items DO INSTEAD NOTHING;
CREATE RULE heard AS ON INSERT TO item DO NOTIFY item_added;
INSERT INTO items VALUES (1, 'a'), (2, 'b');
UPDATE items SET name = 'c;' WHERE id = 1;
ALTER TABLE item DISABLE RULE heard;
