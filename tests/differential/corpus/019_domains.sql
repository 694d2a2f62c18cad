CREATE DOMAIN email AS text CHECK (VALUE ~ '^[^@;]+@[^@;]+$') NOT NULL;
CREATE DOMAIN percentage AS numeric(5, 2) DEFAULT 0 CONSTRAINT in_range CHECK (VALUE BETWEEN 0 AND 100);
CREATE DOMAIN matrix AS integer[][];
CREATE TABLE contact (address email, share percentage, grid matrix);
INSERT INTO contact VALUES ('a@b', DEFAULT, '{{1,2},{3,4}}');
ALTER DOMAIN percentage ADD CONSTRAINT whole CHECK (VALUE = floor(VALUE)) NOT VALID;
ALTER DOMAIN percentage VALIDATE CONSTRAINT whole;
ALTER DOMAIN email DROP NOT NULL;
