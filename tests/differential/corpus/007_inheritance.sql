CREATE TABLE place (name text, population integer CHECK (population > 0));
CREATE TABLE capital (country text UNIQUE, CHECK (name <> ';')) INHERITS (place);
CREATE TABLE landmark (name text, height integer);
ALTER TABLE landmark ADD COLUMN population integer, ADD CONSTRAINT place_population_check CHECK (population > 0);
ALTER TABLE landmark INHERIT place;
INSERT INTO place VALUES ('Ulm', 120000);
INSERT INTO capital VALUES ('Wien', 1900000, 'AT');
UPDATE ONLY place SET population = population + 1;
UPDATE place * SET name = upper(name);
