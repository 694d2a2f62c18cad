"""A file and its record are one transaction: both or neither, whatever the file does and whoever is in its way."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from kernel.apply.events import (
    MigrationApplied,
    MigrationProgressed,
    MigrationRetrying,
    MigrationStarted,
    NoticeReceived,
    StatementBlocked,
)
from kernel.apply.executor import WaitLimits
from kernel.errors import Drift, FilesInvalid, Unrecorded
from kernel.plan import VersionState

if TYPE_CHECKING:
    import psycopg

    from kernel.apply.events import Event
    from tests.integration.conftest import Project

RETRYING = WaitLimits(lock_timeout_ms=200, lock_retries=3, retry_pause_seconds=0.01)
TABLE = "CREATE TABLE t (a int);"


def test_the_record_is_claimed_before_the_first_statement(project: Project) -> None:
    project.put("001_a.sql", "CREATE TABLE seen AS SELECT version, filename, checksum FROM schema_migrations;")
    project.migrate()
    (one,) = project.files()
    assert project.rows("SELECT * FROM seen") == [("001", "001_a.sql", one.checksum)]
    assert project.rows("SELECT version, filename, checksum FROM schema_migrations") == [
        ("001", "001_a.sql", one.checksum)
    ]


def test_a_failure_leaves_nothing_and_running_again_just_works(project: Project) -> None:
    project.put("001_a.sql", TABLE)
    project.put("002_b.sql", "INSERT INTO t VALUES (1);\nCREATE TABLE u (a int);\nSELECT 1 / 0;")
    project.put("003_c.sql", "CREATE TABLE v (a int);")
    failed = project.failure()
    assert (failed.applied, failed.pending) == (("001_a.sql",), ("002_b.sql", "003_c.sql"))
    assert failed.aftermath == "rolled back: the database is as it was before this file"
    assert (failed.failure.file, failed.failure.line, failed.failure.sqlstate) == ("002_b.sql", 3, "22012")
    assert project.recorded() == ["001"]
    assert project.rows("SELECT * FROM t") == []
    assert not project.has("u")
    assert not project.has("v")
    project.put("002_b.sql", "INSERT INTO t VALUES (1);")
    outcome = project.migrate()
    assert [one.migration.version for one in outcome.applied] == ["002", "003"]


def test_files_are_all_read_before_the_first_one_runs(project: Project) -> None:
    project.put("001_a.sql", TABLE)
    project.put("002_b.sql", "SELECT 'open;")
    project.put("003_c.sql", "SELECT 1; COMMIT;")
    with pytest.raises(FilesInvalid) as refused:
        project.migrate()
    assert [problem.file for problem in refused.value.problems] == ["002_b.sql", "003_c.sql"]
    assert not project.has("schema_migrations")


def test_drift_stops_everything_before_anything_is_applied(project: Project) -> None:
    project.put("002_b.sql", TABLE)
    project.migrate()
    project.put("002_b.sql", TABLE + " -- changed")
    project.put("003_c.sql", "CREATE TABLE u (a int);")
    with pytest.raises(Drift, match=r"002_b\.sql: changed after it was applied on "):
        project.migrate()
    assert not project.has("u")


def test_out_of_order_is_applied_when_it_is_allowed(project: Project) -> None:
    project.put("002_b.sql", TABLE)
    project.migrate()
    project.put("001_a.sql", "CREATE TABLE u (a int);")
    with pytest.raises(Drift, match="pending, but 002 is applied already"):
        project.migrate()
    project.migrate(allow_out_of_order=True)
    assert project.recorded() == ["001", "002"]


def test_to_stops_after_a_version_and_lists_what_is_pending(project: Project) -> None:
    for number in (1, 2, 3):
        project.put(f"00{number}_a.sql", f"CREATE TABLE t{number} (a int);")
    outcome = project.migrate(to="2")
    assert [one.migration.version for one in outcome.applied] == ["001", "002"]
    assert [one.version for one in outcome.pending] == ["003"]
    assert project.states() == {"001": VersionState.APPLIED, "002": VersionState.APPLIED, "003": VersionState.PENDING}


@pytest.mark.parametrize("text", ["", "-- nothing\n", ";"])
def test_a_file_without_statements_is_recorded(project: Project, text: str) -> None:
    project.put("001_a.sql", text)
    assert project.migrate().applied[0].statements == 0
    assert project.recorded() == ["001"]


def test_text_that_looks_like_a_parameter_is_sent_as_it_stands(project: Project) -> None:
    text = "CREATE TABLE t AS SELECT '%s %(a)s %%'::text AS a, 'a' LIKE '%' AS b, $$ $1 {} $$::text AS c;"
    project.put("001_a.sql", text)
    project.migrate()
    assert project.rows("SELECT * FROM t") == [("%s %(a)s %%", True, " $1 {} ")]


def test_a_file_with_windows_line_ends_runs_and_has_the_same_checksum(project: Project) -> None:
    path = project.put("001_a.sql", b"\xef\xbb\xbfCREATE TABLE t (a int);\r\n-- done\r\n")
    project.migrate()
    path.write_bytes(b"CREATE TABLE t (a int);\n-- done\n")
    assert project.states() == {"001": VersionState.APPLIED}


def test_a_comment_at_the_end_without_a_newline_swallows_nothing(project: Project) -> None:
    project.put("001_a.sql", "CREATE TABLE t (a int) -- the end")
    project.put("002_b.sql", "INSERT INTO t VALUES (1); -- the end")
    project.migrate()
    assert project.rows("SELECT * FROM t") == [(1,)]


def test_a_deferred_constraint_fails_in_the_file_that_broke_it(project: Project) -> None:
    project.put(
        "001_a.sql",
        "CREATE TABLE p (id int PRIMARY KEY);\n"
        "CREATE TABLE c (p int REFERENCES p DEFERRABLE INITIALLY DEFERRED);\nINSERT INTO c VALUES (1);",
    )
    failed = project.failure()
    assert (failed.failure.file, failed.failure.sqlstate) == ("001_a.sql", "23503")
    assert failed.failure.detail == 'Key (p)=(1) is not present in table "p".'
    assert not project.has("p")
    assert project.recorded() == []


# With standard_conforming_strings off, unseen by the lexer, the server reads '\', ' as one string, and then COMMIT.
SMUGGLED = (
    "CREATE TABLE t (a text);\nSELECT set_config('standard_conforming_strings', 'off', false);\n"
    "COPY t FROM stdin;\n\\.\nSELECT '\\', '; COMMIT; {} --';\n"
)


@pytest.mark.parametrize("rest", ["BEGIN;", ""])
def test_a_commit_inside_a_procedure_of_the_file_is_detected_and_named(project: Project, rest: str) -> None:
    project.put("001_a.sql", SMUGGLED.format(rest))
    project.put("002_b.sql", "CREATE TABLE u (a int);")
    failed = project.failure()
    assert str(failed).endswith("something in it commits or rolls back")
    assert failed.aftermath.startswith("what ran up to that point may be committed, the change of its record included")
    assert (project.has("t"), project.has("u")) == (True, False)


@pytest.mark.parametrize("text", ["DELETE FROM schema_migrations", "UPDATE schema_migrations SET version = ''002''"])
def test_a_file_that_changes_its_own_record_by_a_function_is_rolled_back(project: Project, text: str) -> None:
    create = f"CREATE FUNCTION f() RETURNS void LANGUAGE sql AS '{text}'; SELECT f();"
    project.put("001_a.sql", TABLE + create)
    assert str(project.failure()).startswith("it changes its own record in public.schema_migrations")
    assert (project.recorded(), project.has("t")) == ([], False)


def test_a_procedure_that_commits_is_refused_with_the_no_transaction_remedy(project: Project) -> None:
    project.put("001_a.sql", "CREATE PROCEDURE p() LANGUAGE plpgsql AS $$ BEGIN COMMIT; END $$;\nCALL p();")
    failed = project.failure()
    assert failed.failure.sqlstate == "2D000"
    assert "begin the file with -- migrate: no-transaction" in str(failed.hint)
    assert project.recorded() == []


@pytest.mark.parametrize(
    ("leave", "look"),
    [
        ("SET ROLE pg_monitor;", "SELECT current_user::text"),
        ("SET SESSION AUTHORIZATION {role};", "SELECT session_user::text"),
        ("SET search_path = 'pg_catalog';", "SELECT current_setting('search_path')"),
        ("SET TimeZone = 'Asia/Tokyo';", "SELECT current_setting('TimeZone')"),
        ("SET statement_timeout = '1h';", "SELECT current_setting('statement_timeout')"),
        ("SET lock_timeout = '1h';", "SELECT current_setting('lock_timeout')"),
        ("SET client_connection_check_interval = 0;", "SELECT current_setting('client_connection_check_interval')"),
        ("SET standard_conforming_strings = off;", "SELECT current_setting('standard_conforming_strings')"),
        ("SET client_encoding = 'LATIN1';", "SELECT current_setting('client_encoding')"),
        ("SET default_transaction_isolation = 'serializable';", "SELECT current_setting('transaction_isolation')"),
        ("SELECT set_config('my.setting', 'x', false);", "SELECT coalesce(current_setting('my.setting', true), '')"),
        ("CREATE TEMP TABLE t (a int);", "SELECT coalesce(to_regclass('pg_temp.t')::text, '')"),
        ("LISTEN news;", "SELECT string_agg(c, ',') FROM pg_listening_channels() AS c"),
        ("DECLARE c CURSOR WITH HOLD FOR SELECT 1;", "SELECT count(*)::text FROM pg_cursors"),
        ("PREPARE p AS SELECT 1;", "SELECT count(*)::text FROM pg_prepared_statements"),
    ],
)
def test_what_a_file_leaves_in_its_session_never_reaches_the_next(project: Project, leave: str, look: str) -> None:
    role = f"role_of_{project.look.info.dbname}"
    project.rows(f"CREATE ROLE {role} SUPERUSER")
    project.put("001_before.sql", f"CREATE TABLE public.before AS SELECT ({look}) AS it;")
    project.put("002_leave.sql", leave.format(role=role))
    project.put("003_after.sql", f"CREATE TABLE public.after AS SELECT ({look}) AS it;")
    project.migrate()
    assert project.rows("SELECT * FROM after") == project.rows("SELECT * FROM before")


def test_the_session_keeps_its_lock_between_files(project: Project) -> None:
    look = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted AND pid = pg_backend_pid()"
    project.put("001_a.sql", f"CREATE TABLE a AS {look}; SELECT pg_advisory_unlock_all();")
    project.put("002_b.sql", f"CREATE TABLE b AS {look};")
    project.migrate()
    assert project.rows("SELECT * FROM a, b") == [(1, 1)]


def test_a_file_that_changed_since_it_was_planned_is_rolled_back(project: Project) -> None:
    project.put("001_a.sql", TABLE)
    files = project.files()
    project.put("001_a.sql", "CREATE TABLE u (a int);")
    failed = project.failure(files=files)
    assert str(failed) == "changed while it ran; run inv db.migrate again"
    assert not project.has("u")
    assert project.recorded() == []


def test_a_large_file_that_changes_while_it_runs_is_rolled_back(project: Project) -> None:
    path = project.put("001_a.sql", TABLE)

    def change(event: Event) -> None:
        if isinstance(event, MigrationStarted):
            path.write_text("CREATE TABLE u (a int);")

    project.react = change
    assert str(project.failure(memory_bytes=0)) == "changed while it ran; run inv db.migrate again"
    assert not project.has("u")


def test_a_large_file_that_goes_away_while_it_runs_is_rolled_back(project: Project) -> None:
    path = project.put("001_a.sql", TABLE)
    project.react = lambda event: path.unlink() if isinstance(event, MigrationStarted) else None
    assert str(project.failure(memory_bytes=0)) == "cannot be read any more: No such file or directory"
    assert project.recorded() == []


def test_a_small_file_runs_with_the_content_that_was_planned(project: Project) -> None:
    path = project.put("001_a.sql", TABLE)
    project.react = lambda event: path.unlink() if isinstance(event, MigrationStarted) else None
    project.migrate()
    assert project.has("t")


def test_a_lock_timeout_is_retried_and_the_holders_are_named_and_not_terminated(
    project: Project, other: psycopg.Connection[tuple[Any, ...]]
) -> None:
    project.put("001_a.sql", TABLE)
    project.migrate()
    project.put("002_b.sql", "CREATE TABLE u (a int);\nALTER TABLE t ADD b int;")
    other.execute("SELECT * FROM t")

    def give_way(event: Event) -> None:
        if isinstance(event, MigrationRetrying):
            assert not project.has("u")
            other.commit()

    project.react = give_way
    project.migrate(waits=RETRYING)
    assert project.recorded() == ["001", "002"]
    (retrying,) = (event for event in project.events if isinstance(event, MigrationRetrying))
    (line,) = retrying.blockers
    assert line.startswith(f"pid {other.info.backend_pid} (the application, idle in transaction for ")
    assert line.endswith(": SELECT * FROM t")
    assert (retrying.file, retrying.attempt, retrying.attempts) == ("002_b.sql", 1, 3)
    assert retrying.reason == "canceling statement due to lock timeout"
    assert any(isinstance(event, StatementBlocked) for event in project.events), "told while it waits already"
    assert other.execute("SELECT 1").fetchone() == (1,)


def test_after_the_last_attempt_the_lock_timeout_is_the_failure(
    project: Project, other: psycopg.Connection[tuple[Any, ...]]
) -> None:
    project.put("001_a.sql", TABLE)
    project.migrate()
    project.put("002_b.sql", "-- migrate: lock_timeout=20ms\nALTER TABLE t ADD b int;")
    other.execute("SELECT * FROM t")
    failed = project.failure(waits=WaitLimits(lock_retries=2, retry_pause_seconds=0.01))
    assert failed.failure.sqlstate == "55P03"
    assert [event.attempt for event in project.events if isinstance(event, MigrationRetrying)] == [1, 2]
    assert other.execute("SELECT 1").fetchone() == (1,)


def test_a_deadlock_rolls_the_file_back_and_it_runs_again(
    project: Project, other: psycopg.Connection[tuple[Any, ...]]
) -> None:
    project.put("001_a.sql", "CREATE TABLE t (a int); CREATE TABLE u (a int);")
    project.migrate()
    project.put(
        "002_b.sql",
        """
        SET LOCAL deadlock_timeout = '10ms';
        LOCK TABLE u;
        DO $$ BEGIN  -- until the other waits for u, if it still holds t
          WHILE EXISTS (SELECT FROM pg_locks WHERE relation = 't'::regclass AND granted)
            AND NOT EXISTS (SELECT FROM pg_locks WHERE relation = 'u'::regclass AND NOT granted)
          LOOP PERFORM pg_sleep(0.005); END LOOP;
        END $$;
        LOCK TABLE t;
        """,
    )
    other.execute("SET deadlock_timeout = '1min'")
    other.execute("LOCK TABLE t")

    def wait_for_u() -> None:
        other.execute("LOCK TABLE u")
        other.commit()

    with ThreadPoolExecutor(2) as pool:
        running = pool.submit(project.migrate, waits=WaitLimits(lock_retries=3, retry_pause_seconds=0.01))
        project.until("SELECT FROM pg_locks WHERE relation = 'u'::regclass AND granted")
        waiting = pool.submit(wait_for_u)
        running.result()
        waiting.result()
    assert [event.reason for event in project.events if isinstance(event, MigrationRetrying)] == ["deadlock detected"]
    assert project.recorded() == ["001", "002"]


def test_the_isolation_level_of_a_begin_in_the_file_is_kept_and_a_serialization_failure_is_retried(
    project: Project, other: psycopg.Connection[tuple[Any, ...]]
) -> None:
    project.put("001_a.sql", "CREATE TABLE t (a int); INSERT INTO t VALUES (1);")
    project.migrate()
    project.put(
        "002_b.sql",
        "BEGIN ISOLATION LEVEL REPEATABLE READ;\n"
        "DO $$ BEGIN RAISE NOTICE 'the snapshot is taken'; PERFORM pg_advisory_xact_lock(77); END $$;\n"
        "UPDATE t SET a = a + 1;\n"
        "CREATE TABLE level AS SELECT current_setting('transaction_isolation');\nCOMMIT;",
    )
    other.execute("SELECT pg_advisory_xact_lock(77)")
    other.execute("UPDATE t SET a = a + 10")

    def commit_the_update(event: Event) -> None:
        if isinstance(event, NoticeReceived):
            other.commit()

    project.react = commit_the_update
    project.migrate(waits=RETRYING)
    reasons = [event.reason for event in project.events if isinstance(event, MigrationRetrying)]
    assert reasons == ["could not serialize access due to concurrent update"]
    assert project.rows("SELECT * FROM t, level") == [(12, "repeatable read")]


@pytest.mark.parametrize("single", [False, True])
def test_a_wait_for_the_claim_of_the_next_file_fails_as_that_file(
    project: Project, other: psycopg.Connection[tuple[Any, ...]], single: bool
) -> None:
    project.put("001_a.sql", TABLE)
    project.migrate()
    project.put("002_b.sql", "INSERT INTO t VALUES (2);")
    project.put("003_c.sql", "INSERT INTO t VALUES (3);")
    other.execute("INSERT INTO schema_migrations VALUES ('003', '003_c.sql', now(), 'by nobody that has the lock')")
    waits = WaitLimits(lock_timeout_ms=20, lock_retries=0)
    failed = project.failure(waits=waits, single_transaction=single)
    assert (failed.failure.file, failed.failure.sqlstate) == ("003_c.sql", "55P03")
    assert failed.applied == (() if single else ("002_b.sql",))
    assert project.recorded() == (["001"] if single else ["001", "002"])
    other.rollback()
    project.migrate(waits=waits, single_transaction=single)
    assert project.rows("SELECT * FROM t") == [(2,), (3,)]


def test_a_last_statement_left_open_is_the_server_s_own_error(project: Project) -> None:
    project.put("001_a.sql", "CREATE TABLE t (a int);\nSELECT (")
    failed = project.failure()
    assert str(failed) == "syntax error at end of input"
    assert failed.failure.line == 2


def test_an_error_other_than_a_lock_timeout_is_not_retried(project: Project) -> None:
    project.put("001_a.sql", "SELECT 1 / 0;")
    project.failure(waits=RETRYING)
    assert not any(isinstance(event, MigrationRetrying) for event in project.events)


def test_a_statement_slower_than_its_timeout_is_ended(project: Project) -> None:
    project.put("001_a.sql", "SELECT pg_sleep(30);")
    failed = project.failure(waits=WaitLimits(statement_timeout_ms=50))
    assert failed.failure.sqlstate == "57014"
    assert "KERNEL_STATEMENT_TIMEOUT" in str(failed.hint)


def test_in_a_single_transaction_all_are_applied(project: Project) -> None:
    project.put("001_a.sql", "CREATE TABLE x AS SELECT pg_current_xact_id()::text AS id;")
    project.put("002_b.sql", "BEGIN; INSERT INTO x SELECT pg_current_xact_id()::text; COMMIT;")
    outcome = project.migrate(single_transaction=True)
    assert [one.migration.version for one in outcome.applied] == ["001", "002"]
    assert project.rows("SELECT count(*), count(DISTINCT id) FROM x") == [(2, 1)]
    assert [type(event) for event in project.events][-2:] == [MigrationApplied, MigrationApplied], (
        "told when it is committed"
    )


def test_in_a_single_transaction_one_failure_undoes_all(project: Project) -> None:
    project.put("001_a.sql", TABLE)
    project.put("002_b.sql", "SELECT 1 / 0;")
    project.put("003_c.sql", "CREATE TABLE u (a int);")
    failed = project.failure(single_transaction=True)
    assert (failed.failure.file, failed.applied) == ("002_b.sql", ())
    assert failed.pending == ("001_a.sql", "002_b.sql", "003_c.sql")
    assert (project.recorded(), project.has("t")) == ([], False)
    assert not any(isinstance(event, MigrationApplied) for event in project.events)


@pytest.mark.parametrize("text", ["VACUUM;", "-- migrate: no-transaction\nSELECT 1;"])
def test_a_single_transaction_refuses_a_file_that_runs_outside_of_one(project: Project, text: str) -> None:
    project.put("001_a.sql", TABLE)
    project.put("002_b.sql", text)
    with pytest.raises(FilesInvalid, match=r"002_b\.sql: runs outside of a transaction, which --single-transaction"):
        project.migrate(single_transaction=True)
    assert not project.has("schema_migrations")


def test_applied_at_is_utc_whatever_the_time_zone_of_the_session(project: Project) -> None:
    project.put("001_a.sql", "SELECT pg_sleep(0.01);")
    project.reached(options="-cTimeZone=Asia/Tokyo").migrate()
    ((applied_at,),) = project.rows("SELECT applied_at FROM schema_migrations")
    age = datetime.now(UTC) - applied_at.replace(tzinfo=UTC)
    assert timedelta(0) <= age < timedelta(minutes=1)


def test_two_versions_of_one_run_have_different_times(project: Project) -> None:
    project.put("001_a.sql", "")
    project.put("002_b.sql", "")
    project.migrate(single_transaction=True)
    assert project.rows("SELECT count(DISTINCT applied_at) FROM schema_migrations") == [(2,)]


def test_notices_are_reported_with_the_line_of_their_statement(project: Project) -> None:
    project.put(
        "001_a.sql",
        "CREATE TABLE t (a int);\n\nCREATE TABLE IF NOT EXISTS t (a int);\nDO $$ BEGIN RAISE WARNING 'ä'; END $$;",
    )
    project.migrate()
    assert [
        (event.line, event.severity, event.message) for event in project.events if isinstance(event, NoticeReceived)
    ] == [
        (3, "NOTICE", 'relation "t" already exists, skipping'),
        (4, "WARNING", "ä"),
    ]


def test_notices_between_rows_and_results_of_rules_have_the_line_of_their_statement(project: Project) -> None:
    project.put(
        "001_a.sql",
        "CREATE FUNCTION say(i int) RETURNS int LANGUAGE plpgsql AS $$BEGIN RAISE NOTICE '%', i; RETURN i; END$$;\n"
        "SELECT say(i) FROM generate_series(21, 23) AS i;\n"
        "CREATE TABLE t (i int);\n"
        "CREATE RULE r AS ON INSERT TO t DO INSTEAD (SELECT say(51); SELECT say(52); SELECT say(new.i));\n"
        "INSERT INTO t VALUES (53);\n"
        "DO $$BEGIN RAISE NOTICE '61'; END$$; SELECT say(62);\n"
        "SELECT say(71);",
    )
    project.migrate()
    noticed = [(event.line, event.message) for event in project.events if isinstance(event, NoticeReceived)]
    assert noticed == [(int(message[0]), message) for _, message in noticed]
    assert [message for _, message in noticed] == ["21", "22", "23", "51", "52", "53", "61", "62", "71"]


def test_progress_counts_the_finished_statements_of_a_long_file(project: Project) -> None:
    project.put("001_a.sql", TABLE + "\n" + "INSERT INTO t VALUES (1);\n" * 1100)
    project.migrate()
    assert [event.statements for event in project.events if isinstance(event, MigrationProgressed)] == [500, 1000, 1101]
    assert project.rows("SELECT count(*) FROM t") == [(1100,)]


def test_the_application_name_names_the_file_that_runs(project: Project) -> None:
    project.put("001_a.sql", "CREATE TABLE t AS SELECT current_setting('application_name') AS name;")
    project.migrate()
    assert project.rows("SELECT name FROM t") == [("inv db.migrate 001_a.sql",)]


def test_a_terminated_backend_leaves_nothing_applied(project: Project) -> None:
    project.put("001_a.sql", TABLE + "\nSELECT pg_terminate_backend(pg_backend_pid());")
    failed = project.failure()
    assert str(failed).startswith("the connection was lost: ")
    assert (failed.failure.file, failed.aftermath) == (
        "001_a.sql",
        "rolled back: the database is as it was before this file",
    )
    assert (project.recorded(), project.has("t")) == ([], False)


def test_a_database_that_lost_its_ledger_is_not_migrated_a_second_time(project: Project) -> None:
    project.put("001_a.sql", TABLE)
    project.migrate()
    project.rows("DROP TABLE schema_migrations")
    with pytest.raises(Unrecorded):
        project.migrate()


def test_a_migration_is_not_run_when_another_recorded_it_without_the_lock(project: Project) -> None:
    """The claim alone keeps a version from being applied twice."""
    project.put("001_a.sql", TABLE)
    project.migrate()
    project.put("002_b.sql", "CREATE TABLE u (a int);")
    (_, second) = project.files()
    ready = threading.Event()

    def record(event: Event) -> None:
        if isinstance(event, MigrationStarted) and not ready.is_set():
            ready.set()
            project.rows(f"INSERT INTO schema_migrations VALUES ('003', '003_c.sql', now(), '{second.checksum}')")

    project.put("003_c.sql", "CREATE TABLE v (a int);")
    project.react = record
    outcome = project.migrate()
    assert [one.migration.version for one in outcome.applied] == ["002"]
    assert outcome.applied_by_others == 1
    assert not project.has("v")


@pytest.mark.parametrize("rest", ["", "INSERT INTO level VALUES ('" + "x" * 300_000 + "');\n"])
def test_a_file_that_begins_with_set_transaction_runs_in_such_a_transaction(project: Project, rest: str) -> None:
    project.put(
        "001_strict.sql",
        "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE;\nSET TRANSACTION READ WRITE;\n"
        "CREATE TABLE level AS SELECT current_setting('transaction_isolation') AS name;\n" + rest,
    )
    outcome = project.migrate()
    assert [one.migration.filename for one in outcome.applied] == ["001_strict.sql"]
    assert project.rows("SELECT name FROM level LIMIT 1") == [("serializable",)]


def test_a_file_with_a_transaction_of_its_own_kind_is_not_run_together_with_others(project: Project) -> None:
    project.put("001_plain.sql", "BEGIN; CREATE TABLE plain (id int); COMMIT;")
    project.put("002_serializable.sql", "BEGIN ISOLATION LEVEL SERIALIZABLE; CREATE TABLE strict (id int); COMMIT;")
    with pytest.raises(FilesInvalid, match=r"002_serializable.sql: begins its transaction in a way of its own"):
        project.migrate(single_transaction=True)
    assert not project.has("plain")


@pytest.mark.parametrize(
    "name", ["statement_timeout", "idle_session_timeout", "idle_in_transaction_session_timeout", "transaction_timeout"]
)
@pytest.mark.parametrize("single_transaction", [False, True])
def test_timeouts_of_the_role_or_the_database_do_not_end_a_run(
    project: Project, name: str, *, single_transaction: bool
) -> None:
    if project.rows(f"SELECT current_setting('{name}', true) IS NULL") == [(True,)]:
        pytest.skip(f"this PostgreSQL has no {name}")
    ((database,),) = project.rows("SELECT quote_ident(current_database())")
    project.rows(f"ALTER DATABASE {database} SET {name} = '20s'")
    for number in (1, 2):
        project.put(f"00{number}_a.sql", f"CREATE TABLE seen_{number} AS SELECT current_setting('{name}') AS value;")
    project.migrate(single_transaction=single_transaction)
    assert project.rows("SELECT value FROM seen_1 UNION ALL SELECT value FROM seen_2") == [("0",), ("0",)]


DEFAULTS = {
    "search path of the database": "ALTER DATABASE {database} SET search_path = app, public;",
    "search path of the role": "ALTER ROLE {role} IN DATABASE {database} SET search_path = app, public;",
    "by a DO block": (
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET search_path = app, public', current_database()); END $$;"
    ),
    "outside of a transaction": "-- migrate: no-transaction\nALTER DATABASE {database} SET search_path = app, public;",
}


@pytest.mark.parametrize("text", DEFAULTS.values(), ids=DEFAULTS.keys())
@pytest.mark.parametrize("together", [True, False])
def test_a_file_runs_with_the_same_settings_together_with_the_file_that_sets_them_and_apart(
    project: Project, text: str, together: bool
) -> None:
    project.rows("CREATE SCHEMA app")
    login = f"Runner of {project.look.info.dbname}"
    role = f'"{login}"'
    project.rows(f"CREATE ROLE {role} SUPERUSER LOGIN")
    runner = project.reached(user=login)
    runner.put("001_a.sql", "CREATE TABLE a (i int);")
    runner.put("002_set.sql", text.format(database=project.look.info.dbname, role=role))
    runner.put("003_b.sql", "CREATE TABLE b (i int);")
    runner.put("004_c.sql", "CREATE TABLE c AS SELECT current_setting('search_path');")
    if together:
        assert [event.migration.version for event in runner.migrate().applied] == ["001", "002", "003", "004"]
    else:
        for version in ("001", "002", "003", "004"):
            runner.migrate(to=version)
    assert project.has("public.a")
    assert project.has("app.b")
    assert project.rows("SELECT * FROM app.c") == [("app, public",)]
    assert project.recorded() == ["001", "002", "003", "004"]


def test_files_run_where_the_database_and_the_login_have_settings_of_their_own(project: Project) -> None:
    database = project.look.info.dbname
    project.rows(
        f"ALTER DATABASE {database} SET app.one = '1'; ALTER DATABASE {database} SET app.two = '2';"
        f"ALTER ROLE CURRENT_USER IN DATABASE {database} SET app.three = '3'"
    )
    project.put("001_a.sql", "CREATE TABLE a ();")
    project.put("002_b.sql", "CREATE TABLE b ();")
    assert len(project.migrate().applied) == 2


def test_a_failure_after_a_change_of_settings_names_what_was_applied_before_it(project: Project) -> None:
    project.put("001_set.sql", f"ALTER DATABASE {project.look.info.dbname} SET app.tenant = 'seven';")
    project.put("002_use.sql", "CREATE TABLE t AS SELECT current_setting('app.tenant') AS tenant;")
    project.put("003_wrong.sql", "SELECT 1 / 0;")
    failed = project.failure()
    assert (failed.applied, failed.pending) == (("001_set.sql", "002_use.sql"), ("003_wrong.sql",))
    assert project.rows("SELECT tenant FROM t") == [("seven",)]


def test_a_run_goes_on_with_its_ledger_when_a_file_moves_the_search_path_away_from_it(project: Project) -> None:
    project.put("001_set.sql", f"CREATE SCHEMA app; ALTER DATABASE {project.look.info.dbname} SET search_path = app;")
    project.put("002_use.sql", "CREATE TABLE t (a int);")
    project.migrate()
    assert project.has("app.t")
    assert project.recorded() == ["001", "002"]
