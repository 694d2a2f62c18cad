"""db.migrate --dry-run --sql: a script that psql runs, and after which the database is as after db.migrate."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from kernel.db.connection import open_session
from kernel.operations.migrate import MigrateOptions, prepare_migrate
from kernel.operations.migrate_sql import migrate_sql
from kernel.plan import VersionState

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.conftest import Project

FILES = {
    "001_first.sql": (
        "BEGIN;\nCREATE TABLE t (a int, b text); -- a comment;\nCOPY t FROM stdin;\n1\tone\n2\té\n\\.\nCOMMIT;"
    ),
    "002_no_semicolon.sql": (
        "-- migrate: lock_timeout=2s\nSET search_path = public;\nINSERT INTO t VALUES (3, ';') -- the end"
    ),
    "003_steps.sql": (
        "-- migrate: no-transaction\nSET work_mem = '9MB';\nCREATE INDEX CONCURRENTLY t_a ON t (a);\n"
        "BEGIN;\nCOPY t FROM stdin;\n4\tfour\n\\.\nCOMMIT;\nCOPY t FROM stdin;\n5\tfive\n\\.\n"
        "INSERT INTO t VALUES (6, 'six')"
    ),
    "004_alone.sql": "VACUUM t",
    "005_copy_last.sql": "COPY t FROM stdin;\n7\tseven\n\\.\n",
    "006_empty.sql": "-- nothing\n",
}


def script(project: Project, *, single_transaction: bool = False) -> bytes:
    """The script for what is pending."""
    with open_session(project.url) as session:
        migrate_options = MigrateOptions(waits=project.waits, single_transaction=single_transaction)
        prepared = prepare_migrate(session, project.files(), migrate_options)
        return b"".join(migrate_sql(session, prepared, migrate_options))


def run_psql(psql: Path, project: Project, text: bytes) -> None:
    command = [str(psql), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", project.url]
    ended = subprocess.run(command, input=text, capture_output=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, b""), text.decode()


def test_the_script_does_what_a_run_does_and_making_it_writes_nothing(project: Project, psql: Path) -> None:
    for name, content in FILES.items():
        project.put(name, content)
    text = script(project)
    assert project.rows("SELECT FROM pg_class WHERE relnamespace = 'public'::regnamespace") == []
    assert project.rows("SELECT FROM pg_locks WHERE locktype = 'advisory'") == []
    run_psql(psql, project, text)
    assert project.rows("SELECT a, b FROM t ORDER BY a") == [
        (1, "one"),
        (2, "é"),
        (3, ";"),
        (4, "four"),
        (5, "five"),
        (6, "six"),
        (7, "seven"),
    ]
    assert set(project.states().values()) == {VersionState.APPLIED}
    assert project.rows("SELECT FROM schema_migrations_progress") == []
    assert script(project) == b"", "with nothing pending there is no run"
    project.put("007_next.sql", "SELECT 1;")
    project.migrate()
    assert project.recorded() == ["001", "002", "003", "004", "005", "006", "007"]


def test_in_a_single_transaction_there_is_one_commit(project: Project, psql: Path) -> None:
    project.put("001_a.sql", "SELECT 1;")
    project.migrate()
    for number in (2, 3, 4):
        project.put(f"00{number}_t.sql", f"CREATE TABLE t{number} (a int);")
    text = script(project, single_transaction=True)
    assert (text.count(b"\nBEGIN;"), text.count(b"COMMIT;")) == (1, 1)
    run_psql(psql, project, text)
    assert project.recorded() == ["001", "002", "003", "004"]


def test_a_partial_file_goes_on_where_it_stopped(project: Project, psql: Path) -> None:
    steps = "-- migrate: no-transaction\nCREATE TABLE t (a int);\nSET work_mem = '9MB';\nINSERT INTO t VALUES (1 / {});"
    path = project.put("001_steps.sql", steps.format(0))
    project.failure()
    path.write_text(steps.format(1))
    text = script(project)
    assert b"CREATE TABLE t" not in text
    assert b"-- 001_steps.sql, outside of a transaction, from statement 3" in text
    assert text.count(b"SET work_mem") == 1
    run_psql(psql, project, text)
    assert project.rows("SELECT a FROM t") == [(1,)]


def test_checks_and_the_file_in_verify_are_in_it_each_with_a_comment(project: Project, psql: Path) -> None:
    project.put("001_a.sql", "-- migrate: check nothing is there\nSELECT true;\nCREATE TABLE t (a int);")
    project.put("verify/001_a.sql", "SELECT count(*) = 0 FROM t;")
    text = script(project)
    assert text.count(b"-- the runner stops unless the row begins with true:\n") == 2
    assert text.index(b"CREATE TABLE t") < text.index(b"SELECT count(*) = 0 FROM t;") < text.rindex(b"COMMIT;")
    run_psql(psql, project, text)
    assert project.recorded() == ["001"]


@pytest.mark.parametrize("single_transaction", [False, True])
def test_the_file_stands_in_the_script_as_it_is_sent(project: Project, *, single_transaction: bool) -> None:
    body = "CREATE TABLE t (a int);\nINSERT INTO t SELECT 1\n  WHERE 'x' <> ';';"
    project.put("001_a.sql", body)
    text = script(project, single_transaction=single_transaction).decode()
    head, _, tail = text.partition(body)
    assert head.index("BEGIN;") < head.index('INSERT INTO "public"."schema_migrations"')
    assert tail.index("SET CONSTRAINTS ALL IMMEDIATE;") < tail.index("COMMIT;")
