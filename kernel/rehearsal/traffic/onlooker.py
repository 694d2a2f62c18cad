"""Tells a wait for a lock from one for a processor or a disk: a busy machine keeps any query waiting for a moment.

Source: PostgreSQL documentation, "pg_stat_activity": wait_event_type is Lock while a session waits for a lock.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from kernel.rehearsal.traffic.turn import NEGLIGIBLE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kernel.rehearsal.traffic.caller import Caller
    from kernel.rehearsal.traffic.turn import Turn

_WAITING = b"SELECT pid FROM pg_catalog.pg_stat_activity WHERE wait_event_type = 'Lock'"
_EVERY_SECONDS = NEGLIGIBLE_SECONDS / 2  # nothing that counts is over between two looks


class Onlooker:
    """Asks who waits for a lock, in a session of its own, for as long as somebody may be."""

    def __init__(self, caller: Caller) -> None:
        self.caller = caller
        self.asked = 0.0
        self.busy = False

    def look(self, asking: Mapping[Caller, Turn]) -> None:
        """Ask, if a question has gone without an answer for long enough."""
        now = time.monotonic()
        if self.busy or now - self.asked < _EVERY_SECONDS:
            return
        if any(now - turn.began >= _EVERY_SECONDS for turn in asking.values()):
            self.asked = now
            self.busy = self.caller.ask(_WAITING)

    def seen(self, asking: Mapping[Caller, Turn]) -> None:
        """Take note of the answer. A question that is younger than the look was not what it saw."""
        self.busy = False
        pids = {int(pid) for pid in self.caller.column}
        for caller, turn in asking.items():
            if caller.pid in pids and turn.began < self.asked:
                turn.locked = True
