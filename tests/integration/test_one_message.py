"""A small file is one message from BEGIN to COMMIT; a migration is recorded if and only if it ran."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from kernel.apply import transaction
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
    assert message.index("BEGIN") < message.index(NOTED) < message.index("COMMIT")


@pytest.mark.parametrize(
    "text",
    [
        "BEGIN ISOLATION LEVEL SERIALIZABLE;\n" + NOTED + "COMMIT;",
        NOTED + "SELECT 1",
        NOTED + "CREATE TABLE t (a int);\n" + LARGE,
        "CREATE TABLE t (a int);\nCOPY t FROM stdin;\n1\n\\.\n" + NOTED,
        "CREATE TABLE t (a int);\n" + NOTED + "COPY t FROM stdin;\n1\n\\.\n",
    ],
    ids=["a BEGIN of its own", "no last semicolon", "many statements", "COPY inside", "COPY at the end"],
)
def test_any_other_file_is_applied_and_recorded_too(project: Project, text: str) -> None:
    project.put("001_n.sql", text)
    project.migrate()
    assert project.rows("SELECT count(*) FROM noted") == [(1,)]
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


RULED = """\
CREATE TABLE ruled (i int);
CREATE RULE two AS ON INSERT TO ruled DO INSTEAD (SELECT 1; SELECT 2);
INSERT INTO ruled VALUES (1);
"""


@pytest.mark.parametrize("single_transaction", [False, True])
@pytest.mark.parametrize("last", ["", "CREATE TABLE after_it (i int);", "INSERT INTO ruled VALUES (1)"])
def test_results_of_a_rule_are_taken_neither_for_the_claim_nor_for_the_end(
    project: Project, *, last: str, single_transaction: bool
) -> None:
    project.put("001_a.sql", RULED + last)
    project.put("002_b.sql", "CREATE TABLE b (i int);")
    assert len(project.migrate(single_transaction=single_transaction).applied) == 2
    assert project.recorded() == ["001", "002"]
    assert project.has("b")


@pytest.mark.parametrize("single_transaction", [False, True])
def test_a_trigger_that_keeps_the_record_out_is_no_other_runner(project: Project, *, single_transaction: bool) -> None:
    project.put("001_a.sql", "CREATE TABLE a (i int);")
    project.migrate()
    project.rows(
        "CREATE FUNCTION skip() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RETURN NULL; END$$;"
        "CREATE TRIGGER t BEFORE INSERT ON schema_migrations FOR EACH ROW EXECUTE FUNCTION skip()"
    )
    project.put("002_b.sql", "CREATE TABLE b (i int);")
    failed = project.failure(single_transaction=single_transaction)
    assert failed.failure.file == "002_b.sql"
    assert str(failed).startswith("cannot insert its record into public.schema_migrations: the statement has no effect")
    assert (project.recorded(), project.has("b")) == (["001"], False)


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


@pytest.mark.parametrize(("end", "applied"), [("COMMIT", True), ("ROLLBACK", False)])
def test_a_transaction_that_ends_inside_a_file_is_an_error(
    project: Project, monkeypatch: pytest.MonkeyPatch, end: str, applied: bool
) -> None:
    """Should the lexer ever take two statements for one."""
    unseen = Part(PartKind.STATEMENT, f"CREATE TABLE t (a int); {end};".encode(), 1, 0)
    monkeypatch.setattr(transaction, "split_into_batches", lambda *_, **__: iter([Batch((unseen,))]))
    project.put("001_a.sql", "CREATE TABLE t (a int);")
    failed = project.failure()
    assert str(failed).endswith("something in it commits or rolls back")
    assert failed.aftermath.startswith("what ran up to that point may be committed, the change of its record included")
    assert (project.has("t"), project.recorded()) == (applied, ["001"] if applied else [])


def test_a_failed_cast_in_a_deferred_trigger_is_not_taken_for_a_lost_claim(project: Project) -> None:
    project.put(
        "001_a.sql",
        "CREATE TABLE t (a text);\n"
        "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM NEW.a::int; RETURN NULL; END $$;\n"
        "CREATE CONSTRAINT TRIGGER later AFTER INSERT ON t DEFERRABLE INITIALLY DEFERRED\n"
        "  FOR EACH ROW EXECUTE FUNCTION f();\n"
        "INSERT INTO t VALUES ('not ours');",
    )
    failed = project.failure()
    assert (failed.failure.file, failed.failure.sqlstate) == ("001_a.sql", "22P02")
    assert str(failed) == 'invalid input syntax for type integer: "not ours"'
    assert (project.recorded(), project.has("t")) == ([], False)


def test_a_blocked_file_runs_again_after_a_lock_timeout(
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
