"""With --single-transaction all files commit or none; each is claimed and timed, and an error names its file."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from kernel.apply.events import MigrationApplied, MigrationRetrying, MigrationStarted, NoticeReceived, StatementBlocked
from kernel.apply.executor import WaitLimits

if TYPE_CHECKING:
    from kernel.apply.events import Event
    from tests.integration.conftest import Project


def test_files_of_every_size_are_applied_in_one_transaction(project: Project) -> None:
    project.put("001_a.sql", "CREATE TABLE xids AS SELECT pg_current_xact_id()::text AS xid;")
    project.put("002_copy.sql", "CREATE TABLE c (a int);\nCOPY c FROM stdin;\n1\n2\n\\.\n")
    project.put("003_b.sql", "INSERT INTO xids SELECT pg_current_xact_id()::text;")
    project.put("004_large.sql", "INSERT INTO c VALUES (3);\n" * 5000)
    project.put("005_empty.sql", "-- nothing")
    project.put("006_open.sql", "INSERT INTO xids SELECT pg_current_xact_id()::text")
    project.migrate(single_transaction=True)
    assert project.recorded() == [f"{number:03}" for number in range(1, 7)]
    assert project.rows("SELECT count(*) FROM c") == [(5002,)]
    assert project.rows("SELECT count(*), count(DISTINCT xid) FROM xids") == [(3, 1)]


@pytest.mark.parametrize(
    ("text", "line", "column", "sqlstate"),
    [
        ("SELECT 'ä';\nSELECT 1 / 0;", 2, None, "22012"),
        ("SELECT 'ä';\n\n  SELECT 'ö', nowhere;", 3, 15, "42703"),
        ("SELECT 'ä';\nSELECT 1\n  FRM t;", 3, 7, "42601"),  # read before anything of the message runs
        ("DO $$\nBEGIN\n  PERFORM 1 / 0;\nEND $$;", 3, None, "22012"),
    ],
)
def test_an_error_names_its_file_line_and_column(
    project: Project, text: str, line: int, column: int | None, sqlstate: str
) -> None:
    project.put("001_a.sql", "CREATE TABLE ä (größe int);\nCOMMENT ON TABLE ä IS 'größer';")
    project.put("002_b.sql", "CREATE TABLE u (a int);")
    project.put("003_c.sql", text)
    project.put("004_d.sql", "CREATE TABLE v (a int);")
    failed = project.failure(single_transaction=True)
    place = failed.failure
    assert (place.file, place.line, place.column, place.sqlstate) == ("003_c.sql", line, column, sqlstate)
    assert f"{line} | " in str(place.excerpt)
    assert failed.pending == ("001_a.sql", "002_b.sql", "003_c.sql", "004_d.sql")
    assert failed.aftermath == "rolled back with all the others: the database is as it was before this run"
    assert project.recorded() == []
    assert not project.has("u")


def test_a_deferred_constraint_is_checked_at_the_end_of_its_own_file(project: Project) -> None:
    project.put("001_a.sql", "CREATE TABLE p (id int PRIMARY KEY, up int REFERENCES p DEFERRABLE INITIALLY DEFERRED);")
    project.put("002_b.sql", "INSERT INTO p VALUES (1, 2);")
    project.put("003_c.sql", "INSERT INTO p VALUES (2, NULL);")
    failed = project.failure(single_transaction=True)
    assert (failed.failure.file, failed.failure.sqlstate) == ("002_b.sql", "23503")
    project.put("002_b.sql", "INSERT INTO p VALUES (1, 2), (2, NULL);")
    project.put("003_c.sql", "INSERT INTO p VALUES (3, 4), (4, NULL);")
    project.migrate(single_transaction=True)
    assert project.recorded() == ["001", "002", "003"]


def test_session_state_of_one_file_does_not_reach_the_next(project: Project) -> None:
    project.put(
        "001_a.sql",
        "CREATE ROLE together_role; GRANT CREATE ON SCHEMA public TO together_role;\n"
        "SET search_path = pg_temp; SET ROLE together_role; CREATE TEMP TABLE left_over (a int);\n"
        "PREPARE plan AS SELECT 1; DECLARE cursor_left CURSOR WITH HOLD FOR SELECT 1; LISTEN channel;",
    )
    project.put(
        "002_b.sql",
        "CREATE TABLE found AS SELECT current_user = session_user AS ourselves, current_schema() AS schema,\n"
        "  to_regclass('pg_temp.left_over')::text AS temporary,\n"
        "  (SELECT count(*) FROM pg_prepared_statements) AS plans,\n"
        "  (SELECT count(*) FROM pg_cursors WHERE is_holdable) AS cursors,\n"
        "  current_setting('application_name') AS name;\n",
    )
    try:
        project.migrate(single_transaction=True)
        assert project.rows("SELECT * FROM found") == [(True, "public", None, 0, 0, "inv db.migrate 002_b.sql")]
    finally:
        project.rows("DROP OWNED BY together_role")
        project.rows("DROP ROLE together_role")


def test_a_notice_has_its_file_and_line(project: Project) -> None:
    project.put("001_a.sql", "CREATE TABLE t (a int);")
    project.put("002_b.sql", "SELECT 1;\nDO $$ BEGIN RAISE NOTICE 'two'; END $$;")
    project.put("003_c.sql", "\nDO $$ BEGIN RAISE WARNING 'three'; END $$;\nSELECT 1;")
    project.migrate(single_transaction=True)
    noticed = [event for event in project.events if isinstance(event, NoticeReceived)]
    assert [(one.migration.filename, one.line, one.severity, one.message) for one in noticed] == [
        ("002_b.sql", 2, "NOTICE", "two"),
        ("003_c.sql", 2, "WARNING", "three"),
    ]


def test_each_file_has_its_own_duration(project: Project) -> None:
    project.put("001_a.sql", "SELECT 1;")
    project.put("002_b.sql", "SELECT pg_sleep(0.3);")
    project.put("003_c.sql", "SELECT 1;")
    outcome = project.migrate(single_transaction=True)
    first, second, third = (one.seconds for one in outcome.applied)
    assert second >= 0.3 > max(first, third) >= 0


def test_a_file_that_another_runner_records_during_the_run_is_left_out(project: Project) -> None:
    """Another runner without our lock: the older one had none."""
    project.put("000_first.sql", "CREATE TABLE t (a int);")
    project.migrate()
    for number in range(1, 41):
        project.put(f"{number:03}_n.sql", f"INSERT INTO t VALUES ({number});")
    slipped_in: list[str] = []

    def slip_in(event: Event) -> None:
        if isinstance(event, MigrationStarted) and not slipped_in:
            slipped_in.append(event.migration.filename)
            project.rows("INSERT INTO schema_migrations VALUES ('039', '039_n.sql', now(), 'by another runner')")

    project.react = slip_in
    outcome = project.migrate(single_transaction=True)
    assert slipped_in == ["001_n.sql"]
    assert [int(one.migration.version) for one in outcome.applied] == [*range(1, 39), 40]
    assert project.rows("SELECT array_agg(a ORDER BY a) FROM t") == [([*range(1, 39), 40],)]
    assert len(project.recorded()) == 41


def test_another_runner_waits_to_record_a_file_that_has_run(
    project: Project, other: psycopg.Connection[tuple[Any, ...]]
) -> None:
    project.put("000_first.sql", "CREATE TABLE t (a int);")
    project.migrate()
    project.put("001_a.sql", "INSERT INTO t VALUES (1);")
    project.put("002_b.sql", "INSERT INTO t VALUES (2);")
    refused: list[str] = []

    def try_it(event: Event) -> None:
        if isinstance(event, MigrationStarted) and event.migration.version == "002":
            other.execute("SET LOCAL lock_timeout = '50ms'")
            with pytest.raises(psycopg.errors.LockNotAvailable):
                other.execute("INSERT INTO schema_migrations VALUES ('001', '001_a.sql', now(), 'by another')")
            other.rollback()
            refused.append("001_a.sql")

    project.react = try_it
    project.migrate(single_transaction=True)
    assert refused == ["001_a.sql"]
    assert project.rows("SELECT a FROM t ORDER BY a") == [(1,), (2,)]


def test_a_blocked_file_is_named_and_all_files_run_again(
    project: Project, other: psycopg.Connection[tuple[Any, ...]]
) -> None:
    project.put("001_a.sql", "CREATE TABLE t (a int);")
    project.migrate()
    project.put("002_b.sql", "CREATE TABLE u (a int);")
    project.put("003_c.sql", "ALTER TABLE t ADD COLUMN b int;")
    project.put("004_d.sql", "CREATE TABLE v (a int);")
    other.execute("LOCK TABLE t IN ACCESS SHARE MODE")
    released = threading.Event()

    def release(event: Event) -> None:
        if isinstance(event, MigrationRetrying) and not released.is_set():
            released.set()
            other.rollback()

    project.react = release
    outcome = project.migrate(
        waits=WaitLimits(lock_timeout_ms=400, lock_retries=3, retry_pause_seconds=0.01), single_transaction=True
    )
    assert [one.migration.version for one in outcome.applied] == ["002", "003", "004"]
    blocked = [event for event in project.events if isinstance(event, StatementBlocked)]
    assert {one.migration.filename for one in blocked} == {"003_c.sql"}
    (retrying,) = (event for event in project.events if isinstance(event, MigrationRetrying))
    assert retrying.file == "003_c.sql"


def test_a_lost_connection_leaves_nothing_applied(project: Project) -> None:
    project.put("001_a.sql", "CREATE TABLE t (a int);")
    project.put("002_b.sql", "SELECT pg_terminate_backend(pg_backend_pid());")
    project.put("003_c.sql", "CREATE TABLE u (a int);")
    failed = project.failure(single_transaction=True)
    assert failed.failure.file in ("001_a.sql", "002_b.sql")
    assert "connection was lost" in str(failed) or failed.failure.sqlstate == "57P01"
    assert (project.recorded(), project.has("t")) == ([], False)
    assert not any(isinstance(event, MigrationApplied) for event in project.events)


def test_a_new_enum_value_is_not_advised_to_go_to_the_next_file(project: Project) -> None:
    project.put("001_type.sql", "CREATE TYPE mood AS ENUM ('sad');")
    project.migrate()
    project.put("002_add.sql", "ALTER TYPE mood ADD VALUE 'happy';")
    project.put("003_use.sql", "SELECT 'happy'::mood;")
    failed = project.failure(single_transaction=True)
    assert (failed.failure.file, failed.failure.sqlstate) == ("003_use.sql", "55P04")
    assert "--single-transaction has one for all files; run without it" in str(failed.hint)
    project.migrate()
    assert project.recorded() == ["001", "002", "003"]
