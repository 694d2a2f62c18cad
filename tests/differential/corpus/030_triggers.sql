CREATE TABLE stock (item text PRIMARY KEY, amount integer, changed integer DEFAULT 0);
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_NARGS > 0 THEN
    NEW.item := NEW.item || TG_ARGV[0];
  END IF;
  NEW.changed := coalesce(OLD.changed, 0) + 1; -- a comment; with a semicolon
  RETURN NEW;
END;
$$;
CREATE TRIGGER touch BEFORE INSERT OR UPDATE OF amount ON stock FOR EACH ROW WHEN (NEW.amount <> 7) EXECUTE FUNCTION touch();
CREATE TRIGGER marked BEFORE INSERT ON stock FOR EACH ROW WHEN (NEW.item LIKE 'x%;') EXECUTE PROCEDURE touch('; marked');
CREATE FUNCTION count_rows() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE NOTICE ''%; rows'', (SELECT count(*) FROM fresh); RETURN NULL; END';
CREATE TRIGGER counted AFTER INSERT ON stock REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT EXECUTE FUNCTION count_rows();
INSERT INTO stock VALUES ('pen', 1), ('ink', 7), ('x;', 3);
UPDATE stock SET amount = 2;
ALTER TABLE stock DISABLE TRIGGER counted;
ALTER TABLE stock ENABLE ALWAYS TRIGGER touch;
ALTER TRIGGER marked ON stock RENAME TO "marked; x";
INSERT INTO stock VALUES ('nib', 4);
