"""Statements that no transaction protects, killed in their middle: the next run makes good what they left behind."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest

from tests.faults import audit, runner
from tests.faults.proxy import Stop, proxy

if TYPE_CHECKING:
    from tests.faults.ground import Ground

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
    ground: Ground, before: str, statement: str, after: list[tuple[str, bool]], alone: bool
) -> None:
    ground.look.execute("CREATE TABLE app.t (id int)")
    ground.look.execute(before.encode())
    second = "" if alone else "INSERT INTO audit.ran VALUES ('002', 'behind');\n"
    directive = "" if alone else "-- migrate: no-transaction\n"
    audit.write(ground.folder, audit.FIRST, {"002_change.sql": f"{directive}{statement};\n{second}"})
    with psycopg.connect(ground.url) as writer:
        writer.execute("INSERT INTO app.t VALUES (1)")  # whoever changes an index waits for this transaction
        process = runner.start(ground.folder, ground.url)
        audit.await_row(ground.look, WAITING)
        process.kill()
        process.communicate()
        audit.await_free_lock(ground.look)
    assert audit.recorded(ground.look) == {"001"}
    code, _, err = runner.run(ground.folder, ground.url)
    assert code == 0, err
    assert ground.look.execute(INDEXES).fetchall() == after
    assert audit.recorded(ground.look) == {"001", "002"}
    behind = ground.look.execute("SELECT count(*) FROM audit.ran WHERE version = '002'").fetchone()
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
    ground: Ground, before: str, statement: str, after: list[tuple[str, bool]]
) -> None:
    ground.look.execute("CREATE TABLE app.t (id int)")
    ground.look.execute(before.encode())
    audit.write(ground.folder, audit.FIRST, {"002_change.sql": f"{statement};\n"})
    with proxy(ground.server.socket, Stop(at=statement.encode(), answered=True)) as its_proxy:
        process = runner.start(ground.folder, ground.through(its_proxy))
        assert its_proxy.reached.wait(20)
        its_proxy.cut()
        assert runner.finish(process)[0] == 6
    assert audit.recorded(ground.look) == {"001"}
    code, _, err = runner.run(ground.folder, ground.url)
    assert code == 0, err
    assert sorted(ground.look.execute(INDEXES)) == after
