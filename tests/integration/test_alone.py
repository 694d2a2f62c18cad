"""A small file goes to the server in one message, from BEGIN to COMMIT, and is as safe as step by step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from kernel.apply import envelope
from kernel.apply.batches import Batch
from kernel.apply.events import MigrationApplied, MigrationRetrying, MigrationStarted
from kernel.apply.executor import WaitLimits
from kernel.sql.lexer import Part, PartKind

if TYPE_CHECKING:
    import psycopg

    from kernel.apply.events import Event
    from tests.integration.conftest import Project

NOTED = "CREATE TABLE noted AS SELECT current_query() AS message;\n"
LARGE = "INSERT INTO t VALUES (1);\n" * 600


def slipped_in(project: Project, filename: str) -> list[str]:
    """Record a file as another runner would, when ours begins to run it; the names of the files that began so far."""
    begun: list[str] = []

    def slip_in(event: Event) -> None:
        if isinstance(event, MigrationStarted):
            begun.append(event.migration.filename)
            if event.migration.filename == filename and begun.count(filename) == 1:
                record = f"INSERT INTO schema_migrations VALUES ('{filename[:3]}', '{filename}', now(), 'by another')"
                project.rows(record)

    project.react = slip_in
    return begun


def test_a_small_file_is_one_message_from_begin_to_commit(project: Project) -> None:
    project.put("001_n.sql", NOTED)
    project.migrate()
    ((message,),) = project.rows("SELECT message FROM noted")
    assert message.startswith("BEGIN; SET LOCAL")
    assert NOTED in message
    assert message.endswith("COMMIT; SELECT pg_try_advisory_lock(" + message.rpartition("(")[2])


@pytest.mark.parametrize(
    "text",
    [
        "BEGIN ISOLATION LEVEL SERIALIZABLE;\n" + NOTED + "COMMIT;",
        NOTED + "SELECT 1",
        NOTED + "CREATE TABLE t (a int);\n" + LARGE,
        "CREATE TABLE t (a int);\nCOPY t FROM stdin;\n1\n\\.\n" + NOTED,
    ],
    ids=["a BEGIN of its own", "no last semicolon", "many statements", "rows of COPY"],
)
def test_any_other_file_has_its_commit_in_a_message_behind_it(project: Project, text: str) -> None:
    project.put("001_n.sql", text)
    project.migrate()
    ((message,),) = project.rows("SELECT message FROM noted")
    assert "COMMIT" not in message
    assert project.recorded() == ["001"]


@pytest.mark.parametrize("there", [False, True])
def test_a_file_that_another_runner_records_first_leaves_nothing_of_ours(project: Project, there: bool) -> None:
    """Even where it fails for what the other has made."""
    project.put("000_first.sql", "CREATE TABLE t (a int);")
    project.migrate()
    if there:
        project.rows("CREATE TABLE u (a int)")
    project.put("001_a.sql", "INSERT INTO t VALUES (1);\nCREATE TABLE u (a int);")
    project.put("002_b.sql", "INSERT INTO t VALUES (2);")
    begun = slipped_in(project, "001_a.sql")
    outcome = project.migrate()
    assert begun == ["001_a.sql", "002_b.sql"]
    assert [one.migration.version for one in outcome.applied] == ["002"]
    assert outcome.applied_by_others == 1
    assert project.rows("SELECT a FROM t") == [(2,)]
    assert project.has("u") is there


def test_small_and_large_files_follow_each_other(project: Project) -> None:
    project.put("001_a.sql", "CREATE TABLE t (a int);")
    project.put("002_b.sql", LARGE)
    project.put("003_c.sql", "INSERT INTO t VALUES (3);")
    project.put("004_d.sql", LARGE)
    project.put("005_e.sql", LARGE)
    project.put("006_f.sql", "-- migrate: no-transaction\nINSERT INTO t VALUES (6);")
    project.put("007_g.sql", "INSERT INTO t VALUES (7);")
    outcome = project.migrate()
    assert [one.migration.version for one in outcome.applied] == [f"{number:03}" for number in range(1, 8)]
    told = [event.migration.version for event in project.events if isinstance(event, MigrationApplied)]
    assert told == project.recorded()
    assert project.rows("SELECT count(*) FROM t") == [(1803,)]


def test_a_commit_that_was_not_seen_is_told_as_what_it_is(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Should the lexer ever take two statements for one."""
    unseen = Part(PartKind.STATEMENT, b"CREATE TABLE t (a int); COMMIT;", 1, 0)
    monkeypatch.setattr(envelope, "shareable_batch", lambda _work: Batch((unseen,)))
    project.put("001_a.sql", "CREATE TABLE t (a int);")
    failed = project.failure()
    assert str(failed).endswith("something in it commits or rolls back")
    assert failed.aftermath.startswith("what ran up to that point may be committed, the change of its record included")
    assert (project.has("t"), project.recorded()) == (True, ["001"])


def test_a_deferred_trigger_that_divides_by_zero_is_not_taken_for_a_lost_claim(project: Project) -> None:
    project.put(
        "001_a.sql",
        "CREATE TABLE t (a int);\n"
        "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM 1 / NEW.a; RETURN NULL; END $$;\n"
        "CREATE CONSTRAINT TRIGGER later AFTER INSERT ON t DEFERRABLE INITIALLY DEFERRED\n"
        "  FOR EACH ROW EXECUTE FUNCTION f();\n"
        "INSERT INTO t VALUES (0);",
    )
    failed = project.failure()
    assert (str(failed), failed.failure.file, failed.failure.sqlstate) == ("division by zero", "001_a.sql", "22012")
    assert (project.recorded(), project.has("t")) == ([], False)


def test_what_others_were_in_the_way_of_is_run_again(
    project: Project, other: psycopg.Connection[tuple[Any, ...]]
) -> None:
    project.put("001_a.sql", "CREATE TABLE t (a int);")
    project.migrate()
    project.put("002_b.sql", "CREATE TABLE u (a int);\nALTER TABLE t ADD COLUMN b int;")
    other.execute("LOCK TABLE t IN ACCESS SHARE MODE")

    def let_go(event: Event) -> None:
        if isinstance(event, MigrationRetrying):
            other.rollback()

    project.react = let_go
    project.migrate(waits=WaitLimits(lock_timeout_ms=50, lock_retries=2))
    assert project.recorded() == ["001", "002"]
    assert sum(isinstance(event, MigrationRetrying) for event in project.events) == 1
