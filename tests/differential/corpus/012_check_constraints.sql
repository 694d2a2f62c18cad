CREATE TABLE invoice (
  total numeric CONSTRAINT positive CHECK (total > 0),
  paid numeric,
  note text,
  CONSTRAINT "not; too much" CHECK (paid <= total),
  CHECK (note !~ ';' OR note = 'a;b') NO INHERIT
);
INSERT INTO invoice VALUES (10, 5, 'a;b'), (20, 20, 'ok');
ALTER TABLE invoice ADD CONSTRAINT small CHECK (total < 1000) NOT VALID;
ALTER TABLE invoice VALIDATE CONSTRAINT small;
ALTER TABLE invoice ADD CONSTRAINT later CHECK (paid <> 5) NOT VALID;
ALTER TABLE invoice RENAME CONSTRAINT positive TO above_zero;
