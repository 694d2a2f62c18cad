CREATE TABLE hidden (id integer PRIMARY KEY, body text);
CREATE VIEW shown AS SELECT id, body FROM hidden;
CREATE FUNCTION write_through() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  CASE TG_OP
    WHEN 'INSERT' THEN INSERT INTO hidden VALUES (NEW.id, NEW.body || ';');
    WHEN 'DELETE' THEN DELETE FROM hidden WHERE id = OLD.id;
    ELSE UPDATE hidden SET body = NEW.body WHERE id = OLD.id;
  END CASE;
  RETURN COALESCE(NEW, OLD);
END;
$$;
CREATE TRIGGER through INSTEAD OF INSERT OR UPDATE OR DELETE ON shown FOR EACH ROW EXECUTE FUNCTION write_through();
INSERT INTO shown VALUES (1, 'one'), (2, 'two'), (3, 'three');
DELETE FROM shown WHERE id = 2;
UPDATE shown SET body = 'drei' WHERE id = 3;
