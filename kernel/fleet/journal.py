"""The journal of a run: JSON lines that are only appended, and the lock by which one rollout runs at a time.

It says what a run did, and is never asked what is applied: the ledgers of the targets know.
"""

from __future__ import annotations

import json
import os
import secrets
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from kernel.db.advisory_lock import find_lock_holder
from kernel.db.connection import open_session
from kernel.errors import LockBusy
from kernel.fleet.outcome import GOOD_STATES, TargetState
from kernel.postgres.account import open_private_file
from kernel.postgres.file_lock import file_lock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from kernel.db.connection import Session
    from kernel.fleet.target import Address

# Of the advisory locks in the control database: the first keeps other rollouts away, the second the same part.
_LOCK_CLASS = 0x666C6565
_TRY_LOCK = "SELECT pg_try_advisory_lock(%s)"
_TRY_SHARED_LOCK = "SELECT pg_try_advisory_lock_shared(%s)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Journal:
    """The file of one run, or nothing for a run that changes nothing (`descriptor` None)."""

    run: str = ""
    path: Path | None = None
    _descriptor: int | None = field(default=None, repr=False)

    def write(self, event: str, **values: object) -> None:
        """Append a line; it survives this process at once, and the machine after `sync`."""
        if self._descriptor is not None:
            moment = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
            os.write(self._descriptor, json.dumps({"event": event, "at": moment} | values).encode() + b"\n")

    def sync(self) -> None:
        """Wait until the lines are on disk."""
        if self._descriptor is not None:
            os.fsync(self._descriptor)


@contextmanager
def open_journal(folder: Path, *, part: tuple[int, int]) -> Iterator[Journal]:
    """Begin a run, alone in this project but for other parts of the same division. Raises LockBusy, OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as held:
        divided = part[1] > 1
        locks = [(folder / "rollout.lock", divided)]
        if divided:
            locks.append((folder / f"part-{part[0]}-of-{part[1]}.lock", False))
        for path, shared in locks:
            try:
                held.enter_context(file_lock(path, shared=shared, wait=False))
            except BlockingIOError as error:
                last = max((one.stem for one in folder.glob("*.jsonl")), default="")
                raise LockBusy(
                    f"another rollout runs in this project ({folder / last}.jsonl); wait until it has ended, or stop it"
                ) from error
        # Sorts by time, also the runs of one second; the token tells parts apart that begin together.
        name = f"{datetime.now(UTC):%Y%m%d-%H%M%S-%f}-{secrets.token_hex(2)}"
        path = folder / f"{name}.jsonl"
        descriptor = open_private_file(path, os.O_WRONLY | os.O_APPEND | os.O_EXCL)
        held.callback(os.close, descriptor)
        yield Journal(run=name, path=path, _descriptor=descriptor)


@contextmanager
def _unlocked_at_the_end(session: Session) -> Iterator[None]:
    """Release the locks before the connection closes: the server ends a closed session a moment later."""
    try:
        yield
    finally:
        if not session.connection.broken:
            session.connection.execute("SELECT pg_advisory_unlock_all()")


@contextmanager
def hold_control_lock(url: str, control: Address, *, part: tuple[int, int]) -> Iterator[Session]:
    """Keep rollouts of other machines away, by a lock in the control database. Raises LockBusy, naming the holder."""
    number, parts = part
    with open_session(url, variable=str(control)) as session, _unlocked_at_the_end(session):
        keys = [(_LOCK_CLASS << 32, parts > 1)]
        if parts > 1:
            keys.append(((_LOCK_CLASS << 32) + (parts << 16) + number, False))
        for key, shared in keys:
            row = session.connection.execute(_TRY_SHARED_LOCK if shared else _TRY_LOCK, (key,)).fetchone()
            if row != (True,):
                holder = find_lock_holder(session, key)
                raise LockBusy(
                    f"another rollout holds the lock in {session.name}: {holder}; wait until it has ended, or end it: "
                    f"SELECT pg_terminate_backend({holder.pid})"
                    if holder
                    else f"another rollout held the lock in {session.name}; try again"
                )
        yield session


def read_unfinished(folder: Path) -> tuple[str, tuple[str, ...]] | None:
    """Return the name of the last run and its targets that failed, or did not end; None when there is no run.

    A run that was refused before it had its targets, such as one whose cluster did not answer, does not count.
    """
    for path in sorted(folder.glob("*.jsonl"), reverse=True):
        if (unfinished := _unfinished_in(path)) is not None:
            return path.stem, unfinished
    return None


def _unfinished_in(path: Path) -> tuple[str, ...] | None:
    """The targets of a run that failed, or did not end; None for a run that did not begin."""
    unfinished: dict[str, None] | None = None
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            event = json.loads(line)
        except ValueError:  # the machine stopped in the middle of a line
            continue
        if event["event"] == "begun":
            unfinished = dict.fromkeys(event["targets"])
        elif event["event"] == "ended" and unfinished is not None:
            state = TargetState(event["state"])
            if state in GOOD_STATES and state is not TargetState.NOT_STARTED:
                unfinished.pop(event["target"], None)
    return None if unfinished is None else tuple(unfinished)
