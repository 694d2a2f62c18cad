"""The steps of a run at which it is stopped, and the table of what the faults did to it there.

The proxy stops at statements of the runner, whose text is that of kernel.db and kernel.apply, and at statements of the
migrations in audit.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kernel.apply.no_transaction import BEGIN_STEP
from kernel.apply.transaction import COMMIT
from kernel.db.advisory_lock import try_lock_statement
from kernel.db.ledger import PROGRESS_TABLE
from kernel.db.records import CLAIM_CLAUSE
from tests.faults import audit
from tests.faults.faults import FAULTS
from tests.faults.proxy import Stop

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.faults.faults import Fault

_SIGNS = {"passed": "ok", "failed": "RED", "error": "RED", "skipped": "-"}
_COLOURS = {"ok": "\x1b[32m", "RED": "\x1b[31m", "-": "\x1b[33m"}
_PLAIN = "\x1b[0m"
_WIDTH = 9


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A place where a run stops, in the file `version`.

    Either the proxy stops it at `stop`, or a transaction that did `obstacle` does, once `reached` yields a row.
    """

    name: str
    version: str
    stop: Stop | None = None
    obstacle: str = ""
    reached: str = ""


_LOCK = try_lock_statement(audit.KEY)
_PROGRESS = PROGRESS_TABLE.encode()
_LAST_STEP = b"'003', 'last'"
STEPS = (
    Step(name="before the lock", version="002", stop=Stop(at=_LOCK)),
    Step(name="after the lock", version="002", stop=Stop(at=_LOCK, answered=True)),
    Step(name="before the claim", version="002", stop=Stop(at=CLAIM_CLAUSE)),
    Step(name="after the claim", version="002", stop=Stop(at=CLAIM_CLAUSE, answered=True)),
    Step(
        name="in a statement",
        version="002",
        obstacle=f"SELECT pg_advisory_xact_lock({audit.GATE})",
        reached="SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted",
    ),
    Step(name="between batches", version="002", stop=Stop(at=b"'002', 'end'")),
    Step(name="before COMMIT", version="002", stop=Stop(at=b"'002', 'end'", answered=True)),
    Step(name="at COMMIT, not arrived", version="002", stop=Stop(behind=b"'002', 'end'", at=COMMIT)),
    Step(name="at COMMIT, answer lost", version="002", stop=Stop(behind=b"'002', 'end'", at=COMMIT, answered=True)),
    Step(name="between two steps", version="003", stop=Stop(behind=b"'003', 'first'", at=BEGIN_STEP)),
    Step(name="before a step's note", version="003", stop=Stop(behind=b"'003', 'first'", at=_PROGRESS)),
    Step(name="after a step's note", version="003", stop=Stop(behind=b"'003', 'first'", at=_PROGRESS, answered=True)),
    Step(name="a step's COMMIT, not arrived", version="003", stop=Stop(behind=b"'003', 'first'", at=COMMIT)),
    Step(
        name="a step's COMMIT, answer lost",
        version="003",
        stop=Stop(behind=b"'003', 'first'", at=COMMIT, answered=True),
    ),
    Step(name="before CONCURRENTLY", version="003", stop=Stop(at=b"INDEX CONCURRENTLY events_id")),
    Step(
        name="in CONCURRENTLY",
        version="003",
        obstacle="INSERT INTO app.events VALUES (0)",
        reached="SELECT FROM pg_stat_progress_create_index WHERE phase LIKE 'waiting%'",
    ),
    Step(name="CONCURRENTLY, answer lost", version="003", stop=Stop(at=b"INDEX CONCURRENTLY events_id", answered=True)),
    Step(name="recording, not arrived", version="003", stop=Stop(behind=_LAST_STEP, at=CLAIM_CLAUSE)),
    Step(name="recording, answer lost", version="003", stop=Stop(behind=_LAST_STEP, at=CLAIM_CLAUSE, answered=True)),
    Step(name="one message, not arrived", version="004", stop=Stop(at=b"'004', 'whole'")),
    Step(
        name="in the one message",
        version="004",
        obstacle=f"SELECT pg_advisory_xact_lock({audit.LAST_GATE})",
        reached="SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted",
    ),
    Step(name="one message, answer lost", version="004", stop=Stop(at=b"'004', 'whole'", answered=True)),
)


def cell(step: Step, fault: Fault) -> str:
    """What a test's report says it is about."""
    return f"{step.name}|{fault.name}"


def table(outcomes: Mapping[str, str], *, colour: bool) -> Iterator[str]:
    """The lines of the table; `outcomes` are pytest's, by cell."""
    width = max(len(step.name) for step in STEPS)
    yield " " * width + "".join(f"{fault.short:>{_WIDTH}}" for fault in FAULTS)
    for step in STEPS:
        signs = (_SIGNS.get(outcomes.get(cell(step, fault), ""), "") for fault in FAULTS)
        row = (f"{sign:>{_WIDTH}}" for sign in signs)
        yield f"{step.name:<{width}}" + "".join(_painted(text) if colour else text for text in row)
    yield "; ".join(f"{fault.short}: {fault.name}" for fault in FAULTS)


def _painted(text: str) -> str:
    return f"{_COLOURS.get(text.strip(), '')}{text}{_PLAIN}"
