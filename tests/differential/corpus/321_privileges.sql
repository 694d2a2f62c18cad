CREATE TABLE secret (a integer);
SET ROLE app_reader;
SELECT * FROM secret;
