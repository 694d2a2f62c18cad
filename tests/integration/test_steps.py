"""Files outside of a transaction: each statement once, in order, going on where the last run stopped."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from kernel.apply.events import IndexBuildProgressed, MigrationProgressed, MigrationRetrying, MigrationStarted
from kernel.apply.executor import WaitLimits
from kernel.errors import Drift
from kernel.plan import VersionState

if TYPE_CHECKING:
    from kernel.apply.events import Event
    from tests.integration.conftest import Project

HEAD = "-- migrate: no-transaction\n"
PROGRESS = "schema_migrations_progress"
INDEXES = "SELECT indexrelid::regclass::text, indisvalid FROM pg_index WHERE indrelid = 't'::regclass ORDER BY 1"


@pytest.fixture(autouse=True)
def _table(project: Project) -> None:
    """A migrated database with a table `t` of one column that is not unique."""
    project.put("001_t.sql", "CREATE TABLE t (a int); INSERT INTO t VALUES (1), (1);")
    project.migrate()


def test_each_statement_is_committed_by_itself(project: Project) -> None:
    project.put(
        "002_b.sql",
        HEAD
        + "CREATE TABLE x AS SELECT pg_current_xact_id()::text AS id;\n"
        + "INSERT INTO x SELECT pg_current_xact_id()::text;\n" * 2,
    )
    outcome = project.migrate()
    assert outcome.applied[0].statements == 3
    assert project.rows("SELECT count(DISTINCT id) FROM x") == [(3,)]
    assert project.recorded() == ["001", "002"]
    assert project.rows(f"SELECT * FROM {PROGRESS}") == []


def test_statements_before_a_failure_stay_committed_and_the_next_run_resumes_after_them(project: Project) -> None:
    path = project.put(
        "002_b.sql", HEAD + "CREATE TABLE u (a int);\nINSERT INTO u VALUES (1);\nSELECT 1 / 0;\nVACUUM u;\n"
    )
    failed = project.failure()
    assert (failed.failure.line, failed.failure.sqlstate) == (4, "22012")
    assert failed.aftermath == (
        "statements 1 to 2, down to line 3, committed and kept; the next run goes on with statement 3"
    )
    assert project.states()["002"] is VersionState.PARTIAL
    assert project.recorded() == ["001"]
    path.write_text(path.read_text().replace("1 / 0", "1"))
    project.events.clear()
    outcome = project.migrate()
    assert outcome.applied[0].note == "went on with statement 3"
    progress = [event.statements for event in project.events if isinstance(event, MigrationProgressed)]
    assert progress == [1, 2, 3, 4], "the statement that runs next has its number in the file"
    assert project.rows("SELECT * FROM u") == [(1,)]
    assert project.recorded() == ["001", "002"]
    assert project.rows(f"SELECT * FROM {PROGRESS}") == []


def test_a_failure_of_the_first_statement_leaves_nothing(project: Project) -> None:
    project.put("002_b.sql", HEAD + "SELECT nothing;\nSELECT 1;")
    failed = project.failure()
    assert failed.aftermath == "none of its statements is committed; the next run begins with the first"


def test_the_part_that_ran_must_not_change(project: Project) -> None:
    path = project.put("002_b.sql", HEAD + "CREATE TABLE u (a int);\nSELECT 1 / 0;\n")
    project.failure()
    path.write_text(HEAD + "CREATE TABLE u (a bigint);\nSELECT 1;\n")
    with pytest.raises(Drift) as refused:
        project.migrate()
    assert str(refused.value) == (
        "002_b.sql: what ran before, up to statement 1, has changed since; restore it, "
        "or let it run from its beginning: inv db.repair --restart 002"
    )
    path.write_text(HEAD)
    with pytest.raises(Drift):
        project.migrate()
    project.rows(f"DELETE FROM {PROGRESS} WHERE version = '002'")
    project.migrate()
    assert project.recorded() == ["001", "002"]


def test_comments_of_the_part_that_ran_may_change(project: Project) -> None:
    path = project.put("002_b.sql", HEAD + "CREATE TABLE u (a int);\nSELECT 1 / 0;\n")
    project.failure()
    path.write_text(HEAD + "\n-- a table\nCREATE TABLE u (a int);\n\nSELECT 1;\n")
    project.migrate()
    assert project.recorded() == ["001", "002"]


def test_a_resumed_run_repeats_the_settings_of_the_finished_part(project: Project) -> None:
    path = project.put(
        "002_b.sql",
        HEAD
        + "CREATE SCHEMA app;\nSET search_path = app;\nSELECT set_config('my.setting', 'x', false);\nSELECT 1 / 0;\n",
    )
    project.failure()
    path.write_text(
        path.read_text().replace("SELECT 1 / 0", "CREATE TABLE u AS SELECT current_setting('my.setting') AS a")
    )
    project.migrate()
    assert project.rows("SELECT a FROM app.u") == [("x",)]
    assert project.recorded() == ["001", "002"]


def test_settings_do_not_reach_the_next_file(project: Project) -> None:
    project.put("002_b.sql", HEAD + "SET search_path = pg_catalog;\nSET ROLE pg_monitor;\n")
    project.put("003_c.sql", "CREATE TABLE u AS SELECT current_user::text AS a;")
    project.migrate()
    assert project.rows("SELECT a FROM public.u") == [(project.look.info.user,)]


def test_the_files_own_transaction_commits_as_a_whole(project: Project) -> None:
    project.put(
        "002_b.sql",
        HEAD + "CREATE TABLE x (id text);\nBEGIN;\nINSERT INTO x SELECT pg_current_xact_id()::text;\n"
        "INSERT INTO x SELECT pg_current_xact_id()::text;\nCOMMIT;\nVACUUM x;",
    )
    project.migrate()
    assert project.rows("SELECT count(*), count(DISTINCT id) FROM x") == [(2, 1)]


def test_a_failure_in_the_files_own_transaction_goes_back_to_its_begin(project: Project) -> None:
    path = project.put(
        "002_b.sql",
        HEAD + "CREATE TABLE u (a int);\nBEGIN;\nINSERT INTO u VALUES (1);\nSELECT 1 / 0;\nCOMMIT;\n",
    )
    failed = project.failure()
    assert failed.aftermath == (
        "statement 1, down to line 2, committed and kept; the next run goes on with statement 2; "
        "the transaction begun in line 3 is rolled back"
    )
    assert project.rows("SELECT * FROM u") == []
    path.write_text(path.read_text().replace("1 / 0", "1"))
    project.migrate()
    assert project.rows("SELECT * FROM u") == [(1,)]


def test_a_rollback_in_the_file_undoes_its_own_transaction(project: Project) -> None:
    project.put("002_b.sql", HEAD + "BEGIN;\nINSERT INTO t VALUES (2);\nROLLBACK;\nINSERT INTO t VALUES (3);")
    project.migrate()
    assert project.rows("SELECT a FROM t ORDER BY a") == [(1,), (1,), (3,)]


def test_code_that_commits_runs(project: Project) -> None:
    project.put(
        "002_b.sql",
        HEAD + "CREATE PROCEDURE p() LANGUAGE plpgsql AS $$ BEGIN INSERT INTO t VALUES (2); COMMIT; END $$;\n"
        "CALL p();\nDO $$ BEGIN INSERT INTO t VALUES (3); COMMIT; INSERT INTO t VALUES (4); END $$;",
    )
    project.migrate()
    assert project.rows("SELECT a FROM t WHERE a > 1 ORDER BY a") == [(2,), (3,), (4,)]


def test_copy_data_are_loaded_once(project: Project) -> None:
    path = project.put(
        "002_b.sql", HEAD + "COPY t FROM stdin;\n7\n8\n\\.\nSELECT 1 / 0;\nCOPY t FROM stdin;\n9\n\\.\nVACUUM t;"
    )
    failed = project.failure()
    assert failed.failure.line == 6
    path.write_text(path.read_text().replace("1 / 0", "1"))
    project.migrate()
    assert project.rows("SELECT a FROM t WHERE a > 1 ORDER BY a") == [(7,), (8,), (9,)]


@pytest.mark.parametrize(
    "statement",
    [
        "VACUUM t;",
        "VACUUM (ANALYZE) t",
        "CREATE INDEX CONCURRENTLY ON t (a);",
        "REINDEX TABLE CONCURRENTLY t;",
        "DROP INDEX CONCURRENTLY IF EXISTS absent;",
        "CLUSTER;",
    ],
)
def test_a_lone_statement_that_cannot_run_in_a_transaction_runs_without_one(project: Project, statement: str) -> None:
    project.put("002_b.sql", statement)
    project.migrate()
    assert project.recorded() == ["001", "002"]
    assert project.rows(f"SELECT * FROM {PROGRESS}") == []


@pytest.mark.parametrize("head", ["", HEAD + "SELECT 1;\n"])
def test_an_index_left_invalid_by_our_own_build_is_dropped_and_built_again(project: Project, head: str) -> None:
    project.put("002_b.sql", head + "CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS t_a ON t (a);")
    failed = project.failure()
    assert failed.failure.sqlstate == "23505"
    assert failed.aftermath.endswith("public.t_a is left INVALID; the next run drops it and builds it again")
    assert project.rows(INDEXES) == [("t_a", False)]
    assert project.states()["002"] is VersionState.PARTIAL
    project.rows("DELETE FROM t WHERE ctid = '(0,1)'")
    project.migrate()
    assert project.rows(INDEXES) == [("t_a", True)]
    assert project.recorded() == ["001", "002"]
    assert project.rows(f"SELECT * FROM {PROGRESS}") == []


def test_an_unnamed_index_left_invalid_is_dropped_and_built_again(project: Project) -> None:
    project.put("002_b.sql", "CREATE UNIQUE INDEX CONCURRENTLY ON t (a);")
    project.failure()
    project.rows("DELETE FROM t WHERE ctid = '(0,1)'")
    project.migrate()
    assert project.rows(INDEXES) == [("t_a_idx", True)]


@pytest.mark.parametrize("if_not_exists", ["", "IF NOT EXISTS "])
@pytest.mark.parametrize("name", ["t_a", '"T a"'])
def test_an_invalid_index_that_is_not_ours_is_never_taken_for_done_nor_dropped(
    project: Project, if_not_exists: str, name: str
) -> None:
    with pytest.raises(psycopg.errors.UniqueViolation):
        project.rows(f"CREATE UNIQUE INDEX CONCURRENTLY {name} ON t (a)")
    project.put("002_b.sql", f"CREATE UNIQUE INDEX CONCURRENTLY {if_not_exists}{name} ON t (a);")
    failed = project.failure()
    assert f"public.{name} exists and is INVALID, as a build that failed leaves it" in str(failed)
    assert failed.failure.line == 1
    assert project.rows(INDEXES) == [(name, False)]
    assert project.recorded() == ["001"]
    project.rows(str(failed).partition("drop it with ")[2].partition(",")[0])
    project.rows("DELETE FROM t WHERE ctid = '(0,1)'")
    project.migrate()
    assert project.rows(INDEXES) == [(name, True)]


def test_an_index_that_stands_already_is_left_to_if_not_exists(project: Project) -> None:
    project.rows("CREATE INDEX t_a ON t (a)")
    project.put("002_b.sql", "CREATE INDEX CONCURRENTLY IF NOT EXISTS t_a ON t (a);")
    project.migrate()
    project.put("003_c.sql", "CREATE INDEX CONCURRENTLY t_a ON t (a);")
    assert project.failure().failure.sqlstate == "42P07"
    assert project.rows(INDEXES) == [("t_a", True)]


def test_an_index_build_has_no_timeout_and_reports_its_progress(
    project: Project, other: psycopg.Connection[tuple[Any, ...]]
) -> None:
    other.execute("INSERT INTO t VALUES (2)")  # the build waits for this transaction
    project.put(
        "002_b.sql",
        HEAD + "SET lock_timeout = '7s';\nCREATE INDEX CONCURRENTLY t_a ON t (a);\n"
        "CREATE TABLE u AS SELECT current_setting('statement_timeout') AS s;",
    )
    project.react = lambda event: other.commit() if isinstance(event, IndexBuildProgressed) else None
    project.migrate(waits=WaitLimits(lock_timeout_ms=40, statement_timeout_ms=40_000))
    assert project.rows(INDEXES) == [("t_a", True)]
    phases = [event.phase for event in project.events if isinstance(event, IndexBuildProgressed)]
    assert phases[0].startswith("t_a: waiting for writers before build")
    assert project.rows("SELECT s FROM u") == [("40s",)]


def test_a_statement_is_retried_after_a_lock_timeout(
    project: Project, other: psycopg.Connection[tuple[Any, ...]]
) -> None:
    other.execute("SELECT * FROM t")
    project.put("002_b.sql", HEAD + "INSERT INTO t VALUES (2);\nALTER TABLE t ADD b int;\n")
    project.react = lambda event: other.commit() if isinstance(event, MigrationRetrying) else None
    project.migrate(waits=WaitLimits(lock_timeout_ms=50, lock_retries=3, retry_pause_seconds=0.01))
    assert sum(isinstance(event, MigrationRetrying) for event in project.events) == 1
    assert project.rows("SELECT a FROM t WHERE a = 2") == [(2,)], "what was done is not done again"


def test_progress_is_kept_in_the_schema_of_the_ledger_whatever_the_search_path(project: Project) -> None:
    project.put("002_b.sql", HEAD + "SET search_path = '';\nCREATE TABLE public.u (a int);\nSELECT 1 / 0;")
    project.failure()
    assert project.rows(f"SELECT version, finished, begun FROM public.{PROGRESS}") == [("002", 2, 2)]


def test_progress_of_several_files_is_kept_apart(project: Project) -> None:
    project.put("002_b.sql", HEAD + "SELECT 1;\nSELECT 1 / 0;")
    project.failure()
    project.put("003_c.sql", HEAD + "SELECT 1;")
    project.put("002_b.sql", HEAD + "SELECT 1;\nSELECT 2;")
    project.migrate()
    assert project.recorded() == ["001", "002", "003"]
    assert project.rows(f"SELECT * FROM {PROGRESS}") == []


def test_a_file_that_changed_since_it_was_planned_is_not_recorded(project: Project) -> None:
    path = project.put("002_b.sql", HEAD + "CREATE TABLE u (a int);")

    def change(event: Event) -> None:
        if isinstance(event, MigrationStarted):
            path.write_text(path.read_text() + "\n-- changed")

    project.react = change
    failed = project.failure(memory_bytes=0)
    assert str(failed) == "changed while it ran; run inv db.migrate again"
    assert failed.aftermath.startswith("statement 1, down to line 2, committed and kept")
    assert project.recorded() == ["001"]


def test_the_message_about_a_terminated_backend_says_what_is_committed(project: Project) -> None:
    project.put("002_b.sql", HEAD + "CREATE TABLE u (a int);\nSELECT pg_terminate_backend(pg_backend_pid());\n")
    failed = project.failure()
    assert str(failed).startswith("the connection was lost: ")
    assert failed.aftermath == "statement 1, down to line 2, committed and kept; the next run goes on with statement 2"


def test_two_concurrent_runners_run_each_statement_once(project: Project) -> None:
    project.put("002_b.sql", HEAD + "INSERT INTO t VALUES (2);\n" * 20 + "CREATE INDEX CONCURRENTLY t_a ON t (a);")
    with ThreadPoolExecutor(3) as pool:
        outcomes = [run.result() for run in [pool.submit(project.migrate) for _ in range(3)]]
    assert sorted(len(outcome.applied) for outcome in outcomes) == [0, 0, 1]
    assert project.rows("SELECT count(*) FROM t WHERE a = 2") == [(20,)]


def test_progress_reports_the_statements_sent_of_the_whole_file(project: Project) -> None:
    path = project.put("002_b.sql", HEAD + "CREATE TABLE u (a int);\nCREATE TABLE v (a int);\nVACUUM u;\n")
    project.migrate()
    told = [event for event in project.events if isinstance(event, MigrationProgressed)]
    assert [event.statements for event in told[-3:]] == [1, 2, 3]
    sent = [event.sent_bytes for event in told[-3:]]
    assert sent == sorted(sent)
    assert sent[-1] == len(path.read_bytes().rstrip())


DEFAULTS = (
    "-c default_transaction_isolation=serializable -c default_transaction_deferrable=on "
    "-c idle_in_transaction_session_timeout=5000 -c plan_cache_mode=force_generic_plan"
)
PARTITIONED = (
    "CREATE TABLE m (id int, d date) PARTITION BY RANGE (d);\n"
    "CREATE TABLE m1 PARTITION OF m FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');\n"
    "CREATE INDEX m_d ON m (d);\n"
)


@pytest.mark.parametrize(
    "statement",
    ["REINDEX TABLE m;", "REINDEX INDEX m_d;", "CLUSTER m USING m_d;", "DO $$ BEGIN CALL p(); END $$;", "CALL p();"],
)
def test_what_the_server_refuses_in_a_transaction_runs_outside_of_one(project: Project, statement: str) -> None:
    project.rows(
        PARTITIONED + "CREATE PROCEDURE p() LANGUAGE plpgsql AS $$ BEGIN INSERT INTO t VALUES (2); COMMIT; END $$"
    )
    project.put("002_b.sql", HEAD + f"INSERT INTO t VALUES (3);\n{statement}\nINSERT INTO t VALUES (4);\n")
    project.migrate()
    assert project.recorded() == ["001", "002"]
    assert project.rows("SELECT a FROM t WHERE a > 2") == [(3,), (4,)]


@pytest.mark.parametrize(
    ("options", "before"),
    [
        (
            DEFAULTS,
            "SET default_transaction_isolation = 'repeatable read';\nDECLARE c CURSOR WITH HOLD FOR SELECT 1;\n",
        ),
        *(
            pytest.param("", before, marks=pytest.mark.slow)
            for before in [
                "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE;\n",
                "BEGIN;\nSELECT 1;\nCOMMIT;\nCOMMIT;\n",
                "BEGIN ISOLATION LEVEL SERIALIZABLE READ WRITE;\nSELECT 1;\nROLLBACK;\nROLLBACK;\n",
                "SAVEPOINT a;\nLOCK TABLE t;\n;;\n/* */ ;\n",
            ]
        ),
    ],
)
def test_no_setting_and_no_statement_before_keeps_a_transaction_around_what_cannot_run_in_one(
    project: Project, options: str, before: str
) -> None:
    project.rows(PARTITIONED)
    statements = [
        "VACUUM t",
        "REINDEX TABLE m",
        "CLUSTER m USING m_d",
        "CREATE INDEX CONCURRENTLY t_a ON t (a)",
        "REINDEX INDEX CONCURRENTLY t_a",
        "DROP INDEX CONCURRENTLY t_a",
        "REINDEX SCHEMA public",
        "CREATE DATABASE {0}_x",
        "DROP DATABASE {0}_x",
        "ALTER TABLE m DETACH PARTITION m1 CONCURRENTLY",
        "DISCARD ALL",
        "VACUUM m -- without a semicolon",
    ]
    project.put("002_b.sql", HEAD + before + ";\n".join(statements).format(project.look.info.dbname))
    project.reached(options=options).migrate()
    assert project.recorded() == ["001", "002"]


@pytest.mark.parametrize(
    ("statement", "hint"),
    [
        ("DO $$ BEGIN EXECUTE 'REINDEX TABLE m'; END $$;", "write the statement itself in the file"),
        pytest.param("SELECT reindex();", "write the statement itself in the file", marks=pytest.mark.slow),
        pytest.param("CALL vacuum_t();", "write the statement itself in the file", marks=pytest.mark.slow),
        pytest.param("SELECT commit();", "COMMIT needs a CALL or DO of the file itself", marks=pytest.mark.slow),
        pytest.param(
            "BEGIN;\nSELECT 1;\nSET TRANSACTION READ ONLY, ISOLATION LEVEL SERIALIZABLE;\nCOMMIT;",
            "write it at the top of the file, above its checks, or right after a BEGIN",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_what_code_cannot_run_has_a_remedy_that_the_file_does_not_have_yet(
    project: Project, statement: str, hint: str
) -> None:
    project.rows(
        PARTITIONED + "CREATE FUNCTION reindex() RETURNS void LANGUAGE plpgsql AS $$ BEGIN REINDEX TABLE m; END $$; "
        "CREATE PROCEDURE vacuum_t() LANGUAGE plpgsql AS $$ BEGIN VACUUM t; END $$; "
        "CREATE FUNCTION commit() RETURNS void LANGUAGE plpgsql AS $$ BEGIN COMMIT; END $$;"
    )
    project.put("002_b.sql", HEAD + statement)
    failed = project.failure()
    assert hint in (failed.hint or "")
    assert "-- migrate: no-transaction" not in (failed.hint or "")


def test_transactions_that_a_file_makes_read_only_have_the_setting_as_the_remedy(project: Project) -> None:
    project.put("002_b.sql", HEAD + "SET default_transaction_read_only = on;\nSELECT 1;\n")
    failed = project.failure()
    assert (failed.failure.sqlstate, failed.failure.line) == ("25006", 3)
    assert (failed.hint or "").endswith(
        "leave that setting out of the file, and let it run from its beginning: inv db.repair --restart 002"
    )


def test_a_block_of_code_without_a_commit_takes_effect_together_with_its_progress(project: Project) -> None:
    path = project.put(
        "002_b.sql",
        HEAD + "DO $$ BEGIN INSERT INTO t VALUES (2); IF current_setting('my.x', true) IS NULL THEN "
        "PERFORM pg_terminate_backend(pg_backend_pid()); END IF; END $$;\n",
    )
    project.failure()
    assert project.rows(f"SELECT * FROM {PROGRESS}") == [], "nothing of it began outside of a transaction"
    path.write_text(HEAD + "SET my.x = '1';\n" + path.read_text().removeprefix(HEAD))
    project.migrate()
    assert project.rows("SELECT count(*) FROM t WHERE a = 2") == [(1,)]


def test_the_true_error_is_shown_when_the_file_has_a_transaction_of_its_own(project: Project) -> None:
    project.rows(PARTITIONED)
    project.put("002_b.sql", HEAD + "BEGIN;\nREINDEX TABLE m;\nCOMMIT;\n")
    failed = project.failure()
    assert (failed.failure.sqlstate, failed.failure.line) == ("25001", 3)
    assert failed.hint == "take it out of the transaction that begins in line 2"
    project.put("002_b.sql", HEAD + "BEGIN;\nCREATE INDEX t_a ON t (a);\nCREATE UNIQUE INDEX t_b ON t (a);\nCOMMIT;\n")
    failed = project.failure()
    assert (failed.failure.sqlstate, failed.failure.line) == ("23505", 4)
    assert failed.aftermath == (
        "none of its statements is committed; the next run begins with the first; "
        "the transaction begun in line 2 is rolled back"
    )


def test_a_deferred_constraint_that_fails_is_located_at_its_statement(project: Project) -> None:
    project.rows("CREATE TABLE u (id int UNIQUE DEFERRABLE INITIALLY DEFERRED)")
    project.put("002_b.sql", HEAD + "INSERT INTO u VALUES (1);\nINSERT INTO u VALUES (1);\n")
    failed = project.failure()
    assert (failed.failure.sqlstate, failed.failure.line) == ("23505", 3)
    assert failed.aftermath == "statement 1, down to line 2, committed and kept; the next run goes on with statement 2"
