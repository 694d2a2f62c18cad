"""A file outside of a transaction that lets go of the lock, or changes the runner's tables, is stopped at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from kernel.apply.events import MigrationProgressed
from kernel.config.ledger_name import LedgerName
from kernel.db.advisory_lock import advisory_lock_key
from kernel.errors import Drift, LockBusy, MigrationFailed
from kernel.plan import VersionState

if TYPE_CHECKING:
    from tests.integration.conftest import Project

HEAD = "-- migrate: no-transaction\n"
PROGRESS = "schema_migrations_progress"
LOCK = advisory_lock_key("public", "schema_migrations")
GATE = 4711


@pytest.fixture(autouse=True)
def _table(project: Project) -> None:
    project.put("001_t.sql", "CREATE TABLE t (a int);")
    project.migrate()


def take_the_lock_when_it_is_free(project: Project) -> psycopg.Connection[Any]:
    """A connection that holds the runners' lock as soon as they let go of it, and then opens the gate."""
    taker = psycopg.connect(project.url, autocommit=True, application_name="inv db.migrate 002_b.sql")
    taker.execute("SELECT pg_advisory_lock(%s)", (GATE,))
    return taker


@pytest.mark.parametrize(
    "statement",
    [
        f"SELECT pg_advisory_unlock_all(), pg_advisory_xact_lock({GATE});",
        f"DO $$ BEGIN PERFORM pg_advisory_unlock_all(); PERFORM pg_advisory_xact_lock({GATE}); END $$;",
        f"BEGIN; SELECT pg_advisory_unlock_all(); SELECT pg_advisory_xact_lock({GATE}); COMMIT;",
        "CALL p();",
    ],
)
def test_a_runner_that_lost_the_lock_to_another_stops(project: Project, statement: str) -> None:
    project.rows(
        "CREATE PROCEDURE p() LANGUAGE plpgsql AS "
        f"$$ BEGIN PERFORM pg_advisory_unlock_all(), pg_advisory_xact_lock({GATE}); COMMIT; END $$"
    )
    project.put("002_b.sql", HEAD + "INSERT INTO t VALUES (1);\n" + statement + "\nINSERT INTO t VALUES (2);\n")
    taker = take_the_lock_when_it_is_free(project)

    def take(event: object) -> None:
        if isinstance(event, MigrationProgressed) and event.statements == 1:
            # The lock is still the runner's. The gate opens once it is not.
            taker.pgconn.send_query(f"SELECT pg_advisory_lock({LOCK}); SELECT pg_advisory_unlock({GATE})".encode())

    project.react = take
    with pytest.raises(LockBusy) as lost:
        project.migrate()
    message = str(lost.value)
    assert message.startswith("002_b.sql:3: the file let go of the lock, and another runner has it now: pid ")
    assert "statement 1, down to line 2, committed and kept; the next run goes on with statement 2" in message
    taker.close()
    assert project.rows("SELECT a FROM t") == [(1,)]
    assert project.recorded() == ["001"]


@pytest.mark.parametrize(
    "statement",
    ["DISCARD ALL;", "SELECT pg_advisory_unlock_all();", "BEGIN; SELECT pg_advisory_unlock_all(); COMMIT;"],
)
def test_a_lock_that_was_let_go_is_taken_again_after_the_statement(project: Project, statement: str) -> None:
    project.put("002_b.sql", HEAD + statement + "\nINSERT INTO t VALUES (2);\nSELECT pg_sleep(0);\n")
    held = "SELECT DISTINCT pid FROM pg_locks WHERE locktype = 'advisory' AND granted"
    counts: list[int] = []
    project.react = lambda event: (
        counts.append(len(project.rows(held))) if isinstance(event, MigrationProgressed) else None
    )
    project.migrate()
    assert counts[-2:] == [1, 1]
    assert project.rows(held) == []


def test_a_lock_that_was_let_go_is_taken_again_for_the_ledger_that_is_named(project: Project) -> None:
    project.rows("DROP TABLE schema_migrations, schema_migrations_progress, t")
    project.ledger = LedgerName(schema="public", table="ours")
    project.put("002_b.sql", HEAD + "DISCARD ALL;\nSELECT pg_sleep(0);\n")
    held = (
        "SELECT DISTINCT (classid::bigint << 32) + objid::bigint FROM pg_locks WHERE locktype = 'advisory' AND granted"
    )
    keys: list[tuple[int, ...]] = []
    project.react = lambda event: keys.extend(project.rows(held)) if isinstance(event, MigrationProgressed) else None
    project.migrate()
    assert set(keys) == {(advisory_lock_key("public", "ours"),)}


def test_two_runners_at_once_do_each_statement_once_though_the_file_lets_go_of_the_lock(project: Project) -> None:
    project.put("002_b.sql", HEAD + "".join(f"INSERT INTO t VALUES ({n});\nDISCARD ALL;\n" for n in range(20)))
    project.put("003_c.sql", "INSERT INTO t VALUES (20);")

    def run(_number: int) -> None:
        with suppress(LockBusy):
            project.reached().migrate()

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(run, range(3)))
    project.migrate()
    assert project.rows("SELECT a FROM t ORDER BY a") == [(n,) for n in range(21)]
    assert project.recorded() == ["001", "002", "003"]


def test_a_runner_stops_when_another_went_on_with_the_file_in_the_meantime(project: Project) -> None:
    project.put(
        "002_b.sql",
        HEAD + f"INSERT INTO t VALUES (1);\nSELECT pg_advisory_unlock_all(), pg_advisory_xact_lock({GATE});\n"
        "INSERT INTO t VALUES (2);\n",
    )
    second = project.reached()
    gate = psycopg.connect(project.url, autocommit=True)
    gate.execute("SELECT pg_advisory_lock(%s)", (GATE,))

    def go_on_elsewhere(event: object) -> None:
        if isinstance(event, MigrationProgressed) and event.statements == 1:
            gate.pgconn.send_query(
                f"SELECT pg_advisory_lock({LOCK}); "
                f"UPDATE {PROGRESS} SET finished = 3; "  # as another runner does that is quicker
                f"SELECT pg_advisory_unlock({LOCK}), pg_advisory_unlock({GATE})".encode()
            )

    project.react = go_on_elsewhere
    with pytest.raises(LockBusy, match=f"its progress in public.{PROGRESS} is not as this run saved it"):
        project.migrate()
    gate.close()
    assert second.rows("SELECT a FROM t") == [(1,)]
    assert project.recorded() == ["001"]


CHANGES = [
    "DELETE FROM schema_migrations",
    "TRUNCATE schema_migrations",
    "UPDATE schema_migrations SET checksum = 'x'",
    "UPDATE schema_migrations SET applied_at = applied_at - interval '1 day'",
    "INSERT INTO schema_migrations VALUES ('009', '009_x.sql', now(), 'x')",
    "INSERT INTO schema_migrations VALUES ('002', '002_b.sql', now(), 'x')",
    "DROP TABLE schema_migrations",
    "ALTER TABLE schema_migrations RENAME TO migrations",
    "ALTER TABLE schema_migrations RENAME COLUMN version TO number",
    "ALTER TABLE schema_migrations SET SCHEMA s",
    f"DELETE FROM {PROGRESS}",
    f"DROP TABLE {PROGRESS}",
]


@pytest.mark.slow
@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize(
    "call", ["SELECT change();", "DO $x$ BEGIN PERFORM change(); END $x$;", "BEGIN;\nSELECT change();\nCOMMIT;"]
)
def test_a_statement_that_changes_the_runners_tables_is_rolled_back(project: Project, change: str, call: str) -> None:
    """The text shows none of these changes; one that it shows is refused before anything runs."""
    project.rows(
        f"CREATE SCHEMA s; CREATE FUNCTION change() RETURNS void LANGUAGE plpgsql AS $x$ BEGIN {change}; END $x$"
    )
    records = project.rows("SELECT * FROM schema_migrations")
    project.put("002_b.sql", HEAD + f"INSERT INTO t VALUES (1);\n{call}\nSELECT 1;\n")
    with pytest.raises(MigrationFailed, match=r"leave (that table|.*_progress) to the runner$"):
        project.migrate()
    assert project.rows("SELECT * FROM schema_migrations") == records
    assert project.states()["002"] is VersionState.PARTIAL
    assert project.rows(f"SELECT finished FROM {PROGRESS}") == [(1,)]


def test_records_changed_by_a_trigger_at_commit_are_noticed(project: Project) -> None:
    project.rows(
        "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN DELETE FROM schema_migrations; RETURN NULL; END $$; "
        "CREATE CONSTRAINT TRIGGER c AFTER INSERT ON t DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION f()"
    )
    project.put("002_b.sql", HEAD + "INSERT INTO t VALUES (1);\n")
    failed = project.failure()
    assert str(failed) == "it changes the records in public.schema_migrations; leave that table to the runner"
    assert failed.failure.line == 2
    assert failed.aftermath == "none of its statements is committed; the next run begins with the first"
    assert project.recorded() == ["001"]


def test_a_procedure_that_empties_every_table_is_named_with_the_records_that_are_gone(project: Project) -> None:
    project.rows(
        f"CREATE PROCEDURE p() LANGUAGE plpgsql AS $$ BEGIN TRUNCATE t, schema_migrations, {PROGRESS}; COMMIT; END $$"
    )
    project.put("002_b.sql", HEAD + "INSERT INTO t VALUES (1);\nCALL p();\nINSERT INTO t VALUES (2);\n")
    failed = project.failure()
    assert str(failed) == (
        "it changed the records in public.schema_migrations (001 is gone); leave that table to the runner"
    )
    assert failed.failure.line == 3
    assert failed.aftermath == (
        "statement 1, down to line 2, committed and kept, and statement 2, of which no progress is saved"
    )
    assert failed.hint == "put the table and its records back as they were, then run inv db.migrate again"


def test_what_a_procedure_committed_is_said_as_it_is(project: Project) -> None:
    project.rows(
        "CREATE PROCEDURE p() LANGUAGE plpgsql AS "
        "$$ BEGIN DELETE FROM schema_migrations WHERE version = '001'; COMMIT; END $$"
    )
    project.put("002_b.sql", HEAD + "INSERT INTO t VALUES (1);\nCALL p();\nINSERT INTO t VALUES (2);\n")
    failed = project.failure()
    assert str(failed) == (
        "it changed the records in public.schema_migrations (001 is gone); leave that table to the runner"
    )
    assert failed.failure.line == 3
    assert failed.aftermath == ("statements 1 to 2, down to line 3, committed and kept, and that change with it")
    assert failed.hint == "put the table and its records back as they were, then run inv db.migrate again"
    assert project.rows("SELECT a FROM t") == [(1,)]
    assert project.states() == {"001": VersionState.OUT_OF_ORDER, "002": VersionState.PARTIAL}
    with pytest.raises(Drift, match="pending, but 002 is partly applied; put its record back if it ran before, or"):
        project.migrate()
    assert project.recorded() == []


def test_a_procedure_that_dropped_the_ledger_and_committed_is_said_as_it_is(project: Project) -> None:
    project.rows("CREATE PROCEDURE p() LANGUAGE plpgsql AS $$ BEGIN DROP TABLE schema_migrations; COMMIT; END $$")
    project.put("002_b.sql", HEAD + "INSERT INTO t VALUES (1);\nCALL p();\nINSERT INTO t VALUES (2);\n")
    failed = project.failure()
    assert str(failed) == (
        'it drops or alters a table of the runner (relation "public.schema_migrations" does not exist); '
        f"leave public.schema_migrations and public.{PROGRESS} to the runner"
    )
    assert failed.aftermath == (
        "statement 1, down to line 2, committed and kept, and statement 2, of which no progress is saved"
    )
    assert project.rows("SELECT a FROM t") == [(1,)]


def test_settings_and_roles_of_the_file_do_not_make_the_records_look_changed(project: Project) -> None:
    project.put(
        "002_b.sql",
        HEAD + "SET DateStyle = 'SQL, DMY'; SET IntervalStyle = 'sql_standard'; SET bytea_output = 'escape';\n"
        "SET search_path = ''; SET TimeZone = 'Asia/Tokyo'; SET extra_float_digits = -15; SET ROLE pg_monitor;\n"
        "SELECT 1;\n",
    )
    project.migrate()
    assert project.recorded() == ["001", "002"]


def test_the_records_that_a_procedure_removed_are_named_in_the_first_run_of_a_database_too(
    project: Project,
) -> None:
    project.rows("DROP TABLE schema_migrations, schema_migrations_progress, t")
    project.put(
        "002_b.sql",
        HEAD + "CREATE PROCEDURE clean() LANGUAGE plpgsql AS $$ BEGIN\n"
        "  EXECUTE 'DELETE FROM schema_' || 'migrations'; COMMIT; END $$;\nCALL clean();\n",
    )
    assert "(001 is gone)" in str(project.failure())
    assert project.states() == {"001": VersionState.OUT_OF_ORDER, "002": VersionState.PARTIAL}
