"""The connection is lost at COMMIT: the run looks for the record and says which of the two it was."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from kernel.apply.batches import Message
from kernel.apply.transaction import COMMIT
from kernel.db.advisory_lock import try_lock_statement
from tests.faults import audit, runner
from tests.faults.proxy import Stop, open_proxy

if TYPE_CHECKING:
    from tests.faults.fault_database import FaultDatabase

pytestmark = pytest.mark.slow

# The COMMIT of a file, not that of the tables of the runner.
COMMIT_OF_FILE = Message(tail=(COMMIT, try_lock_statement(audit.KEY))).text
SILENCE_SECONDS = 90.0


# More than one message holds: its COMMIT comes with the last batch.
LARGE = {"001_first.sql": audit.FIRST["001_first.sql"] + "INSERT INTO app.events VALUES (1);\n" * 600}
# No semicolon at the end: COMMIT has a message of its own.
OPEN = {"001_first.sql": audit.FIRST["001_first.sql"] + "INSERT INTO app.events VALUES (1)"}


@pytest.mark.parametrize(
    ("file", "answered", "said"),
    [
        (audit.FIRST, False, "the connection was lost: "),
        (audit.FIRST, True, "the connection was lost at COMMIT; its record is there ("),
        (LARGE, False, "the connection was lost: "),
        (LARGE, True, "the connection was lost at COMMIT; it had committed ("),
        (OPEN, False, "the connection was lost at COMMIT; it had not committed ("),
        (OPEN, True, "the connection was lost at COMMIT; it had committed ("),
    ],
)
def test_after_a_cut_at_commit_the_run_says_whether_it_had_committed(
    target: FaultDatabase, file: dict[str, str], answered: bool, said: str
) -> None:
    audit.write(target.folder, file)
    with open_proxy(target.server.socket, Stop(at=COMMIT_OF_FILE, answered=answered)) as proxy:
        process = runner.start(target.folder, target.through(proxy))
        assert proxy.reached.wait(20)
        proxy.cut()
        code, _, err = runner.finish(process)
    assert code == 6
    assert f"error: 001_first.sql: {said}" in err
    assert audit.recorded(target.observer) == ({"001"} if answered else set())
    assert "run inv db.migrate again" in err


def test_when_the_server_stays_silent_at_commit_the_outcome_is_unknown(target: FaultDatabase) -> None:
    audit.write(target.folder, audit.FIRST)
    with open_proxy(target.server.socket, Stop(at=COMMIT_OF_FILE, answered=True)) as proxy:
        process = runner.start(target.folder, target.through(proxy))
        assert proxy.reached.wait(20)
        proxy.swallow()
        proxy.cut()
        code, _, err = runner.finish(process, seconds=SILENCE_SECONDS)
    assert code == 6
    assert "whether it committed is unknown: the server does not answer" in err
    assert "001_first.sql: applied or rolled back as a whole; see inv db.status once" in err
    audit.await_free_lock(target.observer)
    assert runner.run(target.folder, target.url)[0] == 0
    assert audit.recorded(target.observer) == {"001"}


def test_several_files_in_one_transaction_are_looked_up_as_one(target: FaultDatabase) -> None:
    audit.write(target.folder, audit.FIRST, audit.IN_TRANSACTION, audit.LAST)
    with open_proxy(target.server.socket, Stop(at=COMMIT_OF_FILE, answered=True)) as proxy:
        process = runner.start(target.folder, target.through(proxy), "--single-transaction")
        assert proxy.reached.wait(20)
        proxy.cut()
        code, _, err = runner.finish(process)
    assert code == 6
    assert "it had committed" in err
    assert audit.recorded(target.observer) == {"001", "002", "004", "005"}
