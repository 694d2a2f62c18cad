"""Kill points at random: a dozen files of every kind, runs killed at any moment, and never a repair by hand.

`KILLS=1000 python -m pytest tests/faults/test_kills.py -m slow` takes a thousand points; a seed gives the same moments.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.faults import audit
from tests.faults.runner import END_SECONDS, ROOT

if TYPE_CHECKING:
    from tests.faults.fault_database import FaultDatabase

pytestmark = pytest.mark.slow

KILLS = int(os.environ.get("KILLS", "40"))
KILLS_A_SEED = 20
LIFE_SECONDS = (0.05, 0.6)
STEPPED = ("004", "008", "012")

# The kernel without the command line before it, which would take most of the time that there is to be killed in.
RUN = """
import sys
from pathlib import Path
from kernel.db.connection import open_session
from kernel.operations.migrate import MigrateOptions
from kernel.operations.migrate import migrate
from kernel.migrations.migration import require_migrations
with open_session(sys.argv[2]) as session:
    found = require_migrations(Path(sys.argv[1]))
    migrate(session, found, MigrateOptions(), lambda event: None)
"""


def _mark(version: str, mark: str) -> str:
    return f"INSERT INTO audit.ran VALUES ('{version}', '{mark}');\n"


def _files() -> dict[str, str]:
    """Transactions short and long, steps, an index built while nobody is shut out, COPY, DO, a BEGIN of its own."""
    pause = "SELECT pg_sleep(0.01);\n"
    index = "CREATE INDEX CONCURRENTLY"
    return {
        "001_make.sql": _mark("001", "a") + "CREATE TABLE app.t (id int, text text);\n" + _mark("001", "b"),
        "002_fill.sql": _mark("002", "a")
        + "INSERT INTO app.t SELECT n, repeat('x', 100) FROM generate_series(1, 5000) n;\n"
        + _mark("002", "b"),
        "003_many.sql": _mark("003", "a") + "INSERT INTO app.t VALUES (0);\n" * 1200 + pause + _mark("003", "b"),
        "004_steps.sql": "-- migrate: no-transaction\n"
        + _mark("004", "a")
        + f"{index} events_id ON app.t (id);\n"
        + pause
        + _mark("004", "b"),
        "005_own.sql": f"BEGIN;\n{_mark('005', 'a')}{pause}{_mark('005', 'b')}COMMIT;\n",
        "006_copy.sql": _mark("006", "a")
        + "COPY app.t FROM stdin;\n"
        + "7\tseven\n" * 200
        + "\\.\n"
        + _mark("006", "b"),
        "007_do.sql": _mark("007", "a") + "DO $$ BEGIN PERFORM pg_sleep(0.02); END $$;\n" + _mark("007", "b"),
        "008_steps.sql": "-- migrate: no-transaction\n"
        + _mark("008", "a")
        + f"BEGIN;\n{_mark('008', 'b')}{pause}COMMIT;\nVACUUM app.t;\n"
        + _mark("008", "c"),
        "009_alter.sql": _mark("009", "a")
        + f"ALTER TABLE app.t ADD COLUMN more int DEFAULT 1;\n{pause}"
        + _mark("009", "b"),
        "010_defer.sql": _mark("010", "a")
        + "CREATE TABLE app.u (id int UNIQUE DEFERRABLE INITIALLY DEFERRED);\nINSERT INTO app.u VALUES (1), (2);\n"
        + _mark("010", "b"),
        "011_enum.sql": _mark("011", "a") + "CREATE TYPE app.mood AS ENUM ('well');\n" + pause + _mark("011", "b"),
        "012_again.sql": "-- migrate: no-transaction\n"
        + _mark("012", "a")
        + "DROP INDEX CONCURRENTLY app.events_id;\n"
        + f"{index} events_id ON app.t (id, more);\n"
        + _mark("012", "b"),
    }


MARKS = {
    filename[:3]: tuple(text.split("', '")[1][0] for text in text.split("audit.ran VALUES (")[1:])
    for filename, text in _files().items()
}


def _start(target: FaultDatabase) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", RUN, target.folder, target.url],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def _ended(process: subprocess.Popen[bytes], seconds: float) -> bool:
    """Whether a run ended by itself in so many seconds, which it must do well."""
    try:
        _, err = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        return False
    assert process.returncode == 0, err.decode()
    return True


@pytest.mark.parametrize("seed", range(max(1, KILLS // KILLS_A_SEED)))
def test_killed_at_random_moments_it_goes_on_and_finishes(target: FaultDatabase, seed: int) -> None:
    moments = random.Random(seed)  # noqa: S311 - moments, no secret
    audit.write(target.folder, _files())
    kills = 0
    while kills < KILLS_A_SEED:
        process = _start(target)
        if _ended(process, moments.uniform(*LIFE_SECONDS)):
            _finished(target)
            _afresh(target)
            continue
        process.kill()
        process.communicate()
        kills += 1
        audit.await_free_lock(target.observer)
        audit.check(target.observer, MARKS, STEPPED)
    assert _ended(_start(target), END_SECONDS)
    _finished(target)


def _finished(target: FaultDatabase) -> None:
    assert _ended(_start(target), END_SECONDS), "with nothing pending it is quick"
    audit.check_finished(target.observer, MARKS)


def _afresh(target: FaultDatabase) -> None:
    """The database as it was before the first file."""
    target.observer.execute("DROP SCHEMA app, audit CASCADE; DROP TABLE schema_migrations, schema_migrations_progress")
    audit.prepare(target.observer)
