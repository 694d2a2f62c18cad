"""Options that a server sets for itself, in dumps of a pg_dump that does not know them, on servers that refuse them."""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from kernel.errors import ProgramsMissing
from kernel.postgres.programs import find_programs
from kernel.postgres.throwaway import throwaway_server
from kernel.rehearsal.dump.archive.contents import read_archive_contents
from kernel.rehearsal.dump.archive.restore import restore_archive
from kernel.rehearsal.dump.identify import identify_dump
from kernel.rehearsal.dump.plain.classify import StatementKind, classify_statement, without_server_options
from kernel.rehearsal.dump.plain.load import load_plain_dump
from kernel.rehearsal.dump.plain.scan import open_plain_dump

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from kernel.postgres.cluster import Server
    from kernel.postgres.programs import Programs
    from kernel.rehearsal.dump.common.model import RestoreOutcome

pytestmark = pytest.mark.slow

SCHEMA = """
CREATE TABLE typed (a int PRIMARY KEY, "Odd; (b)" int, c text);
INSERT INTO typed SELECT i, i, 'pg_attver=1' FROM generate_series(1, 1000) i;
ALTER TABLE typed ALTER a TYPE bigint;
ALTER TABLE typed ALTER "Odd; (b)" SET (n_distinct = 5);
ALTER TABLE typed ALTER "Odd; (b)" TYPE bigint;
CREATE TABLE schema_migrations (version text PRIMARY KEY, filename text, checksum text, applied_at timestamptz);
INSERT INTO schema_migrations VALUES ('001', '001_typed.sql', 'x', now());
CREATE FUNCTION note() RETURNS text LANGUAGE sql AS $$ SELECT 'SET (pg_attver=1)' $$;
SELECT lo_from_bytea(4711, 'large');
"""
STATE = """
SELECT (SELECT count(*) FROM typed), (SELECT count(*) FROM schema_migrations), note(),
  (SELECT option FROM pg_attribute, unnest(attoptions) option WHERE attrelid = 'typed'::regclass AND option ~ '^n_d')
"""
LEFT_OUT = r"pg_attver of \d columns?: left out, as only a server sets it; pg_dump [\d.]+ wrote it, which is older"


def refuses(url: str) -> bool:
    try:
        with psycopg.connect(url) as connection:
            connection.execute("CREATE TEMP TABLE t (a int)")
            connection.execute("ALTER TABLE t ALTER a SET (pg_attver = 1)")
    except psycopg.errors.InvalidParameterValue:
        return True
    return False


@pytest.fixture(scope="module")
def older() -> Programs:
    """Programs of before the release whose servers set pg_attver, and not of an older major version than the server."""
    try:
        return find_programs(None, major=17)
    except ProgramsMissing:
        pytest.skip("needs a PostgreSQL 17, as the development extra installs it")


@pytest.fixture(scope="module")
def older_server(older: Programs) -> Iterator[Server]:
    with throwaway_server(older) as started:
        if not refuses(started.conninfo):
            pytest.skip(f"PostgreSQL {older.version} sets pg_attver itself")
        yield started


@pytest.fixture
def copy(older_server: Server) -> Iterator[str]:
    with psycopg.connect(older_server.conninfo, autocommit=True) as administrator:
        administrator.execute("CREATE DATABASE copy TEMPLATE template0")
        yield make_conninfo(older_server.conninfo, dbname="copy")
        administrator.execute("DROP DATABASE copy WITH (FORCE)")


@pytest.fixture
def dump(request: pytest.FixtureRequest, database: str, older: Programs, tmp_path: Path) -> Iterator[Path]:
    """A dump, by the older pg_dump, of a database on the tests' server."""
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(SCHEMA.encode())
        (options,) = connection.execute("SELECT string_agg(attoptions::text, '') FROM pg_attribute").fetchone() or ("",)
        if "pg_attver" not in (options or ""):
            pytest.skip("the server does not set pg_attver")
        path = tmp_path / "dump"
        subprocess.run(
            [older.bin / "pg_dump", f"--format={request.param}", f"--file={path}", "-d", database], check=True
        )
        yield path
        connection.execute("SELECT lo_unlink(4711)")


def restored(path: Path, url: str, programs: Programs, *, schema_only: bool = False) -> RestoreOutcome:
    found = identify_dump(path)
    if found.format.value == "plain":
        assert b"pg_attver=" in path.read_bytes()
        with open_plain_dump(found) as index:
            return load_plain_dump(index, url, schema_only=schema_only)
    assert read_archive_contents(found, programs).client_version == programs.version
    return restore_archive(found, url, programs, schema_only=schema_only)


def state(url: str) -> tuple[object, ...] | None:
    with psycopg.connect(url) as connection:
        return connection.execute(STATE).fetchone()


@pytest.mark.parametrize("schema_only", [False, True])
@pytest.mark.parametrize("dump", ["plain", "custom", "directory", "tar"], indirect=True)
def test_what_only_a_server_sets_is_left_out_and_nothing_else(
    dump: Path, copy: str, older: Programs, schema_only: bool
) -> None:
    done = restored(dump, copy, older, schema_only=schema_only)
    assert done.lost == ()
    (sentence,) = (one for one in done.harmless if not one.startswith(("pg_restore ", "ALTER LARGE OBJECT")))
    assert re.match(LEFT_OUT, sentence)
    assert state(copy) == (0 if schema_only else 1000, 1, "SET (pg_attver=1)", "n_distinct=5")


@pytest.mark.parametrize("dump", ["plain", "custom"], indirect=True)
def test_a_server_that_sets_it_takes_such_a_dump_too(
    dump: Path, database: str, administrator: psycopg.Connection, older: Programs
) -> None:
    administrator.execute("CREATE DATABASE newer_copy TEMPLATE template0")
    try:
        url = make_conninfo(database, dbname="newer_copy")
        assert restored(dump, url, older).lost == ()
        assert state(url) == (1000, 1, "SET (pg_attver=1)", "n_distinct=5")
    finally:
        administrator.execute("DROP DATABASE newer_copy WITH (FORCE)")


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("ALTER TABLE ONLY public.t ALTER COLUMN a SET (pg_attver=22104120);", ""),
        ('ALTER TABLE ONLY "a ""(" ALTER COLUMN ")" SET (pg_attver=1);', ""),
        ("ALTER FOREIGN TABLE ONLY s.t ALTER COLUMN a SET (pg_attver='1');", ""),
        (
            "ALTER TABLE t ALTER COLUMN a SET (n_distinct=5, pg_attver=1);",
            "ALTER TABLE t ALTER COLUMN a SET (n_distinct=5);",
        ),
        (
            "ALTER TABLE t ALTER COLUMN a SET (pg_attver=1, n_distinct=-0.5, n_distinct_inherited=1);",
            "ALTER TABLE t ALTER COLUMN a SET (n_distinct=-0.5, n_distinct_inherited=1);",
        ),
    ],
)
def test_the_other_options_of_a_column_stay(given: str, kept: str) -> None:
    assert classify_statement(given.encode())[0] is StatementKind.COLUMN_OPTIONS
    assert without_server_options(given.encode()).decode() == kept


@pytest.mark.parametrize(
    "given",
    [
        "ALTER TABLE ONLY public.t ALTER COLUMN a SET (n_distinct=5);",
        "ALTER TABLE ONLY public.t ALTER COLUMN a SET (my_pg_attver=5);",
        "ALTER TABLE ONLY public.t SET (pg_attver=5);",
        "ALTER TABLE ONLY public.t ALTER COLUMN a SET (pg_attver=5); DROP TABLE t;",
    ],
)
def test_every_other_statement_runs_unchanged(given: str) -> None:
    assert classify_statement(given.encode())[0] is StatementKind.PLAIN
