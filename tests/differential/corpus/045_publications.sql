CREATE TABLE shared (id integer PRIMARY KEY, region text, secret text);
CREATE TABLE unshared (id integer);
CREATE PUBLICATION part_of_it FOR TABLE shared (id, region) WHERE (id > 5) WITH (publish = 'insert, delete');
CREATE PUBLICATION every FOR ALL TABLES;
CREATE PUBLICATION by_schema FOR TABLES IN SCHEMA public;
ALTER PUBLICATION part_of_it SET (publish_via_partition_root = true);
COMMENT ON PUBLICATION every IS 'everything; always';
