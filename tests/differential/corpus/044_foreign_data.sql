CREATE FOREIGN DATA WRAPPER nowhere OPTIONS (debug 'true; very');
CREATE SERVER far TYPE 'nothing' VERSION '1;2' FOREIGN DATA WRAPPER nowhere OPTIONS (host 'h;', path 'C:\dir');
CREATE USER MAPPING FOR CURRENT_USER SERVER far OPTIONS (user 'u', password 'p''w;');
CREATE FOREIGN TABLE distant (id integer OPTIONS (column_name 'i;d') NOT NULL, body text) SERVER far OPTIONS (table_name 't');
ALTER SERVER far OPTIONS (SET host 'other', DROP path, ADD port '1');
ALTER FOREIGN TABLE distant ADD COLUMN more text, ALTER COLUMN body OPTIONS (ADD x ';');
