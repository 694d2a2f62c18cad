"""Statements that no transaction protects, killed in their middle: the next run makes good what they left behind."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest

from kernel.apply.transaction import COMMIT
from tests.faults import audit, runner
from tests.faults.proxy import Stop, open_proxy

if TYPE_CHECKING:
    from tests.faults.fault_database import FaultDatabase

pytestmark = pytest.mark.slow

WAITING = (
    "SELECT FROM pg_stat_activity WHERE application_name LIKE 'inv db%' AND wait_event_type = 'Lock' "
    "AND query ~ '^(REINDEX|DROP INDEX|CREATE (UNIQUE )?INDEX)'"
)
INDEXES = "SELECT indexrelid::regclass::text, indisvalid FROM pg_index WHERE indrelid = 'app.t'::regclass"
KEPT = [("app.t_id", True)]
LONG = "t_on_organization_id_and_created_at_descending_where_not_deleted_yet"  # the server cuts it to 63 bytes
TWICE = [("app.t_id_idx", True), ("app.t_id_idx1", True)]


@pytest.mark.parametrize(
    ("before", "statement", "after"),
    [
        ("CREATE INDEX t_id ON app.t (id)", "REINDEX INDEX CONCURRENTLY app.t_id", KEPT),
        ("CREATE INDEX t_id ON app.t (id)", "REINDEX (VERBOSE) TABLE CONCURRENTLY app.t", KEPT),
        ("CREATE INDEX t_id ON app.t (id)", "DROP INDEX CONCURRENTLY app.t_id", []),
        ("SELECT 1", "CREATE INDEX CONCURRENTLY t_id ON app.t (id)", KEPT),
        ("SELECT 1", "CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS t_id ON app.t (id)", KEPT),
        ("SELECT 1", "CREATE INDEX CONCURRENTLY ON app.t (id)", [("app.t_id_idx", True)]),
        ("SELECT 1", f"CREATE INDEX CONCURRENTLY IF NOT EXISTS {LONG} ON app.t (id)", [(f"app.{LONG[:63]}", True)]),
        ("SELECT 1", 'CREATE INDEX CONCURRENTLY "t""id" ON app.t (id)', [('app."t""id"', True)]),
        ("SELECT 1", r'CREATE INDEX CONCURRENTLY IF NOT EXISTS U&"t\005fid" ON "app".U&"\0074" (id)', KEPT),
    ],
)
@pytest.mark.parametrize("alone", [True, False])
def test_a_killed_change_of_an_index_is_made_good_by_the_next_run(
    target: FaultDatabase, before: str, statement: str, after: list[tuple[str, bool]], alone: bool
) -> None:
    target.observer.execute("CREATE TABLE app.t (id int)")
    target.observer.execute(before.encode())
    second = "" if alone else "INSERT INTO audit.ran VALUES ('002', 'behind');\n"
    directive = "" if alone else "-- migrate: no-transaction\n"
    audit.write(target.folder, audit.FIRST, {"002_change.sql": f"{directive}{statement};\n{second}"})
    with psycopg.connect(target.url) as writer:
        writer.execute("INSERT INTO app.t VALUES (1)")  # whoever changes an index waits for this transaction
        process = runner.start(target.folder, target.url)
        audit.await_row(target.observer, WAITING)
        process.kill()
        process.communicate()
        audit.await_free_lock(target.observer)
    assert audit.recorded(target.observer) == {"001"}
    code, _, err = runner.run(target.folder, target.url)
    assert code == 0, err
    assert target.observer.execute(INDEXES).fetchall() == after
    assert audit.recorded(target.observer) == {"001", "002"}
    behind = target.observer.execute("SELECT count(*) FROM audit.ran WHERE version = '002'").fetchone()
    assert behind == (0 if alone else 1,)


@pytest.mark.parametrize(
    ("before", "statement", "after"),
    [
        ("SELECT 1", "CREATE INDEX CONCURRENTLY t_id ON app.t (id)", KEPT),
        ("SELECT 1", "CREATE INDEX CONCURRENTLY ON app.t (id)", [("app.t_id_idx", True)]),
        ("CREATE INDEX ON app.t (id)", "CREATE INDEX CONCURRENTLY ON app.t (id)", TWICE),
        ("CREATE INDEX t_id ON app.t (id)", "DROP INDEX CONCURRENTLY app.t_id", []),
    ],
)
def test_a_change_that_was_done_when_its_answer_was_lost_is_not_done_again(
    target: FaultDatabase, before: str, statement: str, after: list[tuple[str, bool]]
) -> None:
    target.observer.execute("CREATE TABLE app.t (id int)")
    target.observer.execute(before.encode())
    audit.write(target.folder, audit.FIRST, {"002_change.sql": f"{statement};\n"})
    with open_proxy(target.server.socket, Stop(at=statement.encode(), answered=True)) as proxy:
        process = runner.start(target.folder, target.through(proxy))
        assert proxy.reached.wait(20)
        proxy.cut()
        assert runner.finish(process)[0] == 6
    assert audit.recorded(target.observer) == {"001"}
    code, _, err = runner.run(target.folder, target.url)
    assert code == 0, err
    assert sorted(target.observer.execute(INDEXES)) == after


def test_what_a_killed_reindex_of_a_partitioned_table_left_is_dropped(target: FaultDatabase) -> None:
    target.observer.execute(
        "CREATE TABLE app.m (id int) PARTITION BY LIST (id); CREATE INDEX m_id ON app.m (id); "
        "CREATE TABLE app.m1 PARTITION OF app.m FOR VALUES IN (1); CREATE TABLE app.m2 PARTITION OF app.m DEFAULT"
    )
    audit.write(target.folder, audit.FIRST, {"002_change.sql": "REINDEX TABLE CONCURRENTLY app.m;\n"})
    with psycopg.connect(target.url) as reader:
        reader.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        reader.execute("SELECT 1")  # the new index waits for this snapshot to end
        process = runner.start(target.folder, target.url)
        audit.await_row(target.observer, "SELECT FROM pg_index WHERE NOT indisvalid AND indisready")
        process.kill()
        process.communicate()
        audit.await_free_lock(target.observer)
    assert target.observer.execute("SELECT count(*) FROM pg_index WHERE NOT indisvalid").fetchone() != (0,)
    code, _, err = runner.run(target.folder, target.url)
    assert code == 0, err
    assert target.observer.execute("SELECT indexrelid::regclass FROM pg_index WHERE NOT indisvalid").fetchall() == []
    assert audit.recorded(target.observer) == {"001", "002"}


@pytest.mark.parametrize("killed", [True, False])
def test_a_file_that_lets_go_of_the_lock_is_run_once_by_two_runners(target: FaultDatabase, killed: bool) -> None:
    marks = [f"INSERT INTO audit.ran VALUES ('002', '{mark}');\n" for mark in ("first", "second")]
    gate = f"SELECT pg_advisory_unlock_all(), pg_advisory_xact_lock({audit.GATE});\n"
    audit.write(
        target.folder, audit.FIRST, {"002_change.sql": f"-- migrate: no-transaction\n{marks[0]}{gate}{marks[1]}"}
    )
    target.observer.execute("SELECT pg_advisory_lock(%s)", (audit.GATE,))
    at_gate = "SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted HAVING count(*) = "
    first = runner.start(target.folder, target.url)
    audit.await_row(target.observer, at_gate + "1")
    second = runner.start(target.folder, target.url)
    audit.await_row(target.observer, at_gate + "2")  # the lock was free for it
    if killed:
        first.kill()
        first.communicate()
    target.observer.execute("SELECT pg_advisory_unlock(%s)", (audit.GATE,))
    codes = [runner.finish(process)[0] for process in ([second] if killed else [first, second])]
    assert set(codes) <= {0, 5}, codes
    assert runner.run(target.folder, target.url)[0] == 0
    ran = target.observer.execute("SELECT mark FROM audit.ran WHERE version = '002' ORDER BY mark").fetchall()
    assert ran == [("first",), ("second",)]
    assert audit.recorded(target.observer) == {"001", "002"}


@pytest.mark.parametrize("answered", [True, False])
def test_a_killed_detach_of_a_partition_is_finished_by_the_next_run(target: FaultDatabase, answered: bool) -> None:
    target.observer.execute(
        "CREATE TABLE app.m (id int) PARTITION BY LIST (id); "
        "CREATE TABLE app.m1 PARTITION OF app.m FOR VALUES IN (1); CREATE INDEX ON app.m (id)"
    )
    statement = "ALTER TABLE app.m DETACH PARTITION app.m1 CONCURRENTLY"
    audit.write(target.folder, audit.FIRST, {"002_change.sql": f"{statement};\n"})
    if answered:
        with open_proxy(target.server.socket, Stop(at=statement.encode(), answered=True)) as proxy:
            process = runner.start(target.folder, target.through(proxy))
            assert proxy.reached.wait(20)
            proxy.cut()
            assert runner.finish(process)[0] == 6
    else:
        with psycopg.connect(target.url) as reader:
            reader.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            reader.execute("SELECT * FROM app.m")  # the second transaction waits for the end of this one
            process = runner.start(target.folder, target.url)
            audit.await_row(target.observer, "SELECT FROM pg_inherits WHERE inhdetachpending")
            process.kill()
            process.communicate()
            audit.await_free_lock(target.observer)
    code, _, err = runner.run(target.folder, target.url)
    assert code == 0, err
    assert target.observer.execute("SELECT FROM pg_inherits WHERE inhparent = 'app.m'::regclass").fetchall() == []
    assert audit.recorded(target.observer) == {"001", "002"}


@pytest.mark.parametrize("stop", ["after COMMIT", "in the next statement"])
def test_a_file_whose_code_made_a_temporary_table_does_not_go_on_without_it(target: FaultDatabase, stop: str) -> None:
    first = {"001_first.sql": "CREATE TABLE ids AS SELECT 7 AS id;"}  # it would be read in place of the other
    made = "DO $$ BEGIN EXECUTE 'CREATE TEMP TABLE ids AS SELECT 1 AS id'; END $$;\n"
    use = f"SELECT pg_advisory_xact_lock({audit.GATE});\nINSERT INTO audit.ran SELECT '002', id FROM ids;\n"
    audit.write(target.folder, first, {"002_change.sql": f"-- migrate: no-transaction\n{made}{use}"})
    if stop == "after COMMIT":
        with open_proxy(target.server.socket, Stop(behind=b"CREATE TEMP TABLE", at=COMMIT, answered=True)) as proxy:
            process = runner.start(target.folder, target.through(proxy))
            assert proxy.reached.wait(20)
            process.kill()
            process.communicate()
    else:
        target.observer.execute("SELECT pg_advisory_lock(%s)", (audit.GATE,))
        process = runner.start(target.folder, target.url)
        audit.await_row(target.observer, "SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
        process.kill()
        process.communicate()
        target.observer.execute("SELECT pg_advisory_unlock(%s)", (audit.GATE,))
    audit.await_free_lock(target.observer)
    code, _, err = runner.run(target.folder, target.url)
    assert code == 6
    assert "the temporary table ids of line 2 is gone with the session, and line 3 may need it" in err
    assert "inv db.repair --restart 002" in err
    assert target.observer.execute("SELECT FROM audit.ran WHERE version = '002'").fetchall() == []
    assert audit.recorded(target.observer) == {"001"}
