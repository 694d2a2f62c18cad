-- no-transaction
CREATE INDEX CONCURRENTLY i ON pg_class (relname);
