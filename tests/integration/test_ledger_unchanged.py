"""A file that changes the ledger, by whatever means, does not commit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from kernel.apply.executor import WaitLimits
from kernel.db.connection import open_session
from kernel.errors import MigrationFailed
from kernel.operations.rollback import RollbackOptions, rollback
from kernel.plan import VersionState

if TYPE_CHECKING:
    from tests.integration.conftest import Project

# What the text of a file shows is refused before it runs; this hides the name of the table from the reader.
HIDDEN = "DO $do$BEGIN EXECUTE replace($sql${}$sql$, '@', 'schema_migra' || 'tions'); END$do$;"
OTHER = "001_a.sql"
CHANGES_OTHERS = [
    "DELETE FROM @ WHERE version = '001'",
    "UPDATE @ SET checksum = 'x' WHERE version = '001'",
    "UPDATE @ SET applied_at = applied_at WHERE version = '001'",
    "INSERT INTO @ (version, filename, checksum) VALUES ('003', '003_c.sql', 'x')",
    "DELETE FROM @ WHERE version = '001'; INSERT INTO @ VALUES ('001', '001_a.sql', now(), 'x')",
]
CHANGES_OWN = [
    "TRUNCATE @",
    "DELETE FROM @",
    "UPDATE @ SET version = '009' WHERE version = '002'",
    "DELETE FROM @ WHERE version = '002'",
    "DROP TABLE @; CREATE TABLE @ (version text, filename text, applied_at timestamp, checksum text)",
]
REMOVES_TABLE = [
    "DROP TABLE @",
    "ALTER TABLE @ RENAME TO other",
    "CREATE SCHEMA elsewhere; ALTER TABLE @ SET SCHEMA elsewhere",
    "ALTER TABLE @ RENAME COLUMN version TO number",
]


LOGGED = """\
CREATE FUNCTION log() RETURNS trigger LANGUAGE plpgsql AS
  'BEGIN INSERT INTO log VALUES (new.version); RETURN NULL; END';
CREATE TRIGGER log AFTER INSERT ON schema_migrations FOR EACH ROW EXECUTE FUNCTION log();
"""
TRIGGER = """\
CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $f$BEGIN {{}}; RETURN NULL; END$f$;
{} EXECUTE FUNCTION f();
INSERT INTO a VALUES (1);"""
RULE = HIDDEN.format(f"CREATE RULE r AS ON INSERT TO a DO {CHANGES_OTHERS[0]}") + "\nINSERT INTO a VALUES (1);"


@pytest.fixture(autouse=True)
def _one_applied(project: Project) -> None:
    project.put(OTHER, "CREATE TABLE a (i int);")
    project.migrate()


def refusal(project: Project, text: str, **options: object) -> str:
    """The message for 002 with this text, after which nothing may be different."""
    before = project.rows("SELECT * FROM schema_migrations")
    project.put("002_b.sql", f"CREATE TABLE b (i int);\n{text}\n")
    failed = project.failure(**options)
    assert failed.failure.file == "002_b.sql"
    assert failed.aftermath.startswith("rolled back")
    assert project.rows("SELECT * FROM schema_migrations") == before
    assert not project.has("b")
    return str(failed)


@pytest.mark.parametrize("change", CHANGES_OTHERS)
def test_a_file_that_changes_records_of_others_does_not_commit(project: Project, change: str) -> None:
    assert "records of other migrations in public.schema_migrations changed while it ran" in refusal(
        project, HIDDEN.format(change)
    )


@pytest.mark.parametrize("change", CHANGES_OWN)
def test_a_file_that_changes_its_own_record_does_not_commit(project: Project, change: str) -> None:
    assert "it changes its own record in public.schema_migrations" in refusal(project, HIDDEN.format(change))


@pytest.mark.parametrize("change", REMOVES_TABLE)
def test_a_file_that_drops_moves_or_renames_the_ledger_does_not_commit(project: Project, change: str) -> None:
    assert "public.schema_migrations cannot be read after it" in refusal(project, HIDDEN.format(change))


GUARDS = (
    "CREATE RULE r AS ON INSERT TO @ DO INSTEAD NOTHING",
    "ALTER TABLE @ ENABLE ROW LEVEL SECURITY",
    "ALTER TABLE @ ADD CHECK (version < ''003'')",
    "CREATE TRIGGER t BEFORE INSERT ON @ FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    "CREATE TRIGGER t BEFORE DELETE ON @ EXECUTE FUNCTION suppress_redundant_updates_trigger()",
)


@pytest.mark.parametrize("guard", GUARDS)
def test_a_file_after_which_the_ledger_may_take_no_record_does_not_commit(project: Project, guard: str) -> None:
    statement = f"DO $do$BEGIN EXECUTE replace('{guard}', '@', 'schema_migra' || 'tions'); END$do$;"
    message = (
        "it changes rules, BEFORE triggers, CHECK constraints or row security of public.schema_migrations; leave that"
    )
    assert message in refusal(project, statement)
    project.put("002_b.sql", f"-- migrate: no-transaction\n{statement}\nSELECT 1;\n")
    assert "it changes rules, BEFORE triggers, CHECK constraints or row security of" in str(project.failure())
    assert project.states() == {"001": VersionState.APPLIED, "002": VersionState.PENDING}


def test_a_trigger_that_fires_after_a_record_is_written_is_tolerated(project: Project) -> None:
    project.put("002_b.sql", "CREATE TABLE log (v text);\n" + LOGGED)
    project.put("003_c.sql", "SELECT 1;")
    project.migrate()
    assert project.rows("SELECT v FROM log") == [("003",)]


def test_a_trigger_that_was_there_before_the_run_is_no_change_of_the_file(project: Project) -> None:
    project.rows(
        "CREATE FUNCTION pass() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'; "
        "CREATE TRIGGER t BEFORE INSERT ON schema_migrations FOR EACH ROW EXECUTE FUNCTION pass()"
    )
    project.put("002_b.sql", "SELECT 1;")
    project.migrate()
    assert project.recorded() == ["001", "002"]


def test_the_counts_before_and_after_are_named(project: Project) -> None:
    assert "(1 before, 0 after)" in refusal(project, HIDDEN.format(CHANGES_OTHERS[0]))
    assert "leave that table to the runner: inv db.rollback, db.baseline" in refusal(
        project, HIDDEN.format(CHANGES_OTHERS[1])
    )


@pytest.mark.parametrize(
    "text",
    [
        "CREATE FUNCTION f() RETURNS void LANGUAGE plpgsql AS $f$BEGIN {}; END$f$;\nSELECT f();",
        TRIGGER.format("CREATE TRIGGER t AFTER INSERT ON a FOR EACH STATEMENT"),
        TRIGGER.format("CREATE CONSTRAINT TRIGGER t AFTER INSERT ON a DEFERRABLE INITIALLY DEFERRED FOR EACH ROW"),
        "DO $do$BEGIN {}; RAISE EXCEPTION SQLSTATE 'KX001'; EXCEPTION WHEN SQLSTATE 'KX001' THEN {}; END$do$;",
        "SAVEPOINT s;\nDO $do$BEGIN {}; END$do$;\nRELEASE s;",
        RULE,
    ],
    ids=["function", "trigger", "deferred trigger", "exception block", "savepoint", "rule"],
)
def test_the_means_make_no_difference(project: Project, text: str) -> None:
    change = "EXECUTE replace('DELETE FROM @ WHERE version = ''001''', '@', 'schema_migra' || 'tions')"
    assert "records of other migrations in" in refusal(project, text.replace("{}", change))


def test_a_change_that_a_savepoint_undoes_is_none(project: Project) -> None:
    project.put(
        "002_b.sql", f"SAVEPOINT s;\n{HIDDEN.format(CHANGES_OTHERS[0])}\nROLLBACK TO s;\nCREATE TABLE b (i int);"
    )
    project.migrate()
    assert project.recorded() == ["001", "002"]


def test_in_a_single_transaction_all_files_are_rolled_back(project: Project) -> None:
    project.put("003_c.sql", HIDDEN.format("DELETE FROM @ WHERE version = '002'"))
    project.put("002_b.sql", "CREATE TABLE b (i int);")
    failed = project.failure(single_transaction=True)
    assert failed.failure.file == "003_c.sql"
    assert "(2 before, 1 after)" in str(failed)
    assert project.recorded() == ["001"]


@pytest.mark.parametrize("change", CHANGES_OWN)
def test_in_a_single_transaction_a_file_that_changes_its_own_record_is_named(project: Project, change: str) -> None:
    project.put("003_c.sql", "CREATE TABLE c (i int);")
    assert "it changes its own record" in refusal(project, HIDDEN.format(change), single_transaction=True)


def test_a_file_of_many_messages_is_checked_at_its_end(project: Project) -> None:
    many = "INSERT INTO a VALUES (1);\n" * 1200
    assert "records of other migrations in" in refusal(project, f"{many}{HIDDEN.format(CHANGES_OTHERS[0])}\n{many}")


def test_files_of_every_kind_follow_each_other_unharmed(project: Project) -> None:
    many = "INSERT INTO a VALUES (1);\n" * 600
    for number in range(2, 6):
        project.put(f"{number:03}_small.sql", f"CREATE TABLE t{number} (i int);")
    project.put("006_large.sql", many)
    project.put("007_apart.sql", "CREATE INDEX CONCURRENTLY ON a (i);")
    project.put("008_small.sql", "SELECT 1;")
    project.put("009_begin.sql", "BEGIN ISOLATION LEVEL REPEATABLE READ;\nSELECT 1;\nCOMMIT;")
    project.put("010_small.sql", HIDDEN.format("ALTER TABLE @ ADD COLUMN note text"))
    assert len(project.migrate().applied) == 9
    project.put("011_small.sql", "SELECT 1;")
    project.put("012_small.sql", "SELECT 1;")
    assert len(project.migrate(single_transaction=True).applied) == 2


def test_a_ledger_in_a_schema_that_the_file_drops_keeps_it_from_committing(project: Project) -> None:
    project.rows("CREATE SCHEMA app; ALTER TABLE schema_migrations SET SCHEMA app")
    moved = project.reached(options="-csearch_path=app,public")
    moved.put("002_b.sql", "DO $$BEGIN EXECUTE replace('DROP SCHEMA @ CASCADE', '@', 'ap' || 'p'); END$$;")
    assert "app.schema_migrations cannot be read after it" in str(moved.failure())
    assert project.rows("SELECT version FROM app.schema_migrations") == [("001",)]


def test_a_revert_file_that_changes_other_records_does_not_commit(project: Project) -> None:
    project.put("002_b.sql", "CREATE TABLE b (i int);")
    project.put("revert/002_b.sql", "DROP TABLE b;\n" + HIDDEN.format(CHANGES_OTHERS[0]))
    project.migrate()
    with open_session(project.url) as session, pytest.raises(MigrationFailed) as failed:
        rollback(session, project.files(), RollbackOptions(revert=True, waits=WaitLimits()), project.observe)
    assert "records of other migrations in public.schema_migrations changed while it ran (1 before, 0 after)" in str(
        failed.value
    )
    assert (project.recorded(), project.has("b")) == (["001", "002"], True)
