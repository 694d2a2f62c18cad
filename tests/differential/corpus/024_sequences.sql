CREATE SEQUENCE counter AS smallint START 5 MINVALUE -10 MAXVALUE 20 INCREMENT 3 CYCLE;
SELECT nextval('counter'), nextval('counter');
CREATE TABLE numbered (id integer DEFAULT nextval('counter'), n bigserial, s smallserial);
INSERT INTO numbered DEFAULT VALUES;
ALTER SEQUENCE counter OWNED BY numbered.id;
CREATE SEQUENCE gone;
CREATE SEQUENCE "Odd; Name" NO CYCLE CACHE 4;
SELECT setval('"Odd; Name"', 42, false), setval('counter', 11);
DROP SEQUENCE gone;
