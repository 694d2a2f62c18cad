"""Statements that no transaction protects, killed in their middle: the next run makes good what they left behind."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest

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
