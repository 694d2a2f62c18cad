-- +goose NO TRANSACTION
CREATE INDEX CONCURRENTLY i ON pg_class (relname);
