"""The traced run: it is that of db.migrate, times are exact, failures are reported, and event triggers are dropped."""

from __future__ import annotations

import re
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from kernel.apply.events import MigrationApplied, MigrationRetrying, NoticeReceived
from kernel.apply.executor import WaitLimits
from kernel.errors import Drift, UsageError
from kernel.rehearsal.tracing import catalog
from kernel.rehearsal.tracing.catalog import CatalogSnapshot, read_locked_relations
from kernel.rehearsal.tracing.lock_spans import blocking_by_relation
from tests.integration.rehearsal.tracing.conftest import facts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kernel.rehearsal.result import Lock, Run
    from tests.integration.rehearsal.tracing.conftest import Clone

STEPS = "-- migrate: no-transaction\n"


def lock(run: Run, mode: str, relation: str) -> Lock:
    """The only lock of this mode on this relation."""
    (found,) = [
        one
        for statement in run.statements
        for one in statement.locks
        if (one.mode, one.relation.name) == (mode, f"public.{relation}")
    ]
    return found


@pytest.fixture
def application(clone: Clone) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
    """Somebody who uses the clone meanwhile."""
    with psycopg.connect(clone.url) as connection:
        yield connection
        connection.rollback()


def let_go_when_waited_for(application: psycopg.Connection[tuple[Any, ...]], after_seconds: float) -> None:
    """End the application's transaction so long after a session began to wait for one of its locks."""
    waiting = "SELECT FROM pg_locks WHERE NOT granted AND %s = ANY(pg_blocking_pids(pid))"
    with psycopg.connect(application.info.dsn, autocommit=True) as look:
        while look.execute(waiting, (application.info.backend_pid,)).rowcount == 0:
            time.sleep(0.005)
    time.sleep(after_seconds)
    application.rollback()


def test_migrations_are_applied_as_by_migrate(clone: Clone) -> None:
    clone.put("001_a.sql", "CREATE TABLE a (x int);\nINSERT INTO a VALUES (1);\nINSERT INTO a VALUES (2);")
    clone.put("002_b.sql", STEPS + "INSERT INTO a VALUES (3);\nVACUUM a;")
    clone.put("003_c.sql", "CREATE INDEX CONCURRENTLY ON a (x);")
    runs = clone.rehearse()
    assert clone.rows("SELECT version FROM schema_migrations ORDER BY 1") == [("001",), ("002",), ("003",)]
    assert clone.rows("SELECT sum(x) FROM a") == [(6,)]
    assert [(run.version, run.filename, run.transactional) for run in runs] == [
        ("001", "001_a.sql", True),
        ("002", "002_b.sql", False),
        ("003", "003_c.sql", False),
    ]
    assert len([event for event in clone.events if isinstance(event, MigrationApplied)]) == 3
    assert clone.lines == []
    assert facts(runs[0]) == facts(runs[1]) == facts(runs[2]) == []  # no session waits for new relations


def test_consecutive_inserts_are_one_statement(clone: Clone) -> None:
    run = clone.run("INSERT INTO log VALUES ('a');\n" * 3 + "SELECT 1;\n" + "INSERT INTO log VALUES ('b');\n")
    assert [(one.line, one.sql) for one in run.statements] == [
        (1, "INSERT INTO log VALUES ('a');\n-- and 2 more INSERTs"),
        (4, "SELECT 1;"),
        (5, "INSERT INTO log VALUES ('b');"),
    ]


def test_times_follow_each_other(clone: Clone) -> None:
    clone.put("001_a.sql", "SELECT pg_sleep(0.05);\nALTER TABLE log ADD COLUMN a int;\nSELECT pg_sleep(0.1);")
    clone.put("002_b.sql", "SELECT 1;")
    first, second = clone.rehearse()
    sleep, alter, again = first.statements
    assert 0 <= first.at_seconds <= sleep.at_seconds
    assert sleep.at_seconds <= alter.at_seconds <= again.at_seconds
    assert sleep.at_seconds + sleep.seconds <= alter.at_seconds
    assert sleep.seconds >= 0.05
    assert first.seconds >= 0.15
    assert second.at_seconds >= first.at_seconds + first.seconds


def test_a_lock_is_held_from_its_statement_to_the_commit(clone: Clone) -> None:
    run = clone.run("SELECT pg_sleep(0.05);\nALTER TABLE log ADD COLUMN a int;\nSELECT pg_sleep(0.1);")
    held = lock(run, "ACCESS EXCLUSIVE", "log")
    assert run.statements[1].at_seconds <= held.at_seconds <= run.statements[2].at_seconds
    assert held.at_seconds + held.held_seconds == pytest.approx(run.at_seconds + run.seconds)
    assert held.held_seconds > 0.1
    assert [one.locks for one in (run.statements[0], run.statements[2])] == [(), ()]


def test_a_lock_of_a_step_is_held_for_that_step(clone: Clone) -> None:
    run = clone.run(STEPS + "ALTER TABLE log ADD COLUMN a int;\nSELECT pg_sleep(0.2);")
    held = lock(run, "ACCESS EXCLUSIVE", "log")
    assert held.at_seconds + held.held_seconds <= run.statements[1].at_seconds


def test_a_backfill_is_one_statement_with_the_rows_of_all_its_batches_and_their_times(clone: Clone) -> None:
    run = clone.run("-- migrate: batch=4000 by=orders.id pause=1h\nUPDATE orders SET paid = false WHERE paid;\n")
    (statement,) = run.statements
    assert "write orders +0 ~20000 -0" in facts(run)
    assert not [line for line in facts(run) if "schema_migrations" in line]
    assert {one.relation.name for one in statement.locks} <= {
        "public.orders",
        "public.orders_pkey",
        "public.orders_note",
    }
    (note,) = statement.notes
    assert re.fullmatch(r"5 batches of \S+ m?s, \S+ m?s at most", note)
    assert not run.transactional


def test_the_tracers_own_time_is_not_counted(clone: Clone, monkeypatch: pytest.MonkeyPatch) -> None:
    look = read_locked_relations

    def slow(connection: psycopg.Connection[tuple[Any, ...]], *, but: range) -> CatalogSnapshot:
        time.sleep(0.2)
        return look(connection, but=but)

    monkeypatch.setattr(catalog, "read_locked_relations", slow)
    run = clone.run("ALTER TABLE log ADD COLUMN a int;\nSELECT 1;\nSELECT 2;")
    assert run.seconds < 0.5  # without the 0.8 s of four looks
    assert lock(run, "ACCESS EXCLUSIVE", "log").held_seconds < 0.5


def test_with_a_single_transaction_locks_are_held_to_its_end(clone: Clone) -> None:
    clone.put("001_a.sql", "ALTER TABLE log ADD COLUMN a int;")
    clone.put("002_b.sql", "SELECT pg_sleep(0.1);")
    first, second = clone.rehearse(single_transaction=True)
    assert lock(first, "ACCESS EXCLUSIVE", "log").held_seconds > 0.1
    assert facts(second) == []


def test_waiting_for_a_lock_is_not_holding_it(clone: Clone, application: psycopg.Connection[tuple[Any, ...]]) -> None:
    application.execute("SELECT FROM log")
    with ThreadPoolExecutor() as executor:
        executor.submit(let_go_when_waited_for, application, 0.4)
        run = clone.run("ALTER TABLE log ADD COLUMN a int;")
    held = lock(run, "ACCESS EXCLUSIVE", "log")
    assert held.waited_seconds > 0.1
    assert held.at_seconds >= run.statements[0].at_seconds + held.waited_seconds
    assert held.at_seconds + held.held_seconds == pytest.approx(run.at_seconds + run.seconds)


def test_the_last_of_several_attempts_counts(clone: Clone, application: psycopg.Connection[tuple[Any, ...]]) -> None:
    clone.patience = WaitLimits(lock_timeout_ms=50, lock_retries=50, retry_pause_seconds=0.01)
    clone.put("001_a.sql", "UPDATE paid SET amount = 2;\nALTER TABLE log ADD COLUMN a int;")
    clone.put("002_b.sql", STEPS + "UPDATE paid SET amount = 3;\nALTER TABLE log ADD COLUMN b int;")
    application.execute("SELECT FROM log")
    clone.react = lambda event: application.rollback() if isinstance(event, MigrationRetrying) else None
    runs = clone.rehearse()
    assert any(isinstance(event, MigrationRetrying) for event in clone.events)
    assert [len(run.statements) for run in runs] == [2, 2]
    assert facts(runs[0]) == ["ACCESS EXCLUSIVE log", "scan paid 300", "write paid +0 ~300 -0"]
    assert [run.failed for run in runs] == [None, None]


def test_a_retried_step_is_listed_once(clone: Clone, application: psycopg.Connection[tuple[Any, ...]]) -> None:
    clone.patience = WaitLimits(lock_timeout_ms=50, lock_retries=50, retry_pause_seconds=0.01)
    application.execute("SELECT FROM log")
    clone.react = lambda event: application.rollback() if isinstance(event, MigrationRetrying) else None
    run = clone.run(STEPS + "UPDATE paid SET amount = 3;\nALTER TABLE log ADD COLUMN b int;")
    assert [one.line for one in run.statements] == [2, 3]
    assert facts(run) == ["ACCESS EXCLUSIVE log", "scan paid 300", "write paid +0 ~300 -0"]


def test_the_first_migration_that_fails_ends_the_run(clone: Clone) -> None:
    clone.put("001_a.sql", "SELECT 1;")
    clone.put(
        "002_b.sql",
        "ALTER TABLE log ADD COLUMN a int;\nALTER TABLE log ADD CHECK (a / 0 = 1);\nSELECT 1 / 0;",
    )
    clone.put("003_c.sql", "SELECT 1;")
    first, second = clone.rehearse()
    assert first.failed is None
    assert second.failed
    assert (second.failed.code, second.failed.message) == ("migration_failed", "division by zero")
    assert second.failed.aftermath.startswith("rolled back")
    assert second.failed.failure
    assert (second.failed.failure.line, second.failed.failure.sqlstate) == (3, "22012")
    assert [one.line for one in second.statements] == [1, 2, 3]
    assert lock(second, "ACCESS EXCLUSIVE", "log").held_seconds > 0


def test_a_no_transaction_file_that_fails_keeps_what_it_had_done(clone: Clone) -> None:
    run = clone.run(STEPS + "UPDATE paid SET amount = 3;\nCREATE UNIQUE INDEX CONCURRENTLY u ON paid (amount);")
    assert run.failed
    assert run.failed.failure
    assert run.failed.failure.sqlstate == "23505"
    assert "write paid +0 ~300 -0" in facts(run)
    assert clone.rows("SELECT indisvalid FROM pg_index WHERE indexrelid = 'u'::regclass") == [(False,)]


def test_files_that_cannot_be_run_fail_without_running_anything(clone: Clone) -> None:
    clone.put("001_a.sql", "CREATE TABLE a (x int);")
    clone.put("002_b.sql", "SELECT 'unterminated;")
    clone.put("003_c.sql", "COMMIT;")
    runs = clone.rehearse()
    assert [(run.filename, run.failed and run.failed.code, run.statements) for run in runs] == [
        ("002_b.sql", "file_invalid", ()),
        ("003_c.sql", "file_invalid", ()),
    ]
    assert "unterminated quote" in (runs[0].failed.message if runs[0].failed else "")
    assert clone.rows("SELECT to_regclass('a')") == [(None,)]


def test_drift_and_wrong_wishes_are_raised(clone: Clone) -> None:
    clone.put("001_a.sql", "SELECT 1;")
    with pytest.raises(UsageError):
        clone.rehearse(to="7")
    clone.rehearse()
    clone.put("001_a.sql", "SELECT 2;")
    with pytest.raises(Drift):
        clone.rehearse()


def test_commands_are_named_wherever_they_hide(clone: Clone) -> None:
    run = clone.run(
        "SET client_min_messages = error;\n"
        "CREATE FUNCTION hide() RETURNS void LANGUAGE plpgsql AS $$ BEGIN\n"
        '  CREATE TABLE "it\'s" (a int); DROP TABLE log; END $$;\n'
        "SET ROLE NONE;\nSET session_replication_role = replica;\n"
        "DO $$ BEGIN PERFORM hide(); ALTER TABLE paid DROP COLUMN amount; END $$;\n"
    )
    assert [one.commands for one in run.statements if one.commands] == [
        ("CREATE FUNCTION public.hide()",),
        (
            'CREATE TABLE public."it\'s"',
            "DROP TABLE public.log",
            "DROP TABLE COLUMN public.paid.amount",
            "ALTER TABLE public.paid",
        ),
    ]


def test_notices_belong_to_their_statement_without_those_of_the_tracer(clone: Clone) -> None:
    run = clone.run("SELECT 1;\nDO $$ BEGIN RAISE WARNING 'mind the gap'; EXECUTE 'DROP TABLE IF EXISTS nil'; END $$;")
    assert [one.notes for one in run.statements] == [
        (),
        ("WARNING: mind the gap", 'NOTICE: table "nil" does not exist, skipping'),
    ]
    noticed = [event.message for event in clone.events if isinstance(event, NoticeReceived)]
    assert noticed == ["mind the gap", 'table "nil" does not exist, skipping']


@pytest.mark.parametrize("sql", ["CREATE TABLE a (x int);", "SELECT 1 / 0;"])
def test_the_tracer_leaves_nothing_in_the_clone(clone: Clone, sql: str) -> None:
    everything = (
        "SELECT (SELECT count(*) FROM pg_event_trigger), (SELECT count(*) FROM pg_extension), "
        "(SELECT count(*) FROM pg_namespace), (SELECT count(*) FROM pg_proc)"
    )
    before = clone.rows(everything)
    clone.run(sql)
    assert clone.rows(everything) == before


def test_event_triggers_of_a_migration_are_its_own(clone: Clone) -> None:
    run = clone.run(
        "CREATE FUNCTION own() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN RAISE NOTICE 'own'; END $$;\n"
        "CREATE EVENT TRIGGER own ON ddl_command_end EXECUTE FUNCTION own();\nCREATE TABLE a (x int);"
    )
    assert run.failed is None
    assert run.statements[2].notes == ("NOTICE: own",)
    assert clone.rows("SELECT evtname FROM pg_event_trigger") == [("own",)]


def test_passwords_are_masked(clone: Clone) -> None:
    run = clone.run("DO $$ BEGIN IF false THEN CREATE ROLE r PASSWORD 'sesame'; END IF; END $$;\nSET ROLE NONE;")
    assert "sesame" not in repr(run)


def test_a_user_without_privileges_is_told_what_is_not_traced(
    clone: Clone, administrator: psycopg.Connection[tuple[Any, ...]]
) -> None:
    administrator.execute("DROP ROLE IF EXISTS ordinary")
    administrator.execute("CREATE ROLE ordinary LOGIN")
    with psycopg.connect(clone.url, autocommit=True) as connection:
        connection.execute("GRANT ALL ON SCHEMA public TO ordinary; GRANT ALL ON schema_migrations TO ordinary")
        connection.execute("ALTER TABLE log OWNER TO ordinary")
    clone.url = make_conninfo(clone.url, user="ordinary")
    try:
        run = clone.run("ALTER TABLE log ADD COLUMN a int;")
        assert run.failed is None
        assert facts(run) == ["ACCESS EXCLUSIVE log"]
        assert len(clone.lines) >= 1
        assert clone.lines[0].startswith("DDL inside DO blocks and functions is not traced: permission denied")
    finally:
        with psycopg.connect(make_conninfo(clone.url, user=administrator.info.user), autocommit=True) as connection:
            connection.execute("DROP OWNED BY ordinary CASCADE")
        administrator.execute("DROP ROLE ordinary")


def test_sizes_and_the_log_of_changes_are_measured(clone: Clone) -> None:
    clone.put("001_a.sql", "CREATE TABLE big AS SELECT g, repeat('x', 200) FROM generate_series(1, 20000) g;")
    clone.put("002_b.sql", "SELECT 1;")
    first, second = clone.rehearse()
    assert 4_500_000 < first.growth_bytes < 6_500_000
    assert first.wal_bytes >= first.statements[0].wal_bytes > 4_000_000
    assert abs(second.growth_bytes) < 200_000
    assert second.statements[0].wal_bytes < 10_000


def test_relations_keep_their_first_name_and_their_size(clone: Clone) -> None:
    clone.put("001_a.sql", 'ALTER TABLE orders RENAME TO "Orders";')
    clone.put("002_b.sql", 'DROP INDEX orders_note;\nALTER TABLE "Orders" ADD COLUMN z int;')
    _, second = clone.rehearse()
    table = lock(second, "ACCESS EXCLUSIVE", "orders").relation
    index = lock(second, "ACCESS EXCLUSIVE", "orders_note").relation
    assert (table.kind, table.rows, table.created) == ("table", 20_000, False)
    assert table.size_bytes > 800_000
    assert (index.kind, index.table) == ("index", "public.orders")


def test_an_index_is_everybodys_once_it_is_committed(clone: Clone) -> None:
    clone.put("001_a.sql", "CREATE INDEX orders_total ON orders (total);")
    clone.put("002_b.sql", "REINDEX INDEX orders_total;\nSELECT pg_sleep(0.05);")
    runs = clone.rehearse()
    assert facts(runs[0]) == ["SHARE orders", "scan orders 20000 under SHARE"]
    assert "ACCESS EXCLUSIVE orders_total" in facts(runs[1])
    blocked = {(one.version, one.relation.name): one for one in blocking_by_relation(runs)}
    assert blocked["001", "public.orders"].reads_seconds == 0
    assert blocked["001", "public.orders"].writes_seconds > 0
    assert blocked["002", "public.orders"].reads_seconds > 0.05


@pytest.mark.parametrize("count", [30, pytest.param(300, marks=pytest.mark.slow)])
def test_one_look_serves_several_hundred_relations(clone: Clone, count: int) -> None:
    """A look takes some milliseconds, however many relations the file itself has made."""
    tables = "".join(f"CREATE TABLE t{number} (a int PRIMARY KEY, b text);\n" for number in range(count))
    clone.put("001_a.sql", tables)
    clone.put("002_b.sql", "".join(f"ALTER TABLE t{number} ADD COLUMN c int;\n" for number in range(count // 3)))
    began = time.process_time()
    _, second = clone.rehearse(to="002")
    assert [one.locks[0].mode for one in second.statements] == ["ACCESS EXCLUSIVE"] * (count // 3)
    assert time.process_time() - began < 10


def test_each_transaction_of_a_file_is_traced_among_many_relations(clone: Clone) -> None:
    with psycopg.connect(clone.url) as connection:
        for number in range(120):
            connection.execute(f"CREATE TABLE filler_{number} (id int)".encode())
    script = (
        "-- migrate: no-transaction\nBEGIN;\nSELECT 1;\nCOMMIT;\n"
        "BEGIN;\nALTER TABLE orders ADD CHECK (total > 0);\nUPDATE paid SET amount = 2 WHERE amount = 1;\nCOMMIT;\n"
    )
    assert {"ACCESS EXCLUSIVE orders", "write paid +0 ~1 -0"} <= set(facts(clone.run(script)))


def test_the_progress_that_the_runner_saves_is_not_counted_as_rows_of_a_backfill(clone: Clone) -> None:
    clone.put("001_it.sql", "-- migrate: batch=5000 by=orders.id pause=0\nUPDATE orders SET total = 0 WHERE total > 0;")
    (run,) = clone.rehearse()
    (statement,) = run.statements
    assert [(one.relation.name, one.updated) for one in statement.written] == [("public.orders", 20_000)]
