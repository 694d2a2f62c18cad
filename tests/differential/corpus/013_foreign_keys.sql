CREATE TABLE account (id integer PRIMARY KEY, region text, code text, UNIQUE (region, code));
CREATE TABLE entry (
  id integer PRIMARY KEY,
  account_id integer REFERENCES account ON DELETE CASCADE ON UPDATE RESTRICT,
  region text,
  code text,
  parent integer REFERENCES entry (id) ON DELETE SET NULL,
  FOREIGN KEY (region, code) REFERENCES account (region, code) MATCH FULL ON DELETE SET DEFAULT
);
INSERT INTO account VALUES (1, 'eu', 'a'), (2, 'us', 'b');
INSERT INTO entry VALUES (1, 1, 'eu', 'a', NULL), (2, 1, NULL, NULL, 1), (3, 2, 'us', 'b', 2);
DELETE FROM entry WHERE id = 1;
ALTER TABLE entry ADD CONSTRAINT lax FOREIGN KEY (account_id) REFERENCES account NOT VALID;
ALTER TABLE entry VALIDATE CONSTRAINT lax;
