"""The connection is lost at COMMIT: the run looks for the record and says which of the two it was."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.faults import audit, runner
from tests.faults.proxy import Stop, proxy

if TYPE_CHECKING:
    from tests.faults.ground import Ground

pytestmark = pytest.mark.slow

COMMIT = b"COMMIT; SELECT pg_try_advisory_lock"
SILENCE_SECONDS = 90.0


@pytest.mark.parametrize("answered", [False, True])
def test_after_a_cut_at_commit_the_run_says_whether_it_had_committed(ground: Ground, answered: bool) -> None:
    audit.write(ground.folder, audit.FIRST)
    with proxy(ground.server.socket, Stop(at=COMMIT, answered=answered)) as its_proxy:
        process = runner.start(ground.folder, ground.through(its_proxy))
        assert its_proxy.reached.wait(20)
        its_proxy.cut()
        code, _, err = runner.finish(process)
    assert code == 6
    did = "it had committed" if answered else "it had not committed"
    assert f"error: 001_first.sql: the connection was lost at COMMIT; {did} (" in err
    assert audit.recorded(ground.look) == ({"001"} if answered else set())
    assert "next: run inv db.migrate again: it goes on from here" in err


def test_when_the_server_stays_silent_at_commit_the_run_says_that_nobody_can_tell(ground: Ground) -> None:
    audit.write(ground.folder, audit.FIRST)
    with proxy(ground.server.socket, Stop(at=COMMIT, answered=True)) as its_proxy:
        process = runner.start(ground.folder, ground.through(its_proxy))
        assert its_proxy.reached.wait(20)
        its_proxy.swallow()
        its_proxy.cut()
        code, _, err = runner.finish(process, seconds=SILENCE_SECONDS)
    assert code == 6
    assert "nobody can tell yet whether it committed: the server does not answer" in err
    assert "001_first.sql: applied or rolled back as a whole; inv db.status tells" in err
    audit.await_free_lock(ground.look)
    assert runner.run(ground.folder, ground.url)[0] == 0
    assert audit.recorded(ground.look) == {"001"}


def test_several_files_in_one_transaction_are_looked_up_as_one(ground: Ground) -> None:
    audit.write(ground.folder, audit.FIRST, audit.IN_TRANSACTION, audit.LAST)
    with proxy(ground.server.socket, Stop(at=COMMIT, answered=True)) as its_proxy:
        process = runner.start(ground.folder, ground.through(its_proxy), "--single-transaction")
        assert its_proxy.reached.wait(20)
        its_proxy.cut()
        code, _, err = runner.finish(process)
    assert code == 6
    assert "it had committed" in err
    assert audit.recorded(ground.look) == {"001", "002", "004"}
