"""A partial file whose session state is gone says so, and runs from its beginning when it is told to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from kernel.apply.events import FileWarning
from kernel.db.advisory_lock import advisory_lock_key
from kernel.db.connection import open_session
from kernel.errors import Drift, LockBusy, UsageError
from kernel.operations.baseline import record_baseline
from kernel.operations.migrate import with_resume_problems
from kernel.operations.repair import restart_file
from kernel.operations.rollback import RollbackOptions, rollback
from kernel.plan import VersionState, read_status

if TYPE_CHECKING:
    import psycopg

    from kernel.operations.repair import RestartResult
    from tests.integration.conftest import Project

HEAD = "-- migrate: no-transaction\n"
PROGRESS = "schema_migrations_progress"
RESTART = "the file has to run from its beginning: inv db.repair --restart 002"
CODE = """
CREATE TABLE later (id int); CREATE TABLE gate (id int); CREATE SCHEMA app;
CREATE FUNCTION make_temporary() RETURNS void LANGUAGE plpgsql AS $$ BEGIN CREATE TEMP TABLE "A b" (id int); END $$;
CREATE PROCEDURE commit_with_temporary() LANGUAGE plpgsql AS $$ BEGIN CREATE TEMP VIEW v AS SELECT 1; COMMIT; END $$;
CREATE FUNCTION set_tenant() RETURNS void LANGUAGE sql AS $$ SELECT set_config('app.tenant', '7', false) $$;
GRANT ALL ON ALL TABLES IN SCHEMA public TO PUBLIC;
"""
SET_IN_TRANSACTIONS = """
DO $$ BEGIN SET LOCAL app.tenant = '7'; PERFORM pg_advisory_xact_lock(7); LISTEN x; END $$;
BEGIN;
CREATE TEMP TABLE ids (id int) ON COMMIT DROP;
SET search_path = app;
SET LOCAL ROLE pg_monitor;
COMMIT;"""


def restart(project: Project, version: str) -> RestartResult:
    with open_session(project.url) as session:
        return restart_file(
            session, project.files(), restart=version, lock_wait_seconds=0, waiting=lambda _holder: None
        )


@pytest.mark.parametrize(
    ("make", "use", "named"),
    [
        ("CREATE TEMP TABLE ids AS SELECT 1 AS id;", "INSERT INTO later SELECT id FROM ids;", "temporary table ids"),
        ("PREPARE p AS SELECT 1;", "INSERT INTO later VALUES (1); EXECUTE p;", "prepared statement p"),
        (
            "DECLARE c CURSOR WITH HOLD FOR SELECT 1;",
            "INSERT INTO later VALUES (1); FETCH c;",
            "cursor c",
        ),
    ],
)
def test_a_file_that_needs_what_its_session_lost_says_so_and_runs_again_from_its_beginning(
    project: Project, make: str, use: str, named: str
) -> None:
    project.put("001_a.sql", f"{HEAD}{make}\n{use}\n")
    failed = project.failure()
    (warning,) = [event.problem for event in project.events if isinstance(event, FileWarning)]
    assert str(warning).startswith(f"001_a.sql:2: the {named} is gone with its session: if the run stops before line 3")
    assert failed.failure.sqlstate == "42P01"
    assert failed.aftermath == (
        f"statement 1, down to line 2, committed and kept; the {named} of line 2 is gone with the session, "
        "so that the file has to run from its beginning: inv db.repair --restart 001"
    )
    project.rows("CREATE TABLE later (id int)")
    failed = project.failure()
    assert str(failed) == f"the {named} of line 2 is gone with the session, and line 3 may need it"
    assert "inv db.repair --restart 001" in failed.aftermath
    done = restart(project, "1")
    assert (done.version, done.filename, done.finished, done.invalid_indexes) == ("001", "001_a.sql", 1, ())
    assert project.states() == {"001": VersionState.PENDING}
    project.migrate()
    assert project.rows("SELECT id FROM later") == [(1,)]
    assert project.recorded() == ["001"]


def test_a_file_that_needs_no_more_of_its_session_goes_on(project: Project) -> None:
    path = project.put(
        "001_a.sql",
        HEAD + "CREATE TEMP TABLE ids AS SELECT 1 AS id;\nCREATE TABLE kept AS SELECT id FROM ids;\n"
        "DROP TABLE ids;\nSELECT 1 / 0;\n",
    )
    assert project.failure().aftermath.endswith("committed and kept; the next run goes on with statement 4")
    path.write_text(path.read_text().replace("1 / 0", "1"))
    project.migrate()
    assert project.rows("SELECT id FROM kept") == [(1,)]


def test_a_real_table_is_not_read_in_place_of_a_temporary_one_that_is_gone(project: Project) -> None:
    project.put("001_t.sql", "CREATE TABLE users AS SELECT 7 AS id; CREATE TABLE report (id int);")
    path = project.put(
        "002_b.sql",
        HEAD + "CREATE TEMP TABLE users AS SELECT 1 AS id;\nSELECT 1 / 0;\nINSERT INTO report SELECT id FROM users;\n",
    )
    project.failure()
    path.write_text(path.read_text().replace("1 / 0", "1"))
    assert "the temporary table users of line 2 is gone" in str(project.failure())
    assert project.rows("SELECT * FROM report") == []


def run_until_failure_and_again(project: Project, made: str) -> str:
    """Run statements, then one that fails once; the message of the run that is to go on, "" if it goes on."""
    project.put("001_a.sql", CODE)
    project.migrate()
    path = project.put(
        "002_b.sql", f"{HEAD}{made}\nSELECT 1 / count(*) FROM public.gate;\nINSERT INTO public.later VALUES (1);\n"
    )
    failed = project.failure()
    assert failed.failure.sqlstate == "22012"
    project.rows("INSERT INTO public.gate VALUES (1)")
    if "the next run goes on with statement" in (failed.aftermath or ""):
        project.migrate()
        assert project.rows("SELECT * FROM later") == [(1,)]
        return ""
    assert (failed.aftermath or "").endswith(RESTART)
    refused = project.failure()
    assert (refused.aftermath or "").endswith(RESTART)
    assert refused.failure.line == path.read_text().partition("SELECT 1 / count")[0].count("\n") + 1
    assert project.rows("SELECT * FROM later") == []
    return str(refused)


@pytest.mark.parametrize(
    ("made", "named"),
    [
        ("DO $$ BEGIN CREATE TEMP TABLE later (id int); END $$;", "temporary table later of line 2"),
        *(
            pytest.param(made, named, marks=pytest.mark.slow)
            for made, named in [
                ("SELECT make_temporary();", 'temporary table "A b" of line 2'),
                (
                    "SELECT 1;\nBEGIN;\nSELECT make_temporary();\nCOMMIT;",
                    'temporary table "A b" of the transaction that begins in line 3',
                ),
                ("SELECT 1;\nCALL commit_with_temporary();", "temporary view v of line 3"),
                ("DO $$ BEGIN EXECUTE 'PREPARE p AS SELECT 1'; END $$;", "prepared statement p of line 2"),
                ("DO $$ BEGIN EXECUTE 'DECLARE c CURSOR WITH HOLD FOR SELECT 1'; END $$;", "cursor c of line 2"),
                ("DO $$ BEGIN PERFORM pg_advisory_lock(-7); END $$;", "advisory lock -7 of line 2"),
                ("DO $$ BEGIN PERFORM pg_advisory_lock(1, 2); END $$;", "advisory lock 1, 2 of line 2"),
                ("DO $$ BEGIN SET search_path = app, public; END $$;", "setting search_path of line 2"),
                ("DO $$ BEGIN SET app.tenant = '7'; END $$;", "setting app.tenant of line 2"),
                ("SELECT set_tenant();", "setting app.tenant of line 2"),
                ("SELECT 1;\nDO $$ BEGIN SET ROLE pg_database_owner; END $$;", "setting role of line 3"),
            ]
        ),
    ],
)
def test_state_of_the_session_that_code_made_is_named_when_it_is_gone(project: Project, made: str, named: str) -> None:
    message = run_until_failure_and_again(project, made)
    assert message == f"the {named} is gone with the session, and line {made.count(chr(10)) + 3} may need it"


def test_a_setting_that_code_took_back_is_not_set_again_in_silence(project: Project) -> None:
    project.put("001_a.sql", CODE)
    project.migrate()
    project.put("002_b.sql", HEAD + "SET ROLE pg_monitor;\nDO $$ BEGIN RESET ROLE; END $$;\nSELECT 1 / 0;\n")
    project.failure()
    assert str(project.failure()) == "the setting role is not as it was after line 3, and line 4 may need it"


@pytest.mark.parametrize(
    "made",
    [
        SET_IN_TRANSACTIONS,
        *(
            pytest.param(made, marks=pytest.mark.slow)
            for made in [
                "DO $$ BEGIN CREATE TEMP TABLE ids (id int) ON COMMIT DROP; SET LOCAL search_path = app; END $$;",
                "SET app.tenant = '7';\nSELECT set_config('work_mem', '5MB', false);",
                "DO $$ BEGIN CREATE TEMP TABLE ids (id int); END $$;\nDROP TABLE ids;",
                "DO $$ BEGIN PERFORM pg_advisory_lock(7), pg_advisory_unlock(7); END $$;",
                "DO $$ BEGIN SET search_path = public; END $$;\nSET search_path = app;",
                "DO $$ BEGIN EXECUTE 'PREPARE p AS SELECT 1'; EXECUTE 'DEALLOCATE p'; END $$;",
                "DO $$ BEGIN SET ROLE pg_database_owner; RESET ROLE; END $$;",
            ]
        ),
    ],
)
def test_a_file_of_which_nothing_stays_in_the_session_goes_on(project: Project, made: str) -> None:
    assert run_until_failure_and_again(project, made) == ""


def test_statements_that_run_no_code_need_only_what_they_name(project: Project) -> None:
    project.put("001_a.sql", "CREATE TABLE t (a int); INSERT INTO t VALUES (1), (1); CREATE TABLE ids (a int);")
    made = "BEGIN;\nCREATE TEMP TABLE ids AS SELECT 1 AS a;\nCOMMIT;\nCREATE UNIQUE INDEX CONCURRENTLY t_a ON t (a);\n"
    path = project.put("002_b.sql", f"{HEAD}{made}VACUUM ids;\n")
    assert "inv db.repair --restart 002" in (project.failure().aftermath or "")
    project.rows("DELETE FROM t WHERE ctid = '(0,1)'")
    assert str(project.failure()).endswith("is gone with the session, and line 6 may need it")
    path.write_text(f"{HEAD}{made}VACUUM t;\n")
    project.migrate()
    assert project.recorded() == ["001", "002"]


def test_currval_of_a_former_session_names_the_restart(project: Project) -> None:
    project.put("001_a.sql", "CREATE TABLE t (a int); CREATE SEQUENCE s;")
    path = project.put(
        "002_b.sql", HEAD + "SELECT nextval('s');\nSELECT 1 / 0;\nINSERT INTO t VALUES (currval('s'));\n"
    )
    project.failure()
    path.write_text(path.read_text().replace("1 / 0", "1"))
    failed = project.failure()
    assert (failed.failure.sqlstate, failed.failure.line) == ("55000", 4)
    assert failed.hint == (
        "the session that called nextval has ended with a former run; "
        "let the file run from its beginning: inv db.repair --restart 002"
    )


def test_a_restart_leaves_it_to_the_next_run_to_drop_an_invalid_index(project: Project) -> None:
    project.put("001_t.sql", "CREATE TABLE t (a int); INSERT INTO t VALUES (1), (1);")
    project.put("002_b.sql", HEAD + "CREATE TABLE u (a int);\nCREATE UNIQUE INDEX CONCURRENTLY t_a ON t (a);\n")
    project.failure()
    assert restart(project, "002").invalid_indexes == ("public.t_a",)
    assert project.has("t_a"), "no SQL runs"
    project.rows("DROP TABLE u; DELETE FROM t WHERE ctid = '(0,1)'")
    project.migrate()
    assert project.rows("SELECT indisvalid FROM pg_index WHERE indrelid = 't'::regclass") == [(True,)]
    assert project.recorded() == ["001", "002"]


def test_a_file_that_was_renumbered_leaves_progress_that_can_be_removed(project: Project) -> None:
    path = project.put("001_a.sql", HEAD + "CREATE TABLE u (a int);\nSELECT 1 / 0;\n")
    project.failure()
    path.unlink()
    project.put("002_a.sql", "SELECT 1;")
    assert restart(project, "001").filename is None
    assert project.rows(f"SELECT * FROM {PROGRESS}") == []


@pytest.mark.parametrize(
    ("version", "reason"),
    [
        ("001", "001_a.sql is not partly applied"),
        ("002", "002_b.sql is not partly applied"),
        ("9", "no migration file has this version"),
        ("x", "is no version"),
    ],
)
def test_what_is_not_partial_is_not_restarted(project: Project, version: str, reason: str) -> None:
    project.put("001_a.sql", "SELECT 1;")
    project.migrate()
    project.put("002_b.sql", "SELECT 1;")
    with pytest.raises(UsageError, match=reason):
        restart(project, version)


def test_a_restart_waits_for_no_runner(project: Project, other: psycopg.Connection[tuple[object, ...]]) -> None:
    project.put("001_a.sql", HEAD + "SELECT 1;\nSELECT 1 / 0;")
    project.failure()
    other.execute("SELECT pg_advisory_lock(%s)", (advisory_lock_key("public", "schema_migrations"),))
    with pytest.raises(LockBusy):
        restart(project, "001")
    assert project.rows(f"SELECT finished FROM {PROGRESS}") == [(1,)]


def shown_problem(project: Project) -> str:
    """What db.status says of the next run of the last file; "" where it goes on."""
    with open_session(project.url) as session:
        (*_, entry) = with_resume_problems(session, read_status(session, project.files())).plan.entries
    assert entry.partial
    return entry.partial.problem


@pytest.mark.parametrize(
    ("made", "rest", "expected"),
    [
        ("CREATE TEMP TABLE ids AS SELECT 1 AS id", "SELECT count(*) FROM ids", "temporary table ids"),
        ("DO $$ BEGIN PREPARE p AS SELECT 1; END $$", "EXECUTE p", "prepared statement p"),
        ("SELECT pg_advisory_lock(7)", "SELECT 1", "advisory lock"),
        ("CREATE TEMP TABLE ids AS SELECT 1 AS id", "VACUUM gate", ""),
        ("SET search_path = app, public", "SELECT 1", ""),
        (
            "BEGIN;\nSET search_path = app, public;\nCREATE TEMP TABLE ids (id int) ON COMMIT DROP;\nCOMMIT",
            "SELECT 1",
            "",
        ),
    ],
)
def test_status_says_whether_the_next_run_goes_on_and_the_run_does_so(
    project: Project, made: str, rest: str, expected: str
) -> None:
    project.put("001_a.sql", CODE)
    project.migrate()
    text = f"{HEAD}{made};\nINSERT INTO public.later VALUES (1);\n{{}};\n{rest};\n"
    path = project.put("002_b.sql", text.format("SELECT 1 / 0"))
    project.failure()
    path.write_text(text.format("VACUUM gate"), encoding="utf-8")
    problem = shown_problem(project)
    if expected:
        assert f"the {expected}" in problem
        assert "inv db.repair --restart 002" in problem
        assert "is gone with the session" in str(project.failure())
        assert shown_problem(project) == problem
    else:
        assert problem == ""
        project.migrate()


def test_status_says_that_the_finished_part_of_a_file_has_changed(project: Project) -> None:
    path = project.put("001_a.sql", f"{HEAD}SELECT 1;\nSELECT 1 / 0;\n")
    project.failure()
    path.write_text(f"{HEAD}SELECT 2;\nSELECT 1;\n", encoding="utf-8")
    problem = shown_problem(project)
    assert problem.startswith("what ran before has changed since; restore it")
    with pytest.raises(Drift, match="has changed since; restore it"):
        project.migrate()
    path.write_text(f"{HEAD}SELECT 1;\nSELECT 1;\n", encoding="utf-8")
    assert shown_problem(project) == ""
    project.migrate()


def test_a_partial_file_is_not_run_from_its_beginning_in_a_transaction_without_being_told(project: Project) -> None:
    project.put("001_t.sql", "CREATE TABLE t (id int);")
    project.put("002_b.sql", f"{HEAD}INSERT INTO t VALUES (1);\nSELECT 1 / 0;\nINSERT INTO t VALUES (2);\n")
    project.failure()
    project.put("002_b.sql", "INSERT INTO t VALUES (1);\nINSERT INTO t VALUES (2);\n")
    with pytest.raises(Drift, match=r"002_b\.sql: what ran before has committed, and would run again in a transaction"):
        project.migrate()
    with open_session(project.url) as session:
        (_, entry) = with_resume_problems(session, read_status(session, project.files())).plan.entries
    assert entry.partial
    assert "inv db.repair --restart 002" in entry.partial.problem
    assert project.rows("SELECT id FROM t") == [(1,)]
    project.rows("DELETE FROM t")
    restart(project, "002")
    project.migrate()
    assert project.rows("SELECT id FROM t ORDER BY id") == [(1,), (2,)]


@pytest.mark.parametrize("revert", [False, True])
def test_a_file_that_was_rolled_back_runs_from_its_beginning_whatever_progress_it_had(
    project: Project, revert: bool
) -> None:
    project.put("001_b.sql", f"{HEAD}CREATE TABLE a (id int);\nSELECT 1 / 0;\n")
    project.failure()
    project.put("revert/001_b.sql", "DROP TABLE a;")
    with open_session(project.url) as session:
        record_baseline(session, project.files(), to="001", lock_wait_seconds=0, waiting=lambda _holder: None)
    assert project.rows(f"SELECT FROM {PROGRESS}") == []
    project.rows(
        f"INSERT INTO {PROGRESS} (version, finished, digest, begun, updated_at) VALUES ('001', 1, 'x', 1, now())"
    )
    with open_session(project.url) as session:
        rollback(session, project.files(), RollbackOptions(revert=revert, waits=project.waits), project.observe)
    project.rows("DROP TABLE IF EXISTS a")
    project.put("001_b.sql", f"{HEAD}CREATE TABLE a (id int);\nSELECT 1;\n")
    project.migrate()
    assert project.has("a")
