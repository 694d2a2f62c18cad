CREATE SCHEMA s;
CREATE TABLE s.schema_migrations (id integer);
CREATE TABLE s.t (a integer);
SET search_path = s, public;
INSERT INTO schema_migrations VALUES (1);
