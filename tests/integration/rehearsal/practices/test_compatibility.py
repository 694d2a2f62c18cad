"""Backward compatible: what breaks the running application is named, and what it never notices is not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from psycopg.conninfo import make_conninfo

from kernel.db.connection import open_session
from kernel.rehearsal.practices.compatibility import check_compatibility
from kernel.schema.snapshot import read_schema
from tests.unit.runs import run, statement

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import psycopg

    from kernel.db.connection import Session
    from kernel.postgres.cluster import Server
    from kernel.rehearsal.practices.result import PracticeResult
    from kernel.rehearsal.result import Run
    from kernel.schema.snapshot import Schema

BEGINNING = """
CREATE SCHEMA app;
CREATE TABLE app.users (id bigint PRIMARY KEY, email text NOT NULL UNIQUE, age integer DEFAULT 18, name varchar(80),
    balance numeric(12, 2), role text NOT NULL DEFAULT 'user', code text,
    height integer, title varchar(80));
CREATE UNIQUE INDEX by_code ON app.users (code);
CREATE INDEX by_name ON app.users (name);
CREATE TABLE app.orders (id serial PRIMARY KEY, user_id bigint REFERENCES app.users);
CREATE VIEW app.adults AS SELECT id, name FROM app.users WHERE age > 17;
CREATE MATERIALIZED VIEW app.totals AS SELECT count(*) AS n FROM app.orders;
CREATE TYPE app.mood AS ENUM ('sad', 'ok');
CREATE DOMAIN app.short AS text;
CREATE SEQUENCE app.numbers;
CREATE FUNCTION app.twice(n integer) RETURNS integer LANGUAGE sql AS 'SELECT n * 2';
CREATE FUNCTION app.touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
GRANT SELECT ON app.users TO pg_monitor;
"""

BREAKS = {
    "DROP TABLE app.orders CASCADE": ["table app.orders is gone", "materialized view app.totals is gone"],
    "ALTER TABLE app.users RENAME TO people": ["table app.users is app.people now"],
    "ALTER TABLE app.orders SET SCHEMA public": ["table app.orders is public.orders now"],
    "ALTER SCHEMA app RENAME TO other": ["schema app is other now"],
    "ALTER TABLE app.users DROP COLUMN balance": ["column app.users.balance is gone"],
    "ALTER TABLE app.users RENAME COLUMN balance TO money": ["column app.users.balance is app.users.money now"],
    "ALTER TABLE app.users ALTER COLUMN height TYPE bigint": ["column app.users.height is bigint, no longer integer"],
    "ALTER TABLE app.users ALTER COLUMN balance TYPE numeric(12, 4)": [
        "column app.users.balance is numeric(12,4), no longer numeric(12,2)"
    ],
    "ALTER TABLE app.users ALTER COLUMN code TYPE varchar(5)": [
        "column app.users.code is character varying(5), no longer text"
    ],
    "ALTER TABLE app.users ALTER COLUMN code SET NOT NULL": ["column app.users.code takes no NULL any more"],
    "ALTER TABLE app.users ADD COLUMN phone text NOT NULL": [
        "column app.users.phone is new, NOT NULL and without a default: INSERTs that do not name it fail"
    ],
    "ALTER TABLE app.users ALTER COLUMN role DROP DEFAULT": [
        "column app.users.role has no default any more: INSERTs that do not name it fail"
    ],
    "ALTER TABLE app.users ALTER COLUMN age DROP DEFAULT": [
        "column app.users.age has no default any more: INSERTs that do not name it leave it NULL"
    ],
    "ALTER TABLE app.users ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY": [
        "column app.users.id is generated now: INSERTs and UPDATEs that name it fail"
    ],
    "ALTER TABLE app.users ADD CONSTRAINT adult CHECK (age > 17) NOT VALID": [
        "constraint adult on app.users is new: rows that it does not allow are refused: CHECK ((age > 17))"
    ],
    "CREATE UNIQUE INDEX one_name ON app.users (name)": [
        "index app.one_name is new: rows that it does not allow are refused: USING btree (name)"
    ],
    "ALTER DOMAIN app.short ADD CONSTRAINT c CHECK (VALUE <> '')": [
        "constraint c on app.short is new: rows that it does not allow are refused: CHECK ((VALUE <> ''::text))"
    ],
    "ALTER DOMAIN app.short SET NOT NULL": ["domain app.short takes no NULL any more"],
    "ALTER TABLE app.users DROP CONSTRAINT users_email_key": [
        "constraint users_email_key on app.users is gone: INSERT … ON CONFLICT that relies on it fails: UNIQUE (email)"
    ],
    "DROP INDEX app.by_code": [
        "index app.by_code is gone: INSERT … ON CONFLICT that relies on it fails: USING btree (code)"
    ],
    "DROP VIEW app.adults": ["view app.adults is gone"],
    "DROP VIEW app.adults; CREATE VIEW app.adults AS SELECT id FROM app.users": ["column app.adults.name is gone"],
    "REFRESH MATERIALIZED VIEW app.totals WITH NO DATA": [
        "materialized view app.totals is not populated any more, and cannot be read"
    ],
    "ALTER TYPE app.mood RENAME VALUE 'ok' TO 'fine'": ["enum app.mood has no value 'ok' any more"],
    "DROP TYPE app.mood": ["enum app.mood is gone"],
    "DROP SEQUENCE app.numbers": ["sequence app.numbers is gone"],
    "DROP FUNCTION app.twice(integer)": ["function app.twice(n integer) is gone"],
    "ALTER FUNCTION app.twice(integer) RENAME TO double": [
        "function app.twice(n integer) is app.double(n integer) now"
    ],
    "DROP FUNCTION app.twice; CREATE FUNCTION app.twice(n integer) RETURNS bigint LANGUAGE sql AS 'SELECT 2'": [
        "function app.twice(n integer) returns bigint, no longer integer"
    ],
    "ALTER TABLE app.users ENABLE ROW LEVEL SECURITY": [
        "table app.users has row security now: rows that no policy shows are hidden"
    ],
    "REVOKE SELECT ON app.users FROM pg_monitor": ["table app.users: SELECT to pg_monitor is revoked"],
    "DROP EXTENSION plpgsql CASCADE": ["extension plpgsql is gone"],
}
GOES_UNNOTICED = (
    "",
    "CREATE TABLE app.notes (id integer PRIMARY KEY, user_id bigint REFERENCES app.users, t text CHECK (t <> ''))",
    "ALTER TABLE app.users ADD COLUMN phone text",
    "ALTER TABLE app.users ADD COLUMN phone text NOT NULL DEFAULT ''",
    "ALTER TABLE app.users ADD COLUMN phone text CHECK (phone <> '') UNIQUE",
    "ALTER TABLE app.users ADD COLUMN number bigint GENERATED ALWAYS AS IDENTITY",
    "ALTER TABLE app.users ADD COLUMN boss bigint REFERENCES app.users (id)",
    "ALTER TABLE app.users ALTER COLUMN title TYPE varchar(120)",
    "ALTER TABLE app.users ALTER COLUMN code TYPE varchar",
    "ALTER TABLE app.users ALTER COLUMN title TYPE text",
    "ALTER TABLE app.users ALTER COLUMN balance TYPE numeric(14, 2)",
    "ALTER TABLE app.users ALTER COLUMN email DROP NOT NULL",
    "ALTER TABLE app.users ALTER COLUMN name SET DEFAULT 'x'",
    "CREATE INDEX by_age ON app.users (age)",
    "DROP INDEX app.by_name",
    "ALTER INDEX app.by_code RENAME TO code",
    "ALTER TABLE app.users ADD CONSTRAINT codes UNIQUE USING INDEX by_code",
    "ALTER TABLE app.users RENAME CONSTRAINT users_email_key TO email",
    "ALTER TYPE app.mood ADD VALUE 'happy'",
    "ALTER TABLE app.orders RENAME TO purchases; CREATE VIEW app.orders AS SELECT * FROM app.purchases",
    "CREATE OR REPLACE VIEW app.adults AS SELECT id, name, age FROM app.users WHERE age > 20",
    "CREATE OR REPLACE FUNCTION app.twice(n integer) RETURNS integer LANGUAGE sql AS 'SELECT n + n'",
    "DROP FUNCTION app.touch()",
    "GRANT INSERT ON app.users TO pg_monitor",
    "COMMENT ON TABLE app.users IS 'people'",
)


def sampled(statements: Iterable[str]) -> list[object]:
    """Each third runs every time, all of them with the slow ones."""
    return [
        pytest.param(statement, marks=() if number % 3 == 0 else (pytest.mark.slow,))
        for number, statement in enumerate(statements)
    ]


@pytest.fixture(scope="module")
def session(server: Server, administrator: psycopg.Connection) -> Iterator[Session]:
    administrator.execute("CREATE DATABASE of_applications")
    with open_session(make_conninfo(server.conninfo, dbname="of_applications")) as session:
        session.connection.execute(BEGINNING.encode())
        yield session
    administrator.execute("DROP DATABASE of_applications")


@pytest.fixture(scope="module")
def before(session: Session) -> Schema:
    return read_schema(session)


def after(session: Session, statements: str) -> Schema:
    """The schema as it would be once the statements are committed."""
    session.connection.execute("BEGIN")
    try:
        session.connection.execute(statements.encode())
        return read_schema(session)
    finally:
        session.connection.execute("ROLLBACK")


@pytest.mark.parametrize("statement", sampled(BREAKS))
def test_what_breaks_the_running_application_is_named(session: Session, before: Schema, statement: str) -> None:
    found = check_compatibility(before, after(session, statement))
    assert [fault.message for fault in found.faults] == BREAKS[statement]
    assert all(fault.remedy for fault in found.faults)
    assert found.practice.held is False


@pytest.mark.parametrize("statement", GOES_UNNOTICED)
def test_what_the_running_application_never_notices_is_no_fault(
    session: Session, before: Schema, statement: str
) -> None:
    found = check_compatibility(before, after(session, statement))
    assert found.practice.details == ()
    assert found.practice.held is True


def ran(version: str, *commands: tuple[int, str]) -> Run:
    statements = (statement("", line=line, commands=(command,)) for line, command in commands)
    return run(*statements, version=version, filename=f"{version}_x.sql")


def locations(found: PracticeResult) -> list[tuple[str, int | None]]:
    return [(fault.filename, fault.line) for fault in found.faults]


def test_the_only_migration_is_the_cause(session: Session, before: Schema) -> None:
    now = after(session, "ALTER TABLE app.users DROP COLUMN balance")
    assert locations(check_compatibility(before, now, runs=[ran("016")])) == [("016_x.sql", None)]


def test_the_migration_whose_command_names_the_table_is_the_cause(session: Session, before: Schema) -> None:
    now = after(session, "ALTER TABLE app.users DROP COLUMN balance")
    runs = [ran("016", (3, "ALTER TABLE app.users2")), ran("017", (5, "ALTER TABLE app.users"))]
    found = check_compatibility(before, now, runs=runs)
    assert locations(found) == [("017_x.sql", 5)]
    assert found.practice.details[0].startswith(
        "017_x.sql:5: column app.users.balance is gone; add the new next to the old"
    )


def test_no_cause_is_named_where_two_are_possible(session: Session, before: Schema) -> None:
    now = after(session, "ALTER TABLE app.users DROP COLUMN balance")
    runs = [ran(version, (1, "ALTER TABLE app.users")) for version in ("016", "017")]
    assert locations(check_compatibility(before, now, runs=runs)) == [("", None)]
