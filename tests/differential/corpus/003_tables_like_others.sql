CREATE TABLE origin (id serial PRIMARY KEY, name text DEFAULT 'x;y' NOT NULL, CHECK (length(name) < 40));
COMMENT ON COLUMN origin.name IS 'the name; what else';
CREATE INDEX ON origin (lower(name));
CREATE TABLE twin (LIKE origin INCLUDING ALL);
CREATE TABLE bare (LIKE origin, extra integer);
CREATE TABLE partly (LIKE origin INCLUDING DEFAULTS INCLUDING CONSTRAINTS EXCLUDING INDEXES);
