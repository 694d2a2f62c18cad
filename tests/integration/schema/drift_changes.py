# ruff: noqa: E501 - statements that are keys
"""Changes by hand, each with the object that db.verify --schema has to name.

They are made to the Kernel's own schema, to that of pgbench with foreign keys, and to one with every kind of object.
"""

from __future__ import annotations

PGBENCH = """
CREATE TABLE pgbench_branches (bid int PRIMARY KEY, bbalance int, filler char(88)) WITH (fillfactor = 100);
CREATE TABLE pgbench_tellers (tid int PRIMARY KEY, bid int REFERENCES pgbench_branches, tbalance int, filler char(84));
CREATE TABLE pgbench_accounts (aid int PRIMARY KEY, bid int REFERENCES pgbench_branches, abalance int, filler char(84));
CREATE TABLE pgbench_history (tid int REFERENCES pgbench_tellers, bid int REFERENCES pgbench_branches,
    aid int REFERENCES pgbench_accounts, delta int, mtime timestamp, filler char(22));
"""
KINDS = """
CREATE SCHEMA app;
CREATE EXTENSION citext;
CREATE TYPE app.mood AS ENUM ('sad', 'ok', 'happy');
CREATE TYPE app.pair AS (a integer, b text);
CREATE TYPE app.span AS RANGE (SUBTYPE = float8);
CREATE DOMAIN app.short AS varchar(10) DEFAULT 'x' CONSTRAINT filled CHECK (VALUE <> '');
CREATE SEQUENCE app.numbers;
CREATE COLLATION app.plain FROM "C";
CREATE TABLE app.users (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, email text NOT NULL, age integer DEFAULT 18,
    name varchar(80), next_age integer GENERATED ALWAYS AS (age + 1) STORED, mood app.mood,
    kind varchar(9) CHECK (kind IN ('a', 'b')), CONSTRAINT adult CHECK (age >= 18));
CREATE UNIQUE INDEX users_email ON app.users (lower(email));
CREATE INDEX users_name ON app.users (name) WHERE age > 18;
CREATE TABLE app.orders (id serial PRIMARY KEY, user_id bigint REFERENCES app.users, total numeric(12, 2),
    placed_at timestamptz DEFAULT now(), note text, CONSTRAINT once UNIQUE (user_id, placed_at),
    CONSTRAINT apart EXCLUDE USING gist (numrange(total, total + 1) WITH &&));
ALTER TABLE app.orders ADD CONSTRAINT positive CHECK (total > 0) NOT VALID;
CREATE TABLE app.events (id bigint, at date NOT NULL, what text, CHECK (id > 0)) PARTITION BY RANGE (at);
CREATE INDEX events_what ON app.events (what);
CREATE TABLE app.events_2026 PARTITION OF app.events FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
CREATE TABLE app.base (id int);
CREATE TABLE app.derived (more text) INHERITS (app.base);
CREATE VIEW app.rich AS SELECT id, total FROM app.orders WHERE total > 1000;
CREATE MATERIALIZED VIEW app.totals AS SELECT user_id, sum(total) AS total FROM app.orders GROUP BY user_id;
CREATE FUNCTION app.twice(n integer) RETURNS integer LANGUAGE sql STABLE AS 'SELECT n * 2';
CREATE FUNCTION app.touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE PROCEDURE app.nothing() LANGUAGE sql AS '';
CREATE AGGREGATE app.total(integer) (SFUNC = int4pl, STYPE = integer);
CREATE TRIGGER touched BEFORE UPDATE ON app.users FOR EACH ROW EXECUTE FUNCTION app.touch();
CREATE POLICY own ON app.users FOR SELECT USING (id > 0);
CREATE RULE quiet AS ON DELETE TO app.orders DO ALSO NOTHING;
CREATE STATISTICS app.related ON email, name FROM app.users;
CREATE OPERATOR app.=== (LEFTARG = integer, RIGHTARG = integer, FUNCTION = int4eq);
CREATE TEXT SEARCH CONFIGURATION app.words (COPY = simple);
CREATE TEXT SEARCH DICTIONARY app.dictionary (TEMPLATE = simple);
CREATE FOREIGN DATA WRAPPER elsewhere;
CREATE SERVER remote FOREIGN DATA WRAPPER elsewhere OPTIONS (host 'a.test');
CREATE USER MAPPING FOR CURRENT_USER SERVER remote OPTIONS (user 'x', password 's3cret');
CREATE FOREIGN TABLE app.far (id integer) SERVER remote;
CREATE PUBLICATION news FOR TABLE app.users;
CREATE CAST (app.pair AS text) WITH INOUT;
CREATE FUNCTION app.watch() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
CREATE EVENT TRIGGER watcher ON ddl_command_end WHEN TAG IN ('CREATE AGGREGATE') EXECUTE FUNCTION app.watch();
COMMENT ON COLUMN app.users.name IS 'as written';
"""

CHANGES = {
    # The Kernel's own schema
    "DROP TABLE public.field_aliases": "table public.field_aliases",
    "ALTER TABLE public.data_contracts ALTER effective_from DROP NOT NULL": "column public.data_contracts.effective_from",
    "ALTER TABLE public.users ADD COLUMN phone text": "column public.users.phone",
    "ALTER TABLE public.users DROP COLUMN display_name": "column public.users.display_name",
    "CREATE OR REPLACE FUNCTION public.touch_updated_at() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'": (
        "function public.touch_updated_at()"
    ),
    "ALTER TABLE public.tenants ALTER status SET DEFAULT 'new'": "column public.tenants.status",
    "ALTER TABLE public.users DISABLE TRIGGER USER": "trigger users_touch_updated_at on public.users",
    # pgbench with foreign keys
    "CREATE INDEX by_branch ON pgbench_accounts (bid)": "index public.by_branch",
    "ALTER TABLE pgbench_history DROP CONSTRAINT pgbench_history_aid_fkey": (
        "constraint pgbench_history_aid_fkey on public.pgbench_history"
    ),
    "ALTER TABLE pgbench_tellers ALTER tbalance TYPE bigint": "column public.pgbench_tellers.tbalance",
    "ALTER TABLE pgbench_history ADD PRIMARY KEY (tid, aid, mtime)": (
        "constraint pgbench_history_pkey on public.pgbench_history"
    ),
    "ALTER TABLE pgbench_branches SET (fillfactor = 70)": "table public.pgbench_branches",
    "ALTER TABLE pgbench_branches RESET (fillfactor)": "table public.pgbench_branches",
    "ALTER TABLE pgbench_accounts DROP CONSTRAINT pgbench_accounts_pkey CASCADE": (
        "constraint pgbench_accounts_pkey on public.pgbench_accounts"
    ),
    "ALTER TABLE pgbench_tellers DISABLE TRIGGER ALL": (
        "constraint pgbench_tellers_bid_fkey on public.pgbench_tellers"
    ),
    "ALTER TABLE pgbench_tellers RENAME TO tellers": "table public.pgbench_tellers",
    # Schemas, tables
    "CREATE SCHEMA more": "schema more",
    "CREATE TABLE app.scratch (id int)": "table app.scratch",
    "DROP TABLE app.base CASCADE": "table app.derived",
    "ALTER TABLE app.derived NO INHERIT app.base": "table app.derived",
    "ALTER TABLE app.orders SET SCHEMA public": "table app.orders",
    "ALTER TABLE app.orders SET UNLOGGED": "table app.orders",
    "ALTER TABLE app.users REPLICA IDENTITY FULL": "table app.users",
    "ALTER TABLE app.users ENABLE ROW LEVEL SECURITY": "table app.users",
    "ALTER TABLE app.users FORCE ROW LEVEL SECURITY": "table app.users",
    "COMMENT ON TABLE app.users IS 'people'": "table app.users",
    "ALTER TABLE app.orders SET (toast.autovacuum_enabled = off)": "table app.orders",
    "CREATE TABLE app.events_old PARTITION OF app.events (CHECK (id > 9)) FOR VALUES FROM ('2025-01-01') TO ('2026-01-01')": (
        "table app.events_old"
    ),
    "ALTER TABLE app.events DETACH PARTITION app.events_2026": "table app.events_2026",
    # Columns
    "ALTER TABLE app.orders ALTER note TYPE varchar(50)": "column app.orders.note",
    'ALTER TABLE app.users ALTER name TYPE varchar(80) COLLATE "C"': "column app.users.name",
    "ALTER TABLE app.users ALTER age DROP DEFAULT": "column app.users.age",
    "ALTER TABLE app.users ALTER age SET DEFAULT 21": "column app.users.age",
    "ALTER TABLE app.users ALTER name SET NOT NULL": "column app.users.name",
    "ALTER TABLE app.users ALTER id SET GENERATED BY DEFAULT": "column app.users.id",
    "ALTER TABLE app.users ALTER id DROP IDENTITY": "column app.users.id",
    "ALTER TABLE app.users ALTER next_age DROP EXPRESSION": "column app.users.next_age",
    "ALTER TABLE app.users ALTER name SET STORAGE EXTERNAL": "column app.users.name",
    "ALTER TABLE app.users ALTER name SET COMPRESSION pglz": "column app.users.name",
    "ALTER TABLE app.users ALTER name SET STATISTICS 500": "column app.users.name",
    "ALTER TABLE app.users ALTER name SET (n_distinct = 5)": "column app.users.name",
    "ALTER TABLE app.users RENAME name TO full_name": "column app.users.name",
    "COMMENT ON COLUMN app.users.name IS NULL": "column app.users.name",
    "ALTER TABLE app.users DROP age CASCADE; ALTER TABLE app.users ADD age integer DEFAULT 18": "table app.users",
    # Constraints and indexes
    "ALTER TABLE app.users DROP CONSTRAINT adult; ALTER TABLE app.users ADD CONSTRAINT adult CHECK (age >= 21)": (
        "constraint adult on app.users"
    ),
    "ALTER TABLE app.users DROP CONSTRAINT adult; ALTER TABLE app.users ADD CONSTRAINT adult CHECK (age >= 18) NOT VALID": (
        "constraint adult on app.users"
    ),
    "ALTER TABLE app.orders VALIDATE CONSTRAINT positive": "constraint positive on app.orders",
    "ALTER TABLE app.orders ALTER CONSTRAINT orders_user_id_fkey DEFERRABLE": (
        "constraint orders_user_id_fkey on app.orders"
    ),
    "ALTER TABLE app.orders DROP CONSTRAINT once": "constraint once on app.orders",
    "ALTER TABLE app.orders DROP CONSTRAINT apart": "constraint apart on app.orders",
    "ALTER TABLE app.orders RENAME CONSTRAINT once TO one_time": "constraint once on app.orders",
    "ALTER TABLE app.users DROP CONSTRAINT users_kind_check": "constraint users_kind_check on app.users",
    "DROP INDEX app.users_email": "index app.users_email",
    "DROP INDEX app.users_name; CREATE INDEX users_name ON app.users (name)": "index app.users_name",
    "ALTER INDEX app.users_name RENAME TO by_name": "index app.users_name",
    "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'app.users_name'::regclass": "index app.users_name",
    "ALTER TABLE app.users CLUSTER ON users_email": "index app.users_email",
    # Programs
    "DROP TRIGGER touched ON app.users": "trigger touched on app.users",
    "ALTER TABLE app.users ENABLE ALWAYS TRIGGER touched": "trigger touched on app.users",
    "CREATE TRIGGER again AFTER INSERT ON app.users FOR EACH ROW EXECUTE FUNCTION app.touch()": (
        "trigger again on app.users"
    ),
    "CREATE OR REPLACE FUNCTION app.twice(n integer) RETURNS integer LANGUAGE sql STABLE AS 'SELECT n * 3'": (
        "function app.twice(n integer)"
    ),
    "ALTER FUNCTION app.twice VOLATILE": "function app.twice(n integer)",
    "ALTER FUNCTION app.twice SECURITY DEFINER": "function app.twice(n integer)",
    "ALTER FUNCTION app.twice SET work_mem = '1MB'": "function app.twice(n integer)",
    "ALTER FUNCTION app.twice COST 5": "function app.twice(n integer)",
    "DROP PROCEDURE app.nothing": "procedure app.nothing()",
    "DROP AGGREGATE app.total(integer)": "aggregate app.total(integer)",
    "CREATE RULE loud AS ON INSERT TO app.orders DO ALSO NOTHING": "rule loud on app.orders",
    "DROP RULE quiet ON app.orders": "rule quiet on app.orders",
    "ALTER TABLE app.orders DISABLE RULE quiet": "rule quiet on app.orders",
    "ALTER POLICY own ON app.users USING (id > 1)": "policy own on app.users",
    "DROP POLICY own ON app.users": "policy own on app.users",
    "DROP EVENT TRIGGER watcher": "event trigger watcher",
    "ALTER EVENT TRIGGER watcher DISABLE": "event trigger watcher",
    # Views
    "CREATE OR REPLACE VIEW app.rich AS SELECT id, total FROM app.orders WHERE total > 999": "view app.rich",
    "CREATE OR REPLACE VIEW app.rich AS SELECT id, total, note FROM app.orders WHERE total > 1000": "view app.rich",
    "ALTER VIEW app.rich SET (security_barrier)": "view app.rich",
    "DROP VIEW app.rich": "view app.rich",
    "DROP MATERIALIZED VIEW app.totals": "materialized view app.totals",
    "CREATE INDEX ON app.totals (user_id)": "index app.totals_user_id_idx",
    # Types, sequences
    "ALTER TYPE app.mood RENAME VALUE 'ok' TO 'fine'": "enum app.mood",
    "DROP TYPE app.span": "range type app.span",
    "ALTER TYPE app.pair ADD ATTRIBUTE c int": "column app.pair.c",
    "ALTER DOMAIN app.short DROP CONSTRAINT filled": "constraint filled on app.short",
    "ALTER DOMAIN app.short DROP DEFAULT": "domain app.short",
    "ALTER DOMAIN app.short SET NOT NULL": "domain app.short",
    "ALTER SEQUENCE app.numbers INCREMENT BY 5 CYCLE": "sequence app.numbers",
    "DROP SEQUENCE app.numbers": "sequence app.numbers",
    "ALTER SEQUENCE app.orders_id_seq OWNED BY NONE": "sequence app.orders_id_seq",
    "DROP COLLATION app.plain": "collation app.plain",
    'CREATE COLLATION app.other FROM "POSIX"': "collation app.other",
    # Others
    "CREATE EXTENSION pg_trgm": "extension pg_trgm",
    "DROP EXTENSION citext": "extension citext",
    "ALTER EXTENSION citext SET SCHEMA app": "extension citext",
    "DROP STATISTICS app.related": "statistics app.related",
    "ALTER STATISTICS app.related SET STATISTICS 50": "statistics app.related",
    "ALTER PUBLICATION news ADD TABLE app.orders": "publication news",
    "DROP PUBLICATION news": "publication news",
    "ALTER PUBLICATION news SET (publish = 'insert')": "publication news",
    "DROP CAST (app.pair AS text)": "cast (app.pair AS text)",
    "DROP OPERATOR app.=== (integer, integer)": "operator app.===(integer,integer)",
    "DROP TEXT SEARCH CONFIGURATION app.words": "text search configuration app.words",
    "ALTER TEXT SEARCH DICTIONARY app.dictionary (accept = false)": "text search dictionary app.dictionary",
    "ALTER SERVER remote OPTIONS (SET host 'b.test')": "foreign server remote",
    "CREATE USER MAPPING FOR PUBLIC SERVER remote OPTIONS (password 's3cret')": "user mapping public on remote",
    "ALTER FOREIGN TABLE app.far OPTIONS (ADD rows '9')": "foreign table app.far",
    "CREATE TYPE app.more AS ENUM ('a')": "enum app.more",
    "CREATE TABLE app.schema_migrations (id int)": "table app.schema_migrations",
}
PRIVILEGES = {
    "GRANT SELECT ON app.users TO PUBLIC": "table app.users",
    "GRANT SELECT (name) ON app.users TO PUBLIC": "column app.users.name",
    "ALTER TABLE app.users OWNER TO pg_monitor": "table app.users",
    "ALTER SCHEMA app OWNER TO pg_monitor": "schema app",
    "REVOKE EXECUTE ON FUNCTION app.twice FROM PUBLIC": "function app.twice(n integer)",
    "GRANT USAGE ON SCHEMA app TO PUBLIC": "schema app",
    "ALTER DEFAULT PRIVILEGES IN SCHEMA app GRANT SELECT ON TABLES TO PUBLIC": (
        "default privileges of postgres on tables in schema app"
    ),
    "GRANT EXECUTE ON FUNCTION pg_catalog.pg_ls_dir(text) TO PUBLIC": "system function pg_ls_dir(text)",
}
# What an untouched database goes through.
USE = """
INSERT INTO app.users (email, age, kind) SELECT 'u' || n, 20, 'a' FROM generate_series(1, 300) AS n;
INSERT INTO app.orders (user_id, total) SELECT id, id * 2 FROM app.users;
INSERT INTO app.events VALUES (1, '2026-03-01', 'x');
REFRESH MATERIALIZED VIEW app.totals;
ANALYZE;
REINDEX TABLE app.users;
SELECT nextval('app.numbers'), setval('app.orders_id_seq', 5000);
CREATE TEMPORARY TABLE mine (id int);
"""
