"""The sessions of an application, driven by one thread: who asks when, and who is kept waiting.

Probes take turns on a bounded number of sessions. Where each can have sessions of its own, it waits for a lock for as
long as it takes, as an application does, and several of a kind let a queue grow. Where there are more probes than that,
one gives up after a moment, so that those of other relations get their turn, and goes on waiting when it is next.
"""

from __future__ import annotations

import selectors
import threading
import time
from typing import TYPE_CHECKING, Self

import psycopg

from kernel.errors import DatabaseUnreachable
from kernel.rehearsal.traffic import caller, probe
from kernel.rehearsal.traffic.caller import Answer, Caller
from kernel.rehearsal.traffic.onlooker import Onlooker
from kernel.rehearsal.traffic.turn import Round, Turn

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from kernel.rehearsal.traffic.felt import Wait
    from kernel.rehearsal.traffic.probe import Probe

MOST_SESSIONS = 20
_PER_SECOND = 400.0  # questions in all: a tenth of one processor
_PER_SECOND_OF_MANY = 1000.0
_LEFT_TO_OTHERS = 2  # of the server's last sessions: the reader, and who looks at what blocks a migration
_ABREAST = 4  # sessions for each probe, where there are enough
_LONG_MS = 60_000  # a wait that lasts longer goes on with the next attempt
_MOMENT_MS = 25
_SLEEP_SECONDS = 0.01  # at most: somebody may be waiting for a lock, and somebody wants to leave
_SETTLING_SECONDS = 5.0
_LEAVING_SECONDS = 1.0


class Load:
    """Probes asked again and again while the block runs; after `count`, `waits` are those that were kept waiting.

    `round_seconds` is the time between two questions of one kind to one relation: what is over sooner may be missed.
    `asked` counts the questions, `sessions` those that ask them. `gone` are probes of what is not there any more.
    `lost` is why nothing is asked any more, "" while it is. Raises DatabaseUnreachable when nothing could be asked.
    """

    def __init__(self, url: str, probes: Sequence[Probe]) -> None:
        self._url = url
        abreast = max(1, min(_ABREAST, MOST_SESSIONS // max(1, len(probes))))
        per_second = _PER_SECOND if len(probes) <= MOST_SESSIONS else _PER_SECOND_OF_MANY
        self.round_seconds = len(probes) / per_second
        started = time.monotonic()
        turns = [
            Turn(probe=one, offset=started + number / per_second, pause_seconds=self.round_seconds * abreast)
            for number, one in enumerate(one for _ in range(abreast) for one in probes)
        ]
        self._round = Round()
        for turn in turns:
            self._round.put(turn, started)
        self._unsettled = set(turns)
        self._wanted = min(len(turns), MOST_SESSIONS)
        self._lock_timeout_ms = _LONG_MS if len(turns) <= MOST_SESSIONS else _MOMENT_MS
        self._idle: list[Caller] = []
        self._asking: dict[Caller, Turn] = {}
        self._open: list[Caller] = []
        self._selector = selectors.DefaultSelector()
        self._thread = threading.Thread(target=self._serve, name="traffic", daemon=True)
        self._settled = threading.Event()
        self._leaving = threading.Event()
        self._counted_from = float("inf")
        self.waits: list[Wait] = []
        self.gone: list[Probe] = []
        self.asked = 0
        self.sessions = 0
        self.lost = ""

    def __enter__(self) -> Self:
        try:
            self._assemble()
        except BaseException:
            self._close()
            raise
        if not self._unsettled:
            self._settled.set()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leaving.set()
        self._thread.join()
        self._close()

    def count(self) -> None:
        """Count from now on, once every probe has been answered: the first answer of a session takes longest."""
        self._settled.wait(_SETTLING_SECONDS)
        self.asked = 0
        self._counted_from = time.monotonic()

    def _assemble(self) -> None:
        """Connect. Where the server has no room for all of the sessions, those that it has room for do as well."""
        self._onlooker = Onlooker(self._connected())
        for _ in range(self._wanted):
            try:
                self._idle.append(self._connected())
            except DatabaseUnreachable:
                if len(self._idle) <= _LEFT_TO_OTHERS:
                    raise
                for one in self._idle[-_LEFT_TO_OTHERS:]:
                    self._dismiss(one)
                del self._idle[-_LEFT_TO_OTHERS:]
                self._lock_timeout_ms = _MOMENT_MS
                break
        self.sessions = len(self._idle)
        for one in self._idle:
            one.give_up_after(self._lock_timeout_ms)

    def _connected(self) -> Caller:
        one = Caller(caller.connect(self._url))
        self._open.append(one)
        self._selector.register(one, selectors.EVENT_READ, one)
        return one

    def _dismiss(self, one: Caller) -> None:
        self._selector.unregister(one)
        self._open.remove(one)
        one.close()

    def _close(self) -> None:
        for one in self._open:
            one.close()
        self._selector.close()

    def _serve(self) -> None:
        try:
            while not self._leaving.is_set():
                self._ask()
                next_seconds = self._round.seconds_to_next(time.monotonic()) if self._idle else _SLEEP_SECONDS
                self._hear(min(next_seconds, _SLEEP_SECONDS))
            deadline = time.monotonic() + _LEAVING_SECONDS
            while self._asking and (left := deadline - time.monotonic()) > 0:
                self._hear(left)
            for turn in self._asking.values():
                self._note(turn.answered(time.monotonic(), gave_up=True))
        except (psycopg.Error, DatabaseUnreachable) as reason:
            self.lost = " ".join(str(reason).split())
        finally:
            self._settled.set()

    def _ask(self) -> None:
        """Ask what is due, as far as there are sessions."""
        while self._idle and (turn := self._round.take(time.monotonic())):
            asking = self._idle.pop()
            self._asking[asking] = turn
            self.asked += 1
            if not asking.ask(turn.ask(time.monotonic())):
                self._answered(asking, Answer.LOST)

    def _hear(self, timeout_seconds: float) -> None:
        for key, _ in self._selector.select(timeout_seconds):
            heard: Caller = key.data
            answer = heard.answer()
            if answer and heard is self._onlooker.caller:
                self._seen(answer)
            elif answer:
                self._answered(heard, answer)
        self._onlooker.look(self._asking)

    def _seen(self, answer: Answer) -> None:
        if answer is Answer.LOST:
            self._onlooker = Onlooker(self._replaced(self._onlooker.caller))
        else:
            self._onlooker.seen(self._asking)

    def _answered(self, heard: Caller, answer: Answer) -> None:
        turn = self._asking.pop(heard, None)
        if turn:
            self._note(turn.answered(time.monotonic(), gave_up=answer is Answer.GAVE_UP))
        else:  # ended by the server while it had nothing to do
            self._idle.remove(heard)
        if answer is Answer.LOST:
            heard = self._replaced(heard)
        self._idle.append(heard)
        if turn and (answer is not Answer.REFUSED or self._followed(turn, heard)):
            self._round.put(turn, time.monotonic())
        self._unsettled.discard(turn)
        if not self._unsettled:
            self._settled.set()

    def _note(self, wait: Wait | None) -> None:
        if wait and wait.since >= self._counted_from:
            self.waits.append(wait)

    def _replaced(self, lost: Caller) -> Caller:
        """Another session: an application too connects again."""
        self._dismiss(lost)
        other = self._connected()
        other.give_up_after(self._lock_timeout_ms)
        return other

    def _followed(self, turn: Turn, heard: Caller) -> bool:
        """Whether the relation is there under another name, or something else under its name: then that is asked."""
        found = probe.again(heard.connection, turn.probe)
        if found is None:
            self.gone.append(turn.probe)
            return False
        turn.probe = found
        return True
