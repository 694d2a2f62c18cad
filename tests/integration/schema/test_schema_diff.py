"""Each change of a schema has its line; a migration that changes nothing has none."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from psycopg.conninfo import make_conninfo

from kernel.db.connection import open_session
from kernel.schema.diff import diff_schemas, schemas_equal
from kernel.schema.snapshot import read_schema

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import psycopg

    from kernel.db.connection import Session
    from kernel.postgres.cluster import Server
    from kernel.schema.snapshot import Schema

BEGINNING = """
CREATE SCHEMA app;
CREATE TABLE app.users (id bigint PRIMARY KEY, email text NOT NULL, age integer DEFAULT 18, name varchar(80),
    CONSTRAINT adult CHECK (age >= 18));
CREATE INDEX users_name ON app.users (name);
CREATE TABLE app.orders (id serial PRIMARY KEY, user_id bigint REFERENCES app.users, total numeric(12, 2),
    placed_at timestamptz DEFAULT now(), note text);
ALTER TABLE app.orders ADD CONSTRAINT positive CHECK (total > 0) NOT VALID;
CREATE TABLE app.events (id bigint, at date NOT NULL, what text) PARTITION BY RANGE (at);
CREATE TABLE app.events_2026 PARTITION OF app.events FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
CREATE TABLE app.events_old (LIKE app.events);
CREATE VIEW app.rich AS SELECT id, total FROM app.orders WHERE total > 1000;
CREATE MATERIALIZED VIEW app.totals AS SELECT user_id, sum(total) AS total FROM app.orders GROUP BY user_id;
CREATE TYPE app.mood AS ENUM ('sad', 'ok', 'happy');
CREATE TYPE app.pair AS (a integer, b text);
CREATE DOMAIN app.short AS varchar(10) CONSTRAINT filled CHECK (VALUE <> '');
CREATE SEQUENCE app.numbers;
CREATE FUNCTION app.twice(n integer) RETURNS integer LANGUAGE sql AS 'SELECT n * 2';
CREATE FUNCTION app.touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE PROCEDURE app.nothing() LANGUAGE sql AS '';
CREATE AGGREGATE app.total(integer) (SFUNC = int4pl, STYPE = integer);
CREATE TRIGGER touched BEFORE UPDATE ON app.users FOR EACH ROW EXECUTE FUNCTION app.touch();
CREATE POLICY own ON app.users FOR SELECT USING (id > 0);
CREATE RULE quiet AS ON DELETE TO app.rich DO INSTEAD NOTHING;
CREATE STATISTICS app.related ON email, name FROM app.users;
CREATE COLLATION app.plain FROM "C";
CREATE OPERATOR app.=== (LEFTARG = integer, RIGHTARG = integer, FUNCTION = int4eq);
CREATE TEXT SEARCH CONFIGURATION app.words (COPY = simple);
CREATE TEXT SEARCH DICTIONARY app.dictionary (TEMPLATE = simple);
CREATE FOREIGN DATA WRAPPER elsewhere;
CREATE SERVER remote FOREIGN DATA WRAPPER elsewhere OPTIONS (host 'a.test');
CREATE FOREIGN TABLE app.far (id integer) SERVER remote;
CREATE PUBLICATION news FOR TABLE app.users;
CREATE FUNCTION app.watch() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
CREATE EVENT TRIGGER watcher ON ddl_command_end WHEN TAG IN ('CREATE AGGREGATE') EXECUTE FUNCTION app.watch();
"""

REFERENCE = "FOREIGN KEY (user_id) REFERENCES app.users(id)"
BIG = 2**63 - 1
# A statement, and the lines of its changes; all of the lines, unless the last is "...".
TOLD = {
    "CREATE SCHEMA more": ["schema more: added"],
    "ALTER SCHEMA app RENAME TO other": ["schema app renamed to other"],
    "COMMENT ON SCHEMA app IS 'all of it'": ["schema app: comment added"],
    "CREATE TABLE app.notes (id integer PRIMARY KEY, at date)": ["table app.notes: added"],
    "DROP TABLE app.events_old": ["table app.events_old: dropped"],
    "ALTER TABLE app.users RENAME TO people": ["table app.users renamed to people"],
    "ALTER TABLE app.orders SET SCHEMA public": ["table app.orders moved to schema public"],
    "ALTER TABLE app.orders SET UNLOGGED": [
        "table app.orders: persistence logged -> unlogged",
        "sequence app.orders_id_seq: persistence logged -> unlogged",
    ],
    "ALTER TABLE app.orders SET (fillfactor = 70)": ["table app.orders: options fillfactor=70 added"],
    "ALTER TABLE app.orders SET (toast.autovacuum_enabled = off)": [
        "table app.orders: options toast.autovacuum_enabled=off added"
    ],
    "ALTER TABLE app.users ENABLE ROW LEVEL SECURITY": ["table app.users: row security off -> on"],
    "ALTER TABLE app.users FORCE ROW LEVEL SECURITY": ["table app.users: row security off -> off, forced"],
    "ALTER TABLE app.users REPLICA IDENTITY FULL": ["table app.users: replica identity default -> full"],
    "ALTER TABLE app.events ATTACH PARTITION app.events_old FOR VALUES FROM ('2025-01-01') TO ('2026-01-01')": [
        "table app.events_old: partition of app.events FOR VALUES FROM ('2025-01-01') TO ('2026-01-01') set"
    ],
    "ALTER TABLE app.events DETACH PARTITION app.events_2026": [
        "table app.events_2026: partition of app.events FOR VALUES FROM ('2026-01-01') TO ('2027-01-01') dropped"
    ],
    "COMMENT ON TABLE app.users IS 'people'": ["table app.users: comment added"],
    "GRANT SELECT ON app.users TO PUBLIC": ["table app.users: SELECT to public granted"],
    "ALTER TABLE app.orders OWNER TO pg_monitor": ["table app.orders: owner postgres -> pg_monitor", "..."],
    "ALTER TABLE app.users ADD COLUMN phone text NOT NULL DEFAULT ''": [
        "table app.users: column phone text NOT NULL DEFAULT ''::text added"
    ],
    "ALTER TABLE app.users ADD COLUMN number bigint GENERATED ALWAYS AS IDENTITY": [
        "table app.users: column number bigint NOT NULL GENERATED ALWAYS AS IDENTITY added"
    ],
    "ALTER TABLE app.users ADD COLUMN next integer GENERATED ALWAYS AS (age + 1) STORED": [
        "table app.users: column next integer GENERATED ALWAYS AS ((age + 1) stored) added"
    ],
    "ALTER TABLE app.orders DROP COLUMN note": ["table app.orders: column note dropped"],
    "ALTER TABLE app.users RENAME COLUMN email TO mail": ["column app.users.email renamed to mail", "..."],
    "ALTER TABLE app.users ALTER COLUMN age TYPE bigint": ["column app.users.age: type integer -> bigint"],
    "ALTER TABLE app.users ALTER COLUMN name TYPE varchar(100)": [
        "column app.users.name: type character varying(80) -> character varying(100)"
    ],
    'ALTER TABLE app.users ALTER COLUMN name TYPE varchar(80) COLLATE "C"': [
        'column app.users.name: collation "C" set',
        "...",
    ],
    "ALTER TABLE app.users ALTER COLUMN name SET NOT NULL": ["column app.users.name: NOT NULL set"],
    "ALTER TABLE app.users ALTER COLUMN email DROP NOT NULL": ["column app.users.email: NOT NULL dropped"],
    "ALTER TABLE app.users ALTER COLUMN age SET DEFAULT 21": ["column app.users.age: default 18 -> 21"],
    "ALTER TABLE app.users ALTER COLUMN age DROP DEFAULT": ["column app.users.age: default 18 dropped"],
    "ALTER TABLE app.users ALTER COLUMN name SET STORAGE EXTERNAL": [
        "column app.users.name: storage that of the type -> external"
    ],
    "ALTER TABLE app.users ALTER COLUMN name SET COMPRESSION pglz": [
        "column app.users.name: compression default -> pglz"
    ],
    "ALTER TABLE app.users ALTER COLUMN name SET STATISTICS 500": [
        "column app.users.name: statistics target default -> 500"
    ],
    "ALTER TABLE app.users ALTER COLUMN name SET (n_distinct = 5)": [
        "column app.users.name: options n_distinct=5 added"
    ],
    "COMMENT ON COLUMN app.users.name IS 'as written'": ["column app.users.name: comment added"],
    "GRANT SELECT (name) ON app.users TO PUBLIC": ["column app.users.name: SELECT to public granted"],
    "ALTER TABLE app.users ADD CONSTRAINT named CHECK (name <> '')": [
        "constraint named on app.users: added, CHECK (((name)::text <> ''::text))"
    ],
    "ALTER TABLE app.users DROP CONSTRAINT adult": ["constraint adult on app.users: dropped"],
    "ALTER TABLE app.users RENAME CONSTRAINT adult TO grown": ["constraint adult on app.users renamed to grown"],
    "ALTER TABLE app.orders VALIDATE CONSTRAINT positive": ["constraint positive on app.orders: validated"],
    "ALTER TABLE app.orders ALTER CONSTRAINT orders_user_id_fkey DEFERRABLE": [
        f"constraint orders_user_id_fkey on app.orders: definition {REFERENCE} -> {REFERENCE} DEFERRABLE"
    ],
    "ALTER TABLE app.users ADD UNIQUE (email)": ["constraint users_email_key on app.users: added, UNIQUE (email)"],
    "CREATE UNIQUE INDEX users_email ON app.users (lower(email)) WHERE age > 20": [
        "index app.users_email: added, unique USING btree (lower(email)) WHERE (age > 20)"
    ],
    "CREATE INDEX ON app.events (at)": ["index app.events_at_idx: added, USING btree (at)"],
    "DROP INDEX app.users_name": ["index app.users_name: dropped"],
    "ALTER INDEX app.users_name RENAME TO by_name": ["index app.users_name renamed to by_name"],
    "CLUSTER app.users USING users_name": ["index app.users_name: clustered set"],
    "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'app.users_name'::regclass": [
        "index app.users_name: invalid"
    ],
    "CREATE VIEW app.poor AS SELECT 1 AS one": ["view app.poor: added"],
    "CREATE OR REPLACE VIEW app.rich AS SELECT id, total FROM app.orders WHERE total > 2000": [
        "view app.rich: definition changed"
    ],
    "CREATE OR REPLACE VIEW app.rich AS SELECT id, total, note FROM app.orders WHERE total > 1000": [
        "view app.rich: definition changed",
        "view app.rich: column note text added",
    ],
    "ALTER VIEW app.rich SET (security_barrier = true)": ["view app.rich: options security_barrier=true added"],
    "DROP VIEW app.rich": ["view app.rich: dropped"],
    "DROP MATERIALIZED VIEW app.totals": ["materialized view app.totals: dropped"],
    "REFRESH MATERIALIZED VIEW app.totals WITH NO DATA": ["materialized view app.totals: not populated any more"],
    "ALTER TYPE app.mood ADD VALUE 'great' AFTER 'happy'": ["enum app.mood: value great added"],
    "ALTER TYPE app.mood RENAME VALUE 'ok' TO 'fine'": ["enum app.mood: value 'ok' renamed to 'fine'"],
    "ALTER TYPE app.pair ADD ATTRIBUTE c date": ["composite type app.pair: column c date added"],
    "ALTER TYPE app.pair RENAME TO couple": ["composite type app.pair renamed to couple"],
    "ALTER DOMAIN app.short SET NOT NULL": ["domain app.short: NOT NULL set"],
    "ALTER DOMAIN app.short DROP CONSTRAINT filled": ["constraint filled on app.short: dropped"],
    "ALTER DOMAIN app.short SET DEFAULT 'x'": ["domain app.short: default 'x'::character varying set"],
    "CREATE TYPE app.span AS RANGE (subtype = date)": ["range type app.span: added", "..."],
    "GRANT USAGE ON TYPE app.mood TO pg_monitor": ["enum app.mood: USAGE to pg_monitor granted"],
    "ALTER SEQUENCE app.numbers INCREMENT BY 5 CYCLE": [
        f"sequence app.numbers: range 1 to {BIG} by 1 from 1, cache 1 -> 1 to {BIG} by 5 from 1, cache 1, cycle"
    ],
    "ALTER SEQUENCE app.numbers AS integer": ["sequence app.numbers: type bigint -> integer", "..."],
    "ALTER SEQUENCE app.numbers OWNED BY app.users.id": ["sequence app.numbers: owned by app.users.id set"],
    "CREATE OR REPLACE FUNCTION app.twice(n integer) RETURNS integer LANGUAGE sql AS 'SELECT n + n'": [
        "function app.twice(n integer): body changed"
    ],
    "ALTER FUNCTION app.twice(integer) STRICT IMMUTABLE COST 7 SECURITY DEFINER SET work_mem = '8MB'": [
        "function app.twice(n integer): volatility volatile -> immutable",
        "function app.twice(n integer): strict set",
        "function app.twice(n integer): security definer set",
        "function app.twice(n integer): cost 100 -> 7",
        "function app.twice(n integer): setting work_mem set",
    ],
    "REVOKE EXECUTE ON FUNCTION app.twice(integer) FROM PUBLIC": [
        "function app.twice(n integer): EXECUTE to public revoked"
    ],
    "ALTER FUNCTION app.twice(integer) RENAME TO double": ["function app.twice(n integer) renamed to double"],
    "DROP FUNCTION app.twice(integer)": ["function app.twice(n integer): dropped"],
    "DROP PROCEDURE app.nothing()": ["procedure app.nothing(): dropped"],
    "CREATE OR REPLACE AGGREGATE app.total(integer) (SFUNC = int4pl, STYPE = integer, INITCOND = '0')": [
        "aggregate app.total(integer): body changed"
    ],
    "CREATE TRIGGER again AFTER INSERT ON app.users EXECUTE FUNCTION app.touch()": [
        "trigger again on app.users: added"
    ],
    "ALTER TABLE app.users DISABLE TRIGGER touched": ["trigger touched on app.users: disabled"],
    "CREATE OR REPLACE TRIGGER touched AFTER UPDATE ON app.users FOR EACH ROW EXECUTE FUNCTION app.touch()": [
        "trigger touched on app.users: definition changed"
    ],
    "DROP TRIGGER touched ON app.users": ["trigger touched on app.users: dropped"],
    "ALTER POLICY own ON app.users TO pg_monitor USING (id > 1)": [
        "policy own on app.users: roles public taken away",
        "policy own on app.users: roles pg_monitor added",
        "policy own on app.users: using (id > 0) -> (id > 1)",
    ],
    "DROP RULE quiet ON app.rich": ["rule quiet on app.rich: dropped"],
    "DROP STATISTICS app.related": ["statistics app.related: dropped"],
    "ALTER STATISTICS app.related SET STATISTICS 300": ["statistics app.related: target default -> 300"],
    "DROP COLLATION app.plain": ["collation app.plain: dropped"],
    "CREATE CAST (app.pair AS text) WITH INOUT AS ASSIGNMENT": ["cast (app.pair AS text): added"],
    "DROP OPERATOR app.=== (integer, integer)": ["operator app.===(integer,integer): dropped"],
    "CREATE OPERATOR CLASS app.ints FOR TYPE integer USING btree AS OPERATOR 1 <, FUNCTION 1 btint4cmp(int4, int4)": [
        "operator class app.ints using btree: added",
        "operator family app.ints using btree: added",
    ],
    "ALTER TEXT SEARCH CONFIGURATION app.words DROP MAPPING FOR email": [
        "text search configuration app.words: definition changed"
    ],
    "ALTER TEXT SEARCH DICTIONARY app.dictionary (accept = false)": [
        "text search dictionary app.dictionary: definition changed"
    ],
    "ALTER SERVER remote OPTIONS (SET host 'b.test')": ["foreign server remote: option host changed"],
    "CREATE USER MAPPING FOR PUBLIC SERVER remote OPTIONS (password 'sesame')": [
        "user mapping public on remote: added"
    ],
    "ALTER FOREIGN TABLE app.far OPTIONS (ADD rows '9')": ["foreign table app.far: option rows set"],
    "ALTER PUBLICATION news ADD TABLE app.orders": ["publication news: tables app.orders added", "..."],
    "ALTER PUBLICATION news SET (publish = 'insert')": ["publication news: definition changed"],
    "ALTER EVENT TRIGGER watcher DISABLE": ["event trigger watcher: disabled"],
    "DROP EVENT TRIGGER watcher": ["event trigger watcher: dropped"],
    "ALTER DEFAULT PRIVILEGES IN SCHEMA app GRANT SELECT ON TABLES TO PUBLIC": [
        "default privileges of postgres on tables in schema app: added"
    ],
    "CREATE EXTENSION pg_trgm": ["extension pg_trgm: added"],
    "DROP EXTENSION plpgsql CASCADE": ["trigger touched on app.users: dropped", "..."],
    "GRANT EXECUTE ON FUNCTION pg_catalog.pg_ls_dir(text) TO PUBLIC": [
        "system function pg_ls_dir(text): added",
    ],
    "REVOKE USAGE ON LANGUAGE sql FROM PUBLIC": ["language sql: USAGE to public revoked"],
    "CREATE TABLE app.schema_migrations (id integer)": ["table app.schema_migrations: added"],
    "CREATE TABLE public.schema_migrations (id integer)": ["table public.schema_migrations: added"],
    'CREATE TABLE app."a\nb; DROP ""x" (id integer)': ['table app."a\\nb; DROP ""x": added'],
}

LEDGER = """
    CREATE TABLE schema_migrations (version varchar(255) PRIMARY KEY, filename varchar(255) NOT NULL,
        applied_at timestamp NOT NULL, checksum varchar(64) NOT NULL)
"""
NOTHING = (
    "",
    "SELECT nextval('app.numbers')",
    "INSERT INTO app.users VALUES (1, 'a', 20, 'A'); DELETE FROM app.users",
    "CREATE TABLE IF NOT EXISTS app.users (id integer)",
    "CREATE TABLE app.gone (id integer); DROP TABLE app.gone",
    "ALTER TABLE app.users ADD COLUMN gone text; ALTER TABLE app.users DROP COLUMN gone",
    "GRANT SELECT ON app.users TO PUBLIC; REVOKE SELECT ON app.users FROM PUBLIC",
    "CREATE TEMPORARY TABLE mine (id integer)",
    LEDGER,
    "ANALYZE",
    "REINDEX TABLE app.users",
    "ALTER TABLE app.users DROP CONSTRAINT adult; ALTER TABLE app.users ADD CONSTRAINT adult CHECK (age >= 18)",
    "CREATE OR REPLACE FUNCTION app.twice(n integer) RETURNS integer LANGUAGE sql AS 'SELECT n * 2'",
    "ALTER TABLE app.users RENAME TO u; ALTER TABLE app.u RENAME TO users",
)


def sampled(statements: Iterable[str]) -> list[object]:
    """Each third runs every time, all of them with the slow ones."""
    return [
        pytest.param(statement, marks=() if number % 3 == 0 else (pytest.mark.slow,))
        for number, statement in enumerate(statements)
    ]


@contextmanager
def rolled_back(session: Session, statements: str) -> Iterator[None]:
    """As the database would be once the statements are committed."""
    session.connection.execute("BEGIN")
    try:
        session.connection.execute(statements.encode())
        yield
    finally:
        session.connection.execute("ROLLBACK")


@pytest.fixture(scope="module")
def beginning(server: Server, administrator: psycopg.Connection) -> Iterator[Session]:
    administrator.execute("CREATE DATABASE of_differences")
    with open_session(make_conninfo(server.conninfo, dbname="of_differences")) as session:
        session.connection.execute(BEGINNING.encode())
        yield session
    administrator.execute("DROP DATABASE of_differences")


@pytest.fixture(scope="module")
def before(beginning: Session) -> Schema:
    return read_schema(beginning)


@pytest.mark.parametrize("statement", sampled(TOLD))
def test_the_change_of_a_statement_has_its_lines(beginning: Session, before: Schema, statement: str) -> None:
    with rolled_back(beginning, statement):
        after = read_schema(beginning)
    lines = list(diff_schemas(before, after))
    expected = TOLD[statement]
    if expected[-1] == "...":
        assert lines[: len(expected) - 1] == expected[:-1]
    else:
        assert lines == expected
    assert not schemas_equal(before, after)


@pytest.mark.parametrize("statement", NOTHING)
def test_what_changes_nothing_is_no_difference(beginning: Session, before: Schema, statement: str) -> None:
    with rolled_back(beginning, statement):
        after = read_schema(beginning)
    assert diff_schemas(before, after) == ()
    assert schemas_equal(before, after)


def test_a_column_made_again_under_its_name_is_another_one_only_by_its_contents(
    beginning: Session, before: Schema
) -> None:
    with rolled_back(beginning, "ALTER TABLE app.orders DROP COLUMN note, ADD COLUMN note text"):
        after = read_schema(beginning)
    assert diff_schemas(before, after) == ("column app.orders.note: dropped, and made again",)
    assert diff_schemas(before, after, remade=False) == ()
    assert schemas_equal(before, after)


def test_a_swapped_table_has_lines_for_the_renames(beginning: Session, before: Schema) -> None:
    swap = """
        CREATE TABLE app.new (LIKE app.events_old);
        ALTER TABLE app.events_old RENAME TO before;
        ALTER TABLE app.new RENAME TO events_old
    """
    with rolled_back(beginning, swap):
        after = read_schema(beginning)
    assert diff_schemas(before, after) == ("table app.events_old renamed to before", "table app.events_old: added")
    assert diff_schemas(before, after, oids=False) == ("table app.before: added",)


def test_losses_stand_first_and_the_lines_about_one_table_together(beginning: Session, before: Schema) -> None:
    changes = """
        CREATE TABLE app.a (id integer);
        ALTER TABLE app.orders ADD COLUMN b text;
        ALTER TABLE app.users ADD COLUMN phone text;
        ALTER TABLE app.users ALTER COLUMN age DROP DEFAULT;
        ALTER TABLE app.users DROP CONSTRAINT adult;
    """
    with rolled_back(beginning, changes):
        after = read_schema(beginning)
    assert diff_schemas(before, after) == (
        "constraint adult on app.users: dropped",
        "column app.users.age: default 18 dropped",
        "table app.users: column phone text added",
        "table app.a: added",
        "table app.orders: column b text added",
    )


def test_parts_of_a_new_table_have_no_lines_of_their_own(beginning: Session, before: Schema) -> None:
    changes = """
        ALTER TABLE app.events ADD COLUMN more text;
        ALTER TABLE app.events ALTER COLUMN what SET NOT NULL;
        CREATE TABLE app.events_2027 PARTITION OF app.events FOR VALUES FROM ('2027-01-01') TO ('2028-01-01')
    """
    with rolled_back(beginning, changes):
        after = read_schema(beginning)
    assert diff_schemas(before, after) == (
        "column app.events.what: NOT NULL set",
        "partitioned table app.events: column more text added",
        "table app.events_2027: added",
    )


WATCHING = """
    CREATE FUNCTION tracer.look() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
    CREATE EVENT TRIGGER watching ON sql_drop EXECUTE FUNCTION tracer.look()
"""


def test_what_is_left_out_takes_its_parts_along(beginning: Session, before: Schema) -> None:
    with rolled_back(beginning, "CREATE SCHEMA tracer; CREATE TABLE tracer.seen (id serial PRIMARY KEY);" + WATCHING):
        after = read_schema(beginning, left_out=("tracer", "watching"))
    assert diff_schemas(before, after) == ()
    assert schemas_equal(before, after)


def test_a_secret_is_never_in_the_words(beginning: Session, before: Schema) -> None:
    changes = """
        ALTER SERVER remote OPTIONS (password 'sesame');
        CREATE USER MAPPING FOR PUBLIC SERVER remote OPTIONS (password 'sesame');
        ALTER FUNCTION app.twice(integer) SET app.key = 'sesame';
        ALTER TABLE app.users ALTER COLUMN name SET DEFAULT 'password=sesame'
    """
    with rolled_back(beginning, changes):
        after = read_schema(beginning)
    lines = diff_schemas(before, after)
    assert len(lines) == 4
    assert "sesame" not in "".join(lines)


def test_reading_leaves_the_session_as_it_was(beginning: Session) -> None:
    ask = b"SELECT current_setting('search_path'), current_setting('TimeZone'), current_setting('jit')"
    with rolled_back(beginning, "SET LOCAL search_path = app; SET LOCAL TimeZone = 'Asia/Tokyo'"):
        before = beginning.connection.execute(ask).fetchone()
        read_schema(beginning)
        assert beginning.connection.execute(ask).fetchone() == before


def test_the_text_of_a_schema_does_not_depend_on_the_session_that_reads_it(beginning: Session, before: Schema) -> None:
    odd = "SET LOCAL search_path = app; SET LOCAL quote_all_identifiers = on; SET LOCAL DateStyle = 'German'"
    with rolled_back(beginning, odd):
        assert schemas_equal(read_schema(beginning), before)


def test_an_index_attached_to_a_partitioned_one_has_a_line(beginning: Session) -> None:
    make = "CREATE INDEX whole ON ONLY app.events (what); CREATE INDEX part ON app.events_2026 (what);"
    with rolled_back(beginning, make):
        before = read_schema(beginning)
    with rolled_back(beginning, f"{make} ALTER INDEX app.whole ATTACH PARTITION app.part"):
        after = read_schema(beginning)
    lines = diff_schemas(before, after, oids=False)
    assert lines == ("index app.part: partition of app.whole set", "index app.whole: valid again")


def test_a_database_whose_first_schema_is_gone_can_be_read(beginning: Session, before: Schema) -> None:
    with rolled_back(beginning, "ALTER SCHEMA public RENAME TO other"):
        after = read_schema(beginning)
    assert diff_schemas(before, after) == ("schema public renamed to other",)
