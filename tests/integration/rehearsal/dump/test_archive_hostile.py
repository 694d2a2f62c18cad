from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from kernel.rehearsal.dump.archive.restore import restore_archive
from kernel.rehearsal.dump.disable_external import disable_external_access
from kernel.rehearsal.dump.identify import identify_dump

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kernel.postgres.cluster import Server

pytestmark = pytest.mark.slow

# What run() does is replaced in the archive, by as many bytes: its table of contents is not compressed.
INNOCENT = "/*" + "." * 200 + "*/"
FUNCTIONS = f"""
CREATE FUNCTION run() RETURNS integer LANGUAGE plpgsql AS $$ BEGIN {INNOCENT} RETURN 1; END $$;
CREATE FUNCTION made() RETURNS integer LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN public.run(); END $$;
CREATE FUNCTION made_owner() RETURNS integer LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN RETURN public.run(); END $$;
CREATE FUNCTION on_row() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM public.run(); RETURN NEW; END $$;
CREATE FUNCTION on_ddl() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM public.run(); END $$;
"""
WAYS = {
    "an index": "CREATE TABLE t (a int); INSERT INTO t VALUES (1); CREATE INDEX ON t ((a + made()))",
    "a check": "CREATE TABLE t (a int CHECK (made() = 1)); INSERT INTO t VALUES (1)",
    "a materialized view": "CREATE MATERIALIZED VIEW v AS SELECT made_owner()",
    "a trigger": (
        "CREATE TABLE t (a int); INSERT INTO t VALUES (1);"
        "CREATE TRIGGER w BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION on_row();"
        "ALTER TABLE t ENABLE ALWAYS TRIGGER w"
    ),
    "an event trigger": (
        "CREATE EVENT TRIGGER e ON ddl_command_start EXECUTE FUNCTION on_ddl(); ALTER EVENT TRIGGER e ENABLE ALWAYS"
    ),
    "statistics": "CREATE TABLE t (a int); INSERT INTO t VALUES (1); CREATE STATISTICS s ON (a + made()) FROM t",
}


@pytest.fixture
def marker() -> Iterator[Path]:
    """A file that the server could make, in a folder that everybody may write to."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)  # the server may run under another account
        yield Path(folder) / "marker"


@pytest.fixture
def empty(server: Server, administrator: psycopg.Connection) -> Iterator[str]:
    """The conninfo of a second fresh database."""
    administrator.execute("CREATE DATABASE hostile_copy")
    yield make_conninfo(server.conninfo, dbname="hostile_copy")
    administrator.execute("DROP DATABASE hostile_copy WITH (FORCE)")


def hostile(database: str, server: Server, path: Path, way: str, marker: Path) -> Path:
    """An archive whose functions try to run a program."""
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute((FUNCTIONS + WAYS[way]).encode())
    subprocess.run([server.programs.bin / "pg_dump", "-Fc", f"--file={path}", f"--dbname={database}"], check=True)
    attack = f"EXECUTE 'COPY (SELECT 1) TO PROGRAM ''cat > {marker}''';"
    content = path.read_bytes()
    assert INNOCENT.encode() in content
    path.write_bytes(content.replace(INNOCENT.encode(), attack.ljust(len(INNOCENT)).encode()))
    return path


@pytest.mark.parametrize("way", WAYS)
def test_no_way_of_an_archive_to_run_a_program_succeeds(  # noqa: PLR0917 - fixtures
    database: str, empty: str, server: Server, tmp_path: Path, marker: Path, way: str
) -> None:
    path = hostile(database, server, tmp_path / "archive", way, marker)
    restore_archive(identify_dump(path), empty, server.programs)
    disable_external_access(empty)
    assert not marker.exists()


def test_the_same_archive_would_have_run_it_for_a_superuser(
    database: str, empty: str, server: Server, tmp_path: Path, marker: Path
) -> None:
    path = hostile(database, server, tmp_path / "archive", "an index", marker)
    subprocess.run([server.programs.bin / "pg_restore", f"--dbname={empty}", path], check=True)
    assert marker.exists()


def test_a_statement_smuggled_in_behind_another_does_not_run_as_superuser(
    database: str, empty: str, server: Server, tmp_path: Path
) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("COMMENT ON SCHEMA public IS '{}'".format("." * 80).encode())
    path = tmp_path / "archive"
    subprocess.run([server.programs.bin / "pg_dump", "-Fc", f"--file={path}", f"--dbname={database}"], check=True)
    content = path.read_bytes()
    innocent = b"'" + b"." * 80 + b"';"
    assert innocent in content
    smuggled = b"'';ALTER ROLE postgres CONNECTION LIMIT 77;".ljust(len(innocent))
    path.write_bytes(content.replace(innocent, smuggled))
    done = restore_archive(identify_dump(path), empty, server.programs)
    with psycopg.connect(empty) as connection:
        row = connection.execute("SELECT rolconnlimit FROM pg_roles WHERE rolname = 'postgres'").fetchone()
    assert row == (-1,), done
