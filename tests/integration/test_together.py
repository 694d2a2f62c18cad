"""Small files of one transaction share messages, and are still begun, checked, timed and blamed each for itself."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from kernel.apply import executor
from kernel.apply.events import MigrationApplied, MigrationRetrying, MigrationStarted, NoticeReceived, StatementBlocked
from kernel.apply.executor import WaitLimits

if TYPE_CHECKING:
    from kernel.apply.events import Event
    from tests.integration.conftest import Project

# What a file notes of the message it came in.
NOTED = (
    "CREATE TABLE IF NOT EXISTS noted (message text, at timestamptz);\nINSERT INTO noted VALUES (current_query());\n"
)


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executor, "_PAUSE_SECONDS", 0.01)


def test_small_files_of_one_transaction_share_a_message(project: Project) -> None:
    for number in range(1, 41):
        project.put(f"{number:03}_n.sql", NOTED)
    outcome = project.migrate(single_transaction=True)
    assert len(outcome.applied) == len(project.recorded()) == 40
    ((messages,),) = project.rows("SELECT count(DISTINCT message) FROM noted")
    assert messages == 3, "sixteen files in a message"


def test_each_file_has_a_message_of_its_own_where_each_has_a_transaction(project: Project) -> None:
    for number in range(1, 5):
        project.put(f"{number:03}_n.sql", NOTED)
    project.migrate()
    assert project.rows("SELECT count(DISTINCT message) FROM noted") == [(4,)]


def test_a_large_file_and_rows_of_copy_have_messages_of_their_own(project: Project) -> None:
    project.put("001_n.sql", NOTED)
    project.put("002_copy.sql", "CREATE TABLE c (a int);\nCOPY c FROM stdin;\n1\n2\n\\.\n")
    project.put("003_n.sql", NOTED)
    project.put("004_large.sql", "INSERT INTO c VALUES (3);\n" * 5000)
    project.put("005_n.sql", NOTED)
    project.put("006_n.sql", NOTED)
    project.put("007_empty.sql", "-- nothing")
    project.put("008_open.sql", "INSERT INTO noted VALUES (current_query())")
    project.migrate(single_transaction=True)
    assert project.recorded() == [f"{number:03}" for number in range(1, 9)]
    assert project.rows("SELECT count(*) FROM c") == [(5002,)]
    assert project.rows("SELECT count(*), count(DISTINCT message) FROM noted") == [(5, 4)]


@pytest.mark.parametrize(
    ("text", "line", "column", "sqlstate"),
    [
        ("SELECT 'ä';\nSELECT 1 / 0;", 2, None, "22012"),
        ("SELECT 'ä';\n\n  SELECT 'ö', nowhere;", 3, 15, "42703"),
        ("SELECT 'ä';\nSELECT 1\n  FRM t;", 3, 7, "42601"),  # read before anything of the message runs
        ("DO $$\nBEGIN\n  PERFORM 1 / 0;\nEND $$;", 3, None, "22012"),
    ],
)
def test_an_error_in_the_middle_of_a_message_is_found_in_its_file(
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


def test_a_constraint_that_waits_for_the_end_of_its_file_fails_as_that_file(project: Project) -> None:
    project.put("001_a.sql", "CREATE TABLE p (id int PRIMARY KEY, up int REFERENCES p DEFERRABLE INITIALLY DEFERRED);")
    project.put("002_b.sql", "INSERT INTO p VALUES (1, 2);")
    project.put("003_c.sql", "INSERT INTO p VALUES (2, NULL);")
    failed = project.failure(single_transaction=True)
    assert (failed.failure.file, failed.failure.sqlstate) == ("002_b.sql", "23503")
    project.put("002_b.sql", "INSERT INTO p VALUES (1, 2), (2, NULL);")
    project.put("003_c.sql", "INSERT INTO p VALUES (3, 4), (4, NULL);")
    project.migrate(single_transaction=True)
    assert project.recorded() == ["001", "002", "003"]


def test_a_file_finds_nothing_of_the_session_that_the_one_before_left(project: Project) -> None:
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


def test_a_notice_is_told_with_its_file_and_line(project: Project) -> None:
    project.put("001_a.sql", "CREATE TABLE t (a int);")
    project.put("002_b.sql", "SELECT 1;\nDO $$ BEGIN RAISE NOTICE 'two'; END $$;")
    project.put("003_c.sql", "\nDO $$ BEGIN RAISE WARNING 'three'; END $$;\nSELECT 1;")
    project.migrate(single_transaction=True)
    noticed = [event for event in project.events if isinstance(event, NoticeReceived)]
    assert [(one.migration.filename, one.line, one.severity, one.message) for one in noticed] == [
        ("002_b.sql", 2, "NOTICE", "two"),
        ("003_c.sql", 2, "WARNING", "three"),
    ]


def test_the_seconds_of_a_message_are_those_of_its_files(project: Project) -> None:
    project.put("001_a.sql", "SELECT 1;")
    project.put("002_b.sql", "SELECT pg_sleep(0.3);")
    project.put("003_c.sql", "SELECT 1;")
    outcome = project.migrate(single_transaction=True)
    first, second, third = (one.seconds for one in outcome.applied)
    assert second >= 0.3 > max(first, third) >= 0


def test_a_record_that_appears_meanwhile_leaves_its_file_out(project: Project) -> None:
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


def test_whoever_would_record_a_file_meanwhile_waits_for_us(
    project: Project, other: psycopg.Connection[tuple[Any, ...]]
) -> None:
    project.put("000_first.sql", "CREATE TABLE t (a int);")
    project.migrate()
    project.put("001_a.sql", "INSERT INTO t VALUES (1);")
    project.put("002_b.sql", "INSERT INTO t VALUES (2);")
    refused: list[str] = []

    def try_it(event: Event) -> None:
        if isinstance(event, MigrationStarted):
            other.execute("SET LOCAL lock_timeout = '50ms'")
            with pytest.raises(psycopg.errors.LockNotAvailable):
                other.execute("INSERT INTO schema_migrations VALUES ('002', '002_b.sql', now(), 'by another')")
            other.rollback()
            refused.append(event.migration.filename)

    project.react = try_it
    project.migrate(single_transaction=True)
    assert refused == ["001_a.sql"]
    assert project.rows("SELECT a FROM t ORDER BY a") == [(1,), (2,)]


def test_a_file_that_changes_its_own_record_is_found_in_the_middle(project: Project) -> None:
    project.put("001_a.sql", "CREATE TABLE t (a int);")
    project.put("002_b.sql", "DELETE FROM schema_migrations WHERE version = '002';")
    project.put("003_c.sql", "CREATE TABLE u (a int);")
    failed = project.failure(single_transaction=True)
    assert failed.failure.file == "002_b.sql"
    assert str(failed).startswith("it changes its own record in public.schema_migrations")
    assert (project.recorded(), project.has("t")) == ([], False)


def test_a_file_that_waits_is_told_by_its_name_and_all_run_again(
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
    outcome = project.migrate(waits=WaitLimits(lock_timeout_ms=400, lock_retries=3), single_transaction=True)
    assert [one.migration.version for one in outcome.applied] == ["002", "003", "004"]
    blocked = [event for event in project.events if isinstance(event, StatementBlocked)]
    assert {one.migration.filename for one in blocked} == {"003_c.sql"}
    (retrying,) = (event for event in project.events if isinstance(event, MigrationRetrying))
    assert retrying.file == "003_c.sql"


def test_a_connection_that_breaks_in_the_middle_leaves_nothing_and_is_told(project: Project) -> None:
    project.put("001_a.sql", "CREATE TABLE t (a int);")
    project.put("002_b.sql", "SELECT pg_terminate_backend(pg_backend_pid());")
    project.put("003_c.sql", "CREATE TABLE u (a int);")
    failed = project.failure(single_transaction=True)
    assert failed.failure.file in ("001_a.sql", "002_b.sql")
    assert "connection was lost" in str(failed) or failed.failure.sqlstate == "57P01"
    assert (project.recorded(), project.has("t")) == ([], False)
    assert not any(isinstance(event, MigrationApplied) for event in project.events)
