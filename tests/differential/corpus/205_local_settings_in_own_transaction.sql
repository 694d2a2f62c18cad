BEGIN;
CREATE SCHEMA other;
SET LOCAL search_path = other;
CREATE TABLE here (a integer);
SET LOCAL client_min_messages = error;
COMMIT;
