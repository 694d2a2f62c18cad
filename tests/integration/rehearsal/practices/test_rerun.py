"""Safe to re-run: a file that is not is named, with its line and how to write it; a file that is passes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from kernel.errors import MigrationFailed
from kernel.rehearsal.practices.rerun import check_rerun, find_rerun_remedy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kernel.postgres.cluster import Server
    from kernel.rehearsal.practices.result import CompareData, PracticeResult
    from tests.integration.conftest import Project

pytestmark = pytest.mark.slow  # each makes databases of its own; the quick suite rehearses end to end in tests/cli

FIRST = """
CREATE TABLE users (id integer PRIMARY KEY, email text, age integer);
CREATE TABLE log (line text);
INSERT INTO users VALUES (1, 'a@test', 30), (2, 'b@test', 40);
CREATE TYPE mood AS ENUM ('sad', 'ok');
CREATE DOMAIN brief AS text;
"""
# What fails the second time, in its line 2, and how to write it.
FAILING = {
    "CREATE TABLE notes (id integer)": ("42P07", "write CREATE TABLE IF NOT EXISTS"),
    "CREATE INDEX by_email ON users (email)": ("42P07", "write CREATE INDEX IF NOT EXISTS, with a name"),
    "CREATE UNIQUE INDEX by_email ON users (email)": ("42P07", "write CREATE INDEX IF NOT EXISTS, with a name"),
    "CREATE VIEW adults AS SELECT 1": ("42P07", "write CREATE OR REPLACE VIEW"),
    "CREATE MATERIALIZED VIEW adults AS SELECT 1": ("42P07", "write CREATE MATERIALIZED VIEW IF NOT EXISTS"),
    "CREATE SEQUENCE numbers": ("42P07", "write CREATE SEQUENCE IF NOT EXISTS"),
    "CREATE SCHEMA more": ("42P06", "write CREATE SCHEMA IF NOT EXISTS"),
    "CREATE EXTENSION pg_trgm": ("42710", "write CREATE EXTENSION IF NOT EXISTS"),
    "CREATE STATISTICS related ON email, age FROM users": ("42710", "write CREATE STATISTICS IF NOT EXISTS"),
    "CREATE TYPE colour AS ENUM ('red')": ("42710", "EXCEPTION WHEN duplicate_object"),
    "CREATE DOMAIN short AS text": ("42710", "EXCEPTION WHEN duplicate_object"),
    "CREATE FUNCTION f() RETURNS integer LANGUAGE sql AS 'SELECT 1'": ("42723", "write CREATE OR REPLACE FUNCTION"),
    "CREATE PROCEDURE p() LANGUAGE sql AS ''": ("42723", "write CREATE OR REPLACE PROCEDURE"),
    "CREATE AGGREGATE a(integer) (SFUNC = int4pl, STYPE = integer)": ("42723", "write CREATE OR REPLACE AGGREGATE"),
    "CREATE RULE r AS ON DELETE TO log DO INSTEAD NOTHING": ("42710", "write CREATE OR REPLACE RULE"),
    "CREATE TRIGGER t BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()": (
        "42710",
        "write CREATE OR REPLACE TRIGGER",
    ),
    "CREATE POLICY own ON users USING (true)": ("42710", "write DROP POLICY IF EXISTS before it"),
    "CREATE PUBLICATION news FOR TABLE users": ("42710", "write DROP PUBLICATION IF EXISTS before it"),
    "ALTER TYPE mood ADD VALUE 'happy'": ("42710", "write ADD VALUE IF NOT EXISTS"),
    "ALTER TABLE users ADD COLUMN phone text": ("42701", "write ADD COLUMN IF NOT EXISTS"),
    "ALTER TABLE users ADD phone text": ("42701", "write ADD COLUMN IF NOT EXISTS"),
    "ALTER TABLE users ADD CONSTRAINT adult CHECK (age > 17)": ("42710", "write DROP CONSTRAINT IF EXISTS before it"),
    "ALTER TABLE users ADD CONSTRAINT one UNIQUE (email)": ("42P07", "write DROP CONSTRAINT IF EXISTS before it"),
    "ALTER TABLE log ADD PRIMARY KEY (line)": ("42P16", "write DROP CONSTRAINT IF EXISTS before it"),
    "ALTER DOMAIN brief ADD CONSTRAINT c CHECK (VALUE <> '')": ("42710", "write DROP CONSTRAINT IF EXISTS before it"),
    "ALTER TABLE users DROP COLUMN age": ("42703", "write DROP COLUMN IF EXISTS"),
    "ALTER TABLE users DROP CONSTRAINT users_pkey": ("42704", "write DROP CONSTRAINT IF EXISTS"),
    "DROP TABLE log": ("42P01", "write DROP … IF EXISTS"),
    "DROP TYPE mood": ("42704", "write DROP … IF EXISTS"),
    "ALTER TABLE log RENAME TO lines": ("42P01", "DO block that looks first"),
    "ALTER TABLE users RENAME COLUMN age TO years": ("42703", "DO block that looks first"),
    "INSERT INTO users VALUES (3, 'c@test', 50)": ("23505", "write ON CONFLICT DO NOTHING"),
    "COPY users FROM stdin;\n3\tc@test\t50\n\\.\n": ("23505", "copy into a temporary table"),
    "DO $$ BEGIN CREATE TABLE notes (id integer); END $$": ("42P07", "look first, inside of the block"),
}
# What succeeds and is something else the second time.
CHANGING = {
    "CREATE INDEX ON users (email)": "run again, it changes the schema: index public.users_email_idx1: added",
    "ALTER TABLE users ADD CHECK (age > 0)": "run again, it changes the schema: constraint users_age_check1 on",
    "DROP TABLE IF EXISTS notes; CREATE TABLE notes (id integer)": (
        "run again, it changes the schema: table public.notes: dropped, and made again"
    ),
    "INSERT INTO log VALUES ('x')": "run again, it inserts 1 row of public.log",
    "DELETE FROM users WHERE id = (SELECT max(id) FROM users)": "run again, it deletes 1 row of public.users",
}
SAFE = (
    "CREATE TABLE IF NOT EXISTS notes (id integer)",
    "ALTER TABLE users ADD COLUMN IF NOT EXISTS phone text DEFAULT '-'",
    "CREATE OR REPLACE VIEW adults AS SELECT id FROM users WHERE age > 17",
    "CREATE INDEX IF NOT EXISTS by_email ON users (email)",
    "-- migrate: no-transaction\nCREATE INDEX CONCURRENTLY IF NOT EXISTS by_email ON users (email)",
    "UPDATE users SET email = 'none' WHERE email IS NULL",
    "INSERT INTO users VALUES (3, 'c@test', 50) ON CONFLICT DO NOTHING",
    "ALTER TABLE users ALTER COLUMN age TYPE bigint",
    "ALTER TABLE users ALTER COLUMN age SET NOT NULL",
    "ALTER TABLE users DROP CONSTRAINT IF EXISTS adult; ALTER TABLE users ADD CONSTRAINT adult CHECK (age > 17)",
    "DROP TABLE IF EXISTS log",
    "DROP MATERIALIZED VIEW IF EXISTS many; CREATE MATERIALIZED VIEW many AS SELECT id FROM users",
    "DO $$ BEGIN CREATE TYPE colour AS ENUM ('red'); EXCEPTION WHEN duplicate_object THEN NULL; END $$",
)


def check(project: Project, *, before_url: str = "", data_changed: CompareData | None = None) -> PracticeResult:
    files = project.files()
    return check_rerun(
        project.url, files, files[1:], waits=project.waits, before_url=before_url, data_changed=data_changed
    )


@pytest.fixture
def begun(project: Project) -> Project:
    """A project whose first file is applied."""
    project.put("001_first.sql", FIRST)
    project.migrate()
    return project


@pytest.fixture(scope="module")
def twice(server: Server, administrator: psycopg.Connection) -> Iterator[psycopg.Connection]:
    """A connection to a database with the first file applied, rolled back after each test."""
    administrator.execute("CREATE DATABASE run_twice")
    with psycopg.connect(make_conninfo(server.conninfo, dbname="run_twice")) as connection:
        connection.execute(FIRST.encode())
        connection.commit()
        yield connection
    administrator.execute("DROP DATABASE run_twice")


@pytest.mark.parametrize("statement", FAILING)
def test_a_statement_that_fails_the_second_time_has_its_remedy(twice: psycopg.Connection, statement: str) -> None:
    def run() -> None:
        head, _, data = statement.partition(";\n")
        if data:
            with twice.cursor().copy(head.encode()) as copy:
                copy.write(data.removesuffix("\\.\n"))
        else:
            twice.execute(head.encode())

    run()
    with pytest.raises(psycopg.Error) as failed:
        run()
    twice.rollback()
    code, remedy = FAILING[statement]
    assert failed.value.sqlstate == code
    assert remedy in find_rerun_remedy(code, statement)


def test_an_error_that_no_rule_knows_is_to_be_looked_for_first() -> None:
    assert find_rerun_remedy("22012", "UPDATE users SET age = 1 / age") == find_rerun_remedy(None, "")


@pytest.mark.parametrize(
    "statement", ["CREATE TABLE notes (id integer)", "COPY users FROM stdin;\n3\tc@test\t50\n\\.\n"]
)
def test_a_file_that_fails_the_second_time_is_named_with_line_and_remedy(begun: Project, statement: str) -> None:
    begun.put("002_second.sql", f"-- a comment\n{statement}")
    found = check(begun)
    code, remedy = FAILING[statement]
    assert found.practice.held is False
    (fault,) = found.faults
    assert (fault.version, fault.filename) == ("002", "002_second.sql")
    assert fault.line == (3 if statement.startswith("COPY") else 2)
    assert code in fault.message
    assert remedy in fault.remedy


@pytest.mark.parametrize("statement", CHANGING)
def test_a_file_that_changes_something_the_second_time_is_named(begun: Project, statement: str) -> None:
    begun.put("002_second.sql", f"\n{statement}")
    found = check(begun)
    assert found.practice.held is False
    (fault,) = found.faults
    assert fault.line == (None if ";" in statement else 2)
    assert fault.message.startswith(CHANGING[statement])


@pytest.mark.parametrize("statement", SAFE)
def test_a_file_that_does_nothing_the_second_time_is_safe(begun: Project, statement: str) -> None:
    begun.put("002_second.sql", statement)
    found = check(begun)
    assert found.practice.held is True
    assert found.practice.details == ()


def test_each_file_is_tested_alone_and_all_records_are_restored(begun: Project) -> None:
    begun.put("002_bad.sql", "CREATE TABLE notes (id integer)")
    begun.put("003_good.sql", "ALTER TABLE notes ADD COLUMN IF NOT EXISTS text text")
    begun.put(
        "004_bad.sql", "-- migrate: no-transaction\nCREATE SCHEMA IF NOT EXISTS more;\nALTER TABLE notes ADD x text"
    )
    found = check(begun)
    assert [(fault.filename, fault.line) for fault in found.faults] == [("002_bad.sql", 1), ("004_bad.sql", 3)]
    assert begun.recorded() == ["001", "002", "003", "004"]
    assert begun.rows("SELECT * FROM schema_migrations_progress") == []


def test_a_file_runs_again_before_the_next_one_changes_what_it_made(begun: Project) -> None:
    begun.put("002_add.sql", "ALTER TABLE users ADD COLUMN IF NOT EXISTS old_name text")
    begun.put("003_rename.sql", "ALTER TABLE users RENAME COLUMN old_name TO name")
    assert [fault.filename for fault in check(begun).faults] == ["003_rename.sql"]


def test_files_that_are_all_applied_are_run_again_in_that_state(begun: Project) -> None:
    begun.put("002_bad.sql", "CREATE TABLE notes (id integer)")
    begun.migrate()
    assert [fault.filename for fault in check(begun).faults] == ["002_bad.sql"]


def test_a_file_that_fails_the_first_time_is_an_error(begun: Project) -> None:
    begun.put("002_second.sql", "ALTER TABLE nowhere ADD x text")
    with pytest.raises(MigrationFailed, match="nowhere"):
        check(begun)


def test_rows_written_again_leave_the_practice_untested_without_a_comparison(begun: Project) -> None:
    begun.put("002_second.sql", "UPDATE users SET email = lower(email)")
    found = check(begun)
    assert found.practice.held is None
    assert found.practice.details == (
        "002_second.sql:1: run again, it updates 2 rows of public.users; the values were not compared",
    )


@pytest.fixture
def twin(begun: Project, administrator: psycopg.Connection) -> Iterator[str]:
    """A copy of the database in which the pending file is applied once."""
    begun.put("002_second.sql", "UPDATE users SET age = age + 1 WHERE id = 1")
    begun.migrate()
    begun.look.close()
    name = str(conninfo_to_dict(begun.url)["dbname"])
    copy = f"{name}_twin"
    administrator.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(copy), sql.Identifier(name)))
    yield make_conninfo(begun.url, dbname=copy)
    administrator.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(copy)))


def ages(before_url: str, after_url: str) -> tuple[str, ...]:
    """The rows of the users compared in the plainest way."""
    seen = []
    for url in (before_url, after_url):
        with psycopg.connect(url) as connection:
            seen.append(connection.execute("SELECT id, age FROM users ORDER BY id").fetchall())
    return ("table public.users: rows differ",) if seen[0] != seen[1] else ()


def test_rows_that_are_other_ones_the_second_time_are_a_fault(begun: Project, twin: str) -> None:
    found = check(begun, before_url=twin, data_changed=ages)
    assert found.practice.held is False
    assert found.practice.details == (
        "002_second.sql:1: run again, it updates 1 row of public.users; make it do nothing where it has run before",
        "table public.users: rows differ",
    )


def test_rows_written_with_the_values_they_have_are_none(begun: Project, twin: str) -> None:
    begun.put("002_second.sql", "UPDATE users SET age = 31 WHERE id = 1")
    with psycopg.connect(begun.url, autocommit=True) as connection:
        connection.execute("DELETE FROM schema_migrations WHERE version = '002'")
    found = check(begun, before_url=twin, data_changed=ages)
    assert found.practice.held is True
    assert found.practice.details == (
        "002_second.sql:1: run again, it updates 1 row of public.users, with the values they have",
    )
