"""Records made by hand: a baseline for a database that was there before, a repair for a file changed on purpose."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from kernel.db.advisory_lock import advisory_lock_key, try_advisory_lock
from kernel.db.connection import open_session
from kernel.errors import Drift, LockBusy, Unrecorded, UsageError
from kernel.operations.baseline import record_baseline
from kernel.operations.repair import accept_file
from kernel.plan import VersionState

if TYPE_CHECKING:
    from kernel.operations.baseline import BaselineResult
    from kernel.operations.repair import AcceptResult
    from tests.integration.conftest import Project


@pytest.fixture(autouse=True)
def _three_files(project: Project) -> None:
    for number in (1, 2, 3):
        project.put(f"00{number}_t.sql", f"CREATE TABLE t{number} (a int);")


def baseline(project: Project, to: str) -> BaselineResult:
    with open_session(project.url) as session:
        return record_baseline(session, project.files(), to=to, lock_wait_seconds=0, waiting=lambda _holder: None)


def repair(project: Project, accept: str) -> AcceptResult:
    with open_session(project.url) as session:
        return accept_file(session, project.files(), accept=accept, lock_wait_seconds=0, waiting=lambda _holder: None)


def test_a_baseline_records_files_without_running_them_and_the_rest_goes_on(project: Project) -> None:
    project.rows("CREATE TABLE t1 (a int)")
    project.rows("CREATE TABLE t2 (a int)")
    done = baseline(project, "2")
    assert [one.version for one in done.recorded] == ["001", "002"]
    assert project.recorded() == ["001", "002"]
    assert not project.has("t3")
    project.migrate()
    assert project.recorded() == ["001", "002", "003"]
    assert project.has("t3")


def test_a_baseline_to_0_names_the_tables_of_others_and_lets_every_file_run(project: Project) -> None:
    project.rows('CREATE TABLE users (a int); CREATE TABLE "Odd Name" (a int)')
    with pytest.raises(Unrecorded, match="--to 0 if none of the files did"):
        project.migrate()
    done = baseline(project, "0")
    assert (done.recorded, done.tables) == ((), ('public."Odd Name"', "public.users"))
    assert project.recorded() == []
    baseline(project, "000")  # once more changes nothing
    project.migrate()
    assert project.recorded() == ["001", "002", "003"]


def test_a_baseline_to_0_is_for_a_database_without_any_record(project: Project) -> None:
    project.migrate(to="1")
    with pytest.raises(UsageError, match="1 migration is recorded already"):
        baseline(project, "0")


def test_a_file_with_version_0_is_one_that_a_baseline_can_record(project: Project) -> None:
    project.put("000_first.sql", "CREATE TABLE t0 (a int);")
    assert [one.version for one in baseline(project, "0").recorded] == ["000"]


def test_a_baseline_needs_the_version_of_a_file(project: Project) -> None:
    with pytest.raises(UsageError, match="--to 7: no migration file has this version"):
        baseline(project, "7")
    assert not project.has("schema_migrations")


def test_a_baseline_is_for_a_database_without_any_record(project: Project) -> None:
    project.migrate(to="1")
    with pytest.raises(UsageError, match="1 migration is recorded already"):
        baseline(project, "2")
    assert project.recorded() == ["001"]


def test_an_empty_ledger_can_have_a_baseline(project: Project) -> None:
    baseline(project, "1")
    project.rows("DELETE FROM schema_migrations")
    baseline(project, "3")
    assert project.recorded() == ["001", "002", "003"]


def test_an_edited_file_is_accepted_and_keeps_its_time(project: Project) -> None:
    project.migrate()
    before = project.rows("SELECT applied_at FROM schema_migrations WHERE version = '002'")
    project.put("002_t.sql", "CREATE TABLE t2 (a bigint);")
    with pytest.raises(Drift):
        project.migrate()
    done = repair(project, "2")
    assert done.previous_record.checksum != done.migration.checksum
    assert set(project.states().values()) == {VersionState.APPLIED}
    assert project.rows("SELECT applied_at FROM schema_migrations WHERE version = '002'") == before


def test_a_renamed_file_is_accepted(project: Project) -> None:
    project.migrate()
    (project.folder / "002_t.sql").rename(project.folder / "002_better_name.sql")
    repair(project, "002")
    assert project.rows("SELECT filename FROM schema_migrations WHERE version = '002'") == [("002_better_name.sql",)]
    assert set(project.states().values()) == {VersionState.APPLIED}


def test_a_renumbered_file_is_accepted_under_its_new_number(project: Project) -> None:
    project.migrate()
    (project.folder / "002_t.sql").rename(project.folder / "004_t.sql")
    done = repair(project, "4")
    assert (done.previous_record.version, done.migration.version) == ("002", "004")
    assert project.recorded() == ["001", "003", "004"]
    assert set(project.states().values()) == {VersionState.APPLIED}


def test_a_record_written_with_other_zeros_is_accepted_by_its_own_name(project: Project) -> None:
    project.migrate()
    project.rows("UPDATE schema_migrations SET version = '2', filename = '2_t.sql' WHERE version = '002'")
    repair(project, "002")
    assert project.recorded() == ["001", "002", "003"]


@pytest.mark.parametrize(
    ("accept", "message"),
    [
        ("1", "--accept 1: 001_t.sql and its record agree; see inv db.status"),
        ("9", "--accept 9: no migration file has this version"),
        ("x", "'x' is no version"),
    ],
)
def test_there_has_to_be_something_to_accept(project: Project, accept: str, message: str) -> None:
    project.migrate()
    with pytest.raises(UsageError) as refused:
        repair(project, accept)
    assert message in str(refused.value)


def test_a_pending_file_cannot_be_accepted_as_applied(project: Project) -> None:
    project.migrate(to="2")
    with pytest.raises(UsageError, match=r"--accept 3: 003_t\.sql is not applied; run inv db\.migrate"):
        repair(project, "3")
    assert project.recorded() == ["001", "002"]


def test_the_lock_is_needed(project: Project) -> None:
    with open_session(project.url) as session:
        assert try_advisory_lock(session, advisory_lock_key("public", "schema_migrations"))
        with pytest.raises(LockBusy):
            baseline(project, "1")
        with pytest.raises(LockBusy):
            repair(project, "1")
    assert not project.has("schema_migrations")
