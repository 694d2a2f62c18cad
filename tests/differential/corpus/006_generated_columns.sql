CREATE TABLE person (
  first text NOT NULL,
  last text NOT NULL,
  full_name text GENERATED ALWAYS AS (first || ' ' || last) STORED,
  initials text GENERATED ALWAYS AS (left(first, 1) || '.;' || left(last, 1)) STORED
);
INSERT INTO person VALUES ('Ada', 'Lovelace'), ('Alan', 'Turing');
UPDATE person SET last = upper(last) WHERE first = 'Ada';
