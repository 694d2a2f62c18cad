"""A partial file whose session state is gone says so, and runs from its beginning when it is told to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from kernel.apply.events import FileWarning
from kernel.db.advisory_lock import advisory_lock_key
from kernel.db.connection import open_session
from kernel.errors import LockBusy, UsageError
from kernel.operations.repair import restart_file
from kernel.plan import VersionState

if TYPE_CHECKING:
    import psycopg

    from kernel.operations.repair import RestartResult
    from tests.integration.conftest import Project

HEAD = "-- migrate: no-transaction\n"
PROGRESS = "schema_migrations_progress"


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
    assert str(failed) == f"the {named} of line 2 is gone with its session, and line 3 needs it"
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
