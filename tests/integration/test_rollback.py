"""db.rollback: the record goes, and only with a revert file the SQL is undone too, in the same transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from kernel.apply.executor import WaitLimits
from kernel.db.advisory_lock import advisory_lock_key, try_advisory_lock
from kernel.db.connection import open_session
from kernel.errors import FilesInvalid, LockBusy, MigrationFailed, UsageError
from kernel.operations.rollback import RollbackOptions, rollback
from kernel.plan import VersionState

if TYPE_CHECKING:
    from tests.integration.conftest import Project


@pytest.fixture(autouse=True)
def _three_applied(project: Project) -> None:
    for number in (1, 2, 3):
        project.put(f"00{number}_t.sql", f"CREATE TABLE t{number} (a int);")
        project.put(f"revert/00{number}_t.sql", f"DROP TABLE t{number};")
    project.migrate()


def roll_back(project: Project, **options: Any) -> list[str]:
    """The versions whose records are gone, in the order they went."""
    waits = WaitLimits(lock_wait_seconds=0, lock_retries=0)
    with open_session(project.url) as session:
        asked = RollbackOptions(**{"waits": waits, **options})
        outcome = rollback(session, project.files(), asked, project.observe)
    return [entry.version for entry in outcome.removed]


def tables(project: Project) -> list[str]:
    return [name for name in ("t1", "t2", "t3") if project.has(name)]


def test_the_newest_record_goes_and_its_table_stays(project: Project) -> None:
    assert roll_back(project) == ["003"]
    assert project.recorded() == ["001", "002"]
    assert tables(project) == ["t1", "t2", "t3"]
    assert project.states()["003"] is VersionState.PENDING


def test_several_records_go_newest_first(project: Project) -> None:
    assert roll_back(project, steps=2) == ["003", "002"]
    assert project.recorded() == ["001"]


def test_the_version_named_stays_applied(project: Project) -> None:
    assert roll_back(project, to="1") == ["003", "002"]
    assert project.recorded() == ["001"]


def test_with_revert_the_table_goes_with_the_record(project: Project) -> None:
    assert roll_back(project, steps=2, revert=True) == ["003", "002"]
    assert project.recorded() == ["001"]
    assert tables(project) == ["t1"]
    project.migrate()
    assert tables(project) == ["t1", "t2", "t3"]


def test_a_revert_that_fails_keeps_its_record_and_what_it_had_undone(project: Project) -> None:
    project.put("revert/002_t.sql", "DROP TABLE t2;\nSELECT 1 / 0;")
    with pytest.raises(MigrationFailed) as failed:
        roll_back(project, steps=3, revert=True)
    assert (failed.value.failure.file, failed.value.failure.line) == ("revert/002_t.sql", 2)
    assert project.recorded() == ["001", "002"]
    assert tables(project) == ["t1", "t2"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (None, "revert/002_t.sql: no such file; write what undoes the migration, or roll back without --revert"),
        ("SELECT 'open;", "revert/002_t.sql:1:8: unterminated quote"),
        ("DROP INDEX CONCURRENTLY i;", "revert/002_t.sql: it has to run in the transaction that removes the record"),
        ("SELECT 1; COMMIT;", "revert/002_t.sql:1: COMMIT ends the transaction"),
    ],
)
def test_revert_files_are_all_read_before_anything_is_undone(project: Project, text: str | None, problem: str) -> None:
    if text is None:
        (project.folder / "revert" / "002_t.sql").unlink()
    else:
        project.put("revert/002_t.sql", text)
    with pytest.raises(FilesInvalid) as refused:
        roll_back(project, steps=3, revert=True)
    assert str(refused.value).startswith(problem)
    assert project.recorded() == ["001", "002", "003"]


def test_a_migration_whose_file_is_gone_can_lose_its_record_but_not_be_reverted(project: Project) -> None:
    (project.folder / "003_t.sql").unlink()
    with pytest.raises(FilesInvalid, match=r"revert/003_t\.sql: no such file"):
        roll_back(project, revert=True)
    assert roll_back(project) == ["003"]


def test_a_record_written_with_other_zeros_is_reverted_too(project: Project) -> None:
    project.rows("UPDATE schema_migrations SET version = '3' WHERE version = '003'")
    roll_back(project, revert=True)
    assert project.recorded() == ["001", "002"]
    assert tables(project) == ["t1", "t2"]


def test_with_nothing_applied_there_is_nothing_to_do(project: Project) -> None:
    assert roll_back(project, steps=3) == ["003", "002", "001"]
    assert roll_back(project) == []


def test_more_steps_than_records_are_refused(project: Project) -> None:
    with pytest.raises(UsageError, match="--steps 4: only 3 applied"):
        roll_back(project, steps=4)


@pytest.mark.parametrize("revert", [False, True])
def test_the_lock_is_needed(project: Project, revert: bool) -> None:
    with open_session(project.url) as session:
        assert try_advisory_lock(session, advisory_lock_key("public", "schema_migrations"))
        with pytest.raises(LockBusy, match="another runner holds the lock of "):
            roll_back(project, revert=revert)
    assert project.recorded() == ["001", "002", "003"]
