BEGIN;
CREATE TABLE ledger_entry (id integer, amount integer);
CREATE FUNCTION balanced() RETURNS trigger LANGUAGE plpgsql AS $body$
BEGIN
  IF (SELECT sum(amount) FROM ledger_entry) <> 0 THEN
    RAISE EXCEPTION 'the books do not balance; %', (SELECT sum(amount) FROM ledger_entry);
  END IF;
  RETURN NULL;
END $body$;
CREATE CONSTRAINT TRIGGER balanced AFTER INSERT OR UPDATE ON ledger_entry
  DEFERRABLE INITIALLY IMMEDIATE FOR EACH ROW EXECUTE FUNCTION balanced();
SET CONSTRAINTS balanced DEFERRED;
INSERT INTO ledger_entry VALUES (1, 5);
INSERT INTO ledger_entry VALUES (2, -5);
COMMIT;
