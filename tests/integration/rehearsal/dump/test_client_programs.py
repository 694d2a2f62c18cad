from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

import psycopg
import pytest

from kernel.errors import ProgramsMissing, Unprepared
from kernel.postgres.account import current_account
from kernel.postgres.process import run_client_program
from kernel.rehearsal.dump.common.client_programs import (
    conninfo_without_secrets,
    find_pg_restore,
    find_programs_with,
    libpq_environment,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kernel.postgres.cluster import Server

PROJECT = Path(__file__).resolve().parents[4]
# Tells that it is there, then sleeps on, with a child that does as well; both hold their stdout open.
SLEEPING = "echo started; sleep 60 & sleep 60"
SETTINGS = ("search_path", "work_mem", "application_name")
STARTED_BY_ANOTHER = """
import sys
from kernel.postgres.process import run_client_program
from kernel.postgres.account import current_account
run_client_program(current_account(), "/bin/sh", "-c", sys.argv[1], output=sys.stdout.buffer)
"""


@contextmanager
def sleeper() -> Iterator[tuple[IO[bytes], IO[bytes]]]:
    """Both ends of a pipe for the stdout of SLEEPING: it ends when the last process is gone."""
    receiving, sending = os.pipe()
    with os.fdopen(receiving, "rb", buffering=0) as reading, os.fdopen(sending, "wb", buffering=0) as writing:
        yield reading, writing


def test_a_program_gets_none_of_the_variables_of_libpq_and_what_is_added(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPASSWORD", "hush")
    monkeypatch.setenv("DATABASE_URL", "hush")
    with tempfile.TemporaryFile() as output:
        done = run_client_program(current_account(), "/usr/bin/env", environ={"PGHOST": "here"}, output=output)
        output.seek(0)
        seen = output.read().decode()
    assert done.exit_status == 0
    assert "PGHOST=here" in seen
    assert "hush" not in seen


def test_what_is_raised_meanwhile_ends_the_program_and_its_children() -> None:
    def interrupt() -> None:
        assert reading.read(8) == b"started\n"
        raise KeyboardInterrupt

    with sleeper() as (reading, writing):
        with pytest.raises(KeyboardInterrupt):
            run_client_program(current_account(), "/bin/sh", "-c", SLEEPING, output=writing, polled=interrupt)
        writing.close()
        assert reading.read() == b""


def test_a_program_that_takes_too_long_is_ended_with_its_children() -> None:
    with sleeper() as (reading, writing):
        with pytest.raises(TimeoutError, match="no end after"):
            run_client_program(current_account(), "/bin/sh", "-c", SLEEPING, output=writing, seconds=0.2)
        writing.close()
        assert reading.readall() == b"started\n"  # type: ignore[attr-defined]  # of a FileIO, which it is


@pytest.mark.slow
def test_a_program_does_not_outlive_whoever_started_it() -> None:
    command = [sys.executable, "-c", STARTED_BY_ANOTHER, SLEEPING]
    environ = {**os.environ, "PYTHONPATH": str(PROJECT)}
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE) as child:
        assert child.stdout
        assert child.stdout.readline() == b"started\n"
        child.send_signal(signal.SIGKILL)
        assert child.stdout.read() == b"", "read to its end: no process has it open"


def test_a_program_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ProgramsMissing, match=r"pg_dump: does not run \(No such file or directory\)"):
        run_client_program(current_account(), tmp_path / "pg_dump")


def test_the_environment_leads_where_the_connection_went(server: Server, database: str) -> None:
    name = 'a "b" \\ c=d'
    quoted = psycopg.sql.Identifier(name)
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(psycopg.sql.SQL("CREATE DATABASE {}").format(quoted))
        try:
            with psycopg.connect(database, dbname=name, options="-c work_mem=7MB") as there:
                environ = libpq_environment(there, {"search_path": '"a b", c'}, name="who asks")
                conninfo = conninfo_without_secrets(there)
            query = f"SELECT current_database(), {', '.join(f'current_setting({name!r})' for name in SETTINGS)}"
            psql = server.programs.bin / "psql"
            with tempfile.TemporaryFile() as output:
                done = run_client_program(
                    current_account(), psql, "-XAt", "-d", conninfo, "-c", query, environ=environ, output=output
                )
                output.seek(0)
                assert (done.stderr, output.read().decode().strip()) == ("", f'{name}|"a b", c|7MB|who asks')
        finally:
            connection.execute(psycopg.sql.SQL("DROP DATABASE {}").format(quoted))


def test_an_archive_newer_than_anything_known_is_refused_with_another_way(server: Server) -> None:
    with pytest.raises(Unprepared, match=r"archive version is 1\.99, .* pg_dump --format=plain"):
        find_pg_restore((1, 99), None, server.programs, name="production")


def test_a_server_newer_than_every_pg_dump_here_is_refused_with_the_package_to_install(server: Server) -> None:
    with pytest.raises(Unprepared, match=r"install postgresql-client-77 .*set KERNEL_PG_BINDIR"):
        find_programs_with("pg_dump", 77, server.programs, "here:5432/db: PostgreSQL 77, which pg_dump dumps")
