"""Kill points at random of a backfill: the runner, the server, two runners at once, and a standby that stops.

A trigger logs each change of a row. `KILLS=100 python -m pytest tests/faults/test_backfill_kills.py -m slow` takes a
hundred runners.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from typing import TYPE_CHECKING

import psycopg
import pytest

from bench.standby import PRIMARY_SETTINGS, STANDBY_NAME, open_standby
from kernel.postgres.throwaway import throwaway_server
from tests.faults.runner import finish, run, start

if TYPE_CHECKING:
    from pathlib import Path

    from tests.faults.fault_database import FaultDatabase

KILLS = int(os.environ.get("KILLS", "20"))
pytestmark = [pytest.mark.slow, pytest.mark.timeout(180 + 10 * KILLS)]

ROWS = 200_000
LIFE_SECONDS = (0.4, 1.6)
END_SECONDS = 120
TABLES = f"""
CREATE TABLE t (id bigint PRIMARY KEY, n int NOT NULL DEFAULT 0);
INSERT INTO t SELECT g * 3 FROM generate_series(1, {ROWS}) g;
CREATE TABLE log (id bigint);
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
  $$ BEGIN INSERT INTO log VALUES (NEW.id); RETURN NULL; END $$;
CREATE TRIGGER note AFTER UPDATE ON t FOR EACH ROW EXECUTE FUNCTION note();
"""
BACKFILL = """
-- migrate: batch=2000 by=t.id
-- migrate: allow=range-not-repeatable the changes are counted, to see that each row is changed once
UPDATE t SET n = n + 1;
"""
CHANGES = """
SELECT count(*) FILTER (WHERE n = 1), (SELECT count(*) FROM log), (SELECT count(DISTINCT id) FROM log) FROM t
"""
WALKED = "SELECT coalesce(max((walk ->> 'rows')::bigint), 0) FROM schema_migrations_progress"


def test_runners_killed_at_any_moment_change_every_row_once(target: FaultDatabase) -> None:
    (target.folder / "001_tables.sql").write_text(TABLES)
    assert run(target.folder, target.url)[0] == 0
    (target.folder / "002_backfill.sql").write_text(BACKFILL)
    chance, walked = random.Random(4711), 0  # noqa: S311 - moments, no secrets
    for _ in range(KILLS):
        runner = start(target.folder, target.url)
        try:
            runner.wait(chance.uniform(*LIFE_SECONDS))
        except subprocess.TimeoutExpired:
            runner.send_signal(signal.SIGKILL)
            runner.communicate()
        else:
            code, _, err = finish(runner)
            assert code == 0, err
            break
        ((now,),) = target.observer.execute(WALKED).fetchall()
        assert now >= walked
        walked = now
    else:
        assert walked > 0
        code, out, err = finish(start(target.folder, target.url), seconds=END_SECONDS)
        assert code == 0, (out, err)
    assert target.observer.execute(CHANGES).fetchone() == (ROWS, ROWS, ROWS)
    assert target.observer.execute("SELECT count(*) FROM schema_migrations_progress").fetchone() == (0,)


def test_a_server_that_crashes_under_a_backfill_loses_and_repeats_no_row(target: FaultDatabase) -> None:
    (target.folder / "001_tables.sql").write_text(TABLES)
    assert run(target.folder, target.url)[0] == 0
    (target.folder / "002_backfill.sql").write_text(BACKFILL)
    for _ in range(3):
        runner = start(target.folder, target.url)
        before = target.observer.execute(WALKED).fetchall()
        deadline = time.monotonic() + END_SECONDS
        while target.observer.execute(WALKED).fetchall() == before:
            assert time.monotonic() < deadline
            assert runner.poll() is None
            time.sleep(0.01)
        target.server.shut_down()
        code, _, err = finish(runner)
        assert code == 6, err
        assert "% of t.id, the batches up to the key" in err
        target.server.start()
        target.reconnect_observer()
    code, out, err = finish(start(target.folder, target.url), seconds=END_SECONDS)
    assert code == 0, (out, err)
    assert "went on from" in out
    assert target.observer.execute(CHANGES).fetchone() == (ROWS, ROWS, ROWS)


def test_runners_at_once_of_which_one_is_killed_change_every_row_once(target: FaultDatabase) -> None:
    (target.folder / "001_tables.sql").write_text(TABLES)
    assert run(target.folder, target.url)[0] == 0
    (target.folder / "002_backfill.sql").write_text(BACKFILL)
    runners = [start(target.folder, target.url, "--lock-wait", "-1") for _ in range(3)]
    deadline = time.monotonic() + END_SECONDS
    while target.observer.execute(WALKED).fetchone() == (0,):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    (holder,) = target.observer.execute(
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE '%002_backfill%'"
    ).fetchall()
    target.observer.execute("SELECT pg_terminate_backend(%s)", holder)
    codes = sorted(finish(runner, seconds=END_SECONDS)[0] for runner in runners)
    assert codes == [0, 0, 6]
    assert target.observer.execute(CHANGES).fetchone() == (ROWS, ROWS, ROWS)


def test_a_backfill_waits_for_a_standby_that_does_not_follow_and_says_so(tmp_path: Path) -> None:
    folder = tmp_path / "migrations"
    folder.mkdir()
    (folder / "001_tables.sql").write_text(TABLES)
    with (
        throwaway_server(settings=PRIMARY_SETTINGS) as primary,
        open_standby(primary, {"max_connections": "200", "fsync": "off"}, room_bytes=1 << 30) as standby,
        psycopg.connect(primary.conninfo, autocommit=True) as look,
        psycopg.connect(standby.conninfo, autocommit=True) as replica,
    ):
        assert run(folder, primary.url)[0] == 0
        replica.execute("SELECT pg_wal_replay_pause()")
        (folder / "002_backfill.sql").write_text(BACKFILL.replace("by=t.id", "by=t.id pause=0 lag=1MB"))
        runner = start(folder, primary.url)
        deadline = time.monotonic() + END_SECONDS
        former, walked = -1, 0
        while walked == 0 or former != walked:
            assert time.monotonic() < deadline
            former = walked
            time.sleep(1)
            ((walked,),) = look.execute(WALKED).fetchall()
        assert walked < ROWS / 2
        replica.execute("SELECT pg_wal_replay_resume()")
        code, out, err = finish(runner, seconds=END_SECONDS)
        assert code == 0, (out, err)
        assert f"002_backfill.sql: waiting for the standby {STANDBY_NAME} (" in err
        assert err.count("waiting for the standby") == 1
        assert look.execute(CHANGES).fetchone() == (ROWS, ROWS, ROWS)
