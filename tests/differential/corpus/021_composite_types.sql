CREATE TYPE address AS (street text, "number;" integer, city text COLLATE "C");
CREATE TABLE house (id integer, at address, past address[]);
INSERT INTO house VALUES (1, ROW('Main; St', 5, 'Ulm'), ARRAY[ROW('a', 1, 'b'), NULL]::address[]);
UPDATE house SET at.street = 'Side (St)', past[1].city = '"quoted"';
ALTER TYPE address RENAME ATTRIBUTE city TO "city;";
CREATE TYPE pair AS (a integer, b text);
ALTER TYPE pair ADD ATTRIBUTE c text, ALTER ATTRIBUTE a SET DATA TYPE bigint, DROP ATTRIBUTE b;
