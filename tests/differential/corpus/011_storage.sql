CREATE TABLE archive (
  id integer,
  body text,
  picture bytea COMPRESSION pglz
) WITH (fillfactor = 60, toast.autovacuum_enabled = false, autovacuum_vacuum_scale_factor = 0.2);
ALTER TABLE archive ALTER COLUMN body SET STORAGE EXTERNAL, ALTER COLUMN id SET STATISTICS 500;
ALTER TABLE archive SET (fillfactor = 80), RESET (autovacuum_vacuum_scale_factor);
ALTER TABLE archive ALTER body SET (n_distinct = -0.5);
ALTER TABLE archive REPLICA IDENTITY FULL;
