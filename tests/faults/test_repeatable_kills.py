"""Repeatable files, killed at every step of their transaction: all of the change is there, or none of it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from tests.faults import audit
from tests.faults.runner import END_SECONDS, ROOT

if TYPE_CHECKING:
    from tests.faults.fault_database import FaultDatabase

pytestmark = pytest.mark.slow

VIEWS = ("one", "two", "three", "four", "five", "six")
RUN = """
import sys
from pathlib import Path
from kernel.db.connection import open_session
from kernel.operations.migrate import MigrateOptions, migrate
from kernel.migrations.migration import require_migrations
with open_session(sys.argv[2]) as session:
    migrate(session, require_migrations(Path(sys.argv[1])), MigrateOptions(), lambda event: None)
"""
# A run waits in the step that is the gate, and in the check of deferred constraints at its end in the last one.
GATE = """
CREATE TABLE app.t (id int, total int);
CREATE TABLE app.gate (step text);
CREATE TABLE app.last (id int);
CREATE FUNCTION app.pause(step text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN IF EXISTS (SELECT FROM app.gate g WHERE g.step = pause.step) THEN PERFORM pg_sleep(60); END IF; END $$;
CREATE FUNCTION app.at_end() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM app.pause('end'); RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER at_end AFTER INSERT ON app.last DEFERRABLE INITIALLY DEFERRED
  FOR EACH ROW EXECUTE FUNCTION app.at_end();
"""
STATE = """
SELECT c.oid::regclass::text, c.oid, ARRAY(SELECT unnest(relacl)::text ORDER BY 1), obj_description(c.oid, 'pg_class'),
  pg_get_viewdef(c.oid), r.xmin::text
FROM pg_class c LEFT JOIN schema_migrations_repeatable r ON r.name = c.relname
WHERE relkind = 'v' AND relnamespace = 'app'::regnamespace ORDER BY 1
"""


def _write(target: FaultDatabase, columns: str) -> None:
    before = "t"
    for name in VIEWS:
        listed = columns if name == "one" else "id, total"
        text = (
            f"SELECT app.pause('before {name}');\n"
            f"CREATE OR REPLACE VIEW app.{name} AS SELECT {listed} FROM app.{before};\n"
            f"SELECT app.pause('after {name}');\n"
            + ("INSERT INTO app.last VALUES (1);\n" if name == "six" else "")
            + f"INSERT INTO audit.ran VALUES ('{name}', '{columns}');\n"
        )
        (target.folder / "repeatable").mkdir(exist_ok=True)
        (target.folder / "repeatable" / f"{name}.sql").write_text(text)
        before = name


def _start(target: FaultDatabase) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", RUN, target.folder, target.url],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=dict(os.environ),
    )


def _run(target: FaultDatabase) -> None:
    process = _start(target)
    _, err = process.communicate(timeout=END_SECONDS)
    assert process.returncode == 0, err.decode()


def _await_pause(target: FaultDatabase, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + END_SECONDS
    query = "SELECT FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()"
    while target.observer.execute(query).fetchone() is None:
        assert process.poll() is None, "it ended before the step"
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_killed_at_every_step_the_views_are_as_they_were_or_all_are_new(target: FaultDatabase) -> None:
    (target.folder / "001_gate.sql").write_text(GATE)
    _write(target, "id, total")
    _run(target)
    target.observer.execute("GRANT SELECT ON app.three TO PUBLIC; COMMENT ON VIEW app.four IS 'the fourth'")
    before = target.observer.execute(STATE).fetchall()
    _write(target, "total, id")
    steps = [f"{when} {name}" for name in VIEWS for when in ("before", "after")] + ["end"]
    for step in steps:
        target.observer.execute("TRUNCATE app.gate")
        target.observer.execute("INSERT INTO app.gate VALUES (%s)", (step,))
        process = _start(target)
        _await_pause(target, process)
        process.kill()
        process.communicate()
        audit.await_free_lock(target.observer)
        assert target.observer.execute(STATE).fetchall() == before, step
        assert target.observer.execute("SELECT FROM audit.ran WHERE mark = 'total, id'").fetchall() == [], step
    target.observer.execute("TRUNCATE app.gate")
    runners = [_start(target) for _ in range(8)]
    for process in runners:
        _, err = process.communicate(timeout=END_SECONDS)
        assert process.returncode == 0, err.decode()
    after = target.observer.execute(STATE).fetchall()
    assert [row[0] for row in after] == [row[0] for row in before]
    assert [row[2:4] for row in after] == [row[2:4] for row in before], "privileges and comments are kept"
    ran = target.observer.execute("SELECT version FROM audit.ran WHERE mark = 'total, id' ORDER BY 1").fetchall()
    assert ran == [(name,) for name in sorted(VIEWS)], "each file ran once"
