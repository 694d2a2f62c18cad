"""A rehearsal stopped or killed at any stage: no process, no folder, no session and no database of it stays behind."""

from __future__ import annotations

import itertools
import json
import signal
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from tests.faults.rehearsing import FAST, STAGES, Rehearsing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from kernel.postgres.cluster import Server

pytestmark = pytest.mark.slow

INT, TERM, KILL = signal.SIGINT, signal.SIGTERM, signal.SIGKILL
ENDS = {INT: (130, "interrupted"), TERM: (143, "terminated"), KILL: (-KILL, "")}

_names = (f"rehearsed_{number}" for number in itertools.count(1))


@pytest.fixture
def rehearsing(server: Server, database: str, tmp_path: Path, free_folder: Path) -> Iterator[Rehearsing]:
    name = next(_names)
    with psycopg.connect(database, autocommit=True, application_name="the test") as production:
        it = Rehearsing(
            root=tmp_path / "project", temporary=free_folder, server=server, production=production, test_db=name
        )
        yield it
        for child in it.children:
            child.kill()
            child.communicate()
    with psycopg.connect(server.conninfo, autocommit=True) as administrator:
        for left in it.databases():
            administrator.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(left)))


@pytest.mark.parametrize("stage", ["restoring", "running"])
def test_the_next_rehearsal_clears_away_what_a_killed_one_left_beside_test_db(
    rehearsing: Rehearsing, stage: str
) -> None:
    slow, migration = STAGES[stage]
    rehearsing.prepare(migration)
    rehearsing.production.execute(slow.encode())
    test_db = make_conninfo(rehearsing.server.conninfo, dbname=rehearsing.test_db)
    child = rehearsing.start(TEST_DB=test_db)
    rehearsing.at(stage, child, own=False)
    child.kill()
    child.communicate()
    assert rehearsing.databases()

    rehearsing.production.execute(FAST)
    rehearsing.write("CREATE TABLE whole (id int);\n")
    child = rehearsing.start(TEST_DB=test_db)
    _, err = child.communicate(timeout=20)
    assert child.returncode == 0, err
    assert set(rehearsing.databases()) == {rehearsing.test_db}


@pytest.mark.parametrize("number", [INT, TERM, KILL], ids=["SIGINT", "SIGTERM", "SIGKILL"])
@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("own", [True, False], ids=["own server", "TEST_DB"])
def test_nothing_stays_of_a_rehearsal_that_is_stopped(
    rehearsing: Rehearsing, stage: str, number: signal.Signals, own: bool
) -> None:
    slow, migration = STAGES[stage]
    rehearsing.prepare(migration)
    rehearsing.production.execute(slow.encode())
    test_db = {} if own else {"TEST_DB": make_conninfo(rehearsing.server.conninfo, dbname=rehearsing.test_db)}
    flags = ("--dump", rehearsing.dump()) if stage == "loading" else ()
    child = rehearsing.start("--json", *flags, **test_db)
    rehearsing.at(stage, child, own=own)
    assert not own or stage == "dumping" or rehearsing.folders, "a server of its own has a folder"

    child.send_signal(number)
    out, err = child.communicate(timeout=20)
    code, word = ENDS[number]
    assert child.returncode == code, err
    assert "Traceback" not in err
    if word:
        assert json.loads(out)["error"] == {**json.loads(out)["error"], "code": word, "exit": code}
    rehearsing.gone()
    left = rehearsing.databases()
    if word:
        assert set(left) <= {rehearsing.test_db}
    assert all(comment.startswith("made by inv db.snapshot-test, may be dropped") for comment in left.values())
