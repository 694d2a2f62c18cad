"""Signals that end a run after the step that is running, not in its middle."""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType


_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class DeferredSignals:
    """The signals that arrived, and the handlers that they would have had."""

    def __init__(self) -> None:
        self.received: list[tuple[int, FrameType | None]] = []
        self.handlers: dict[int, Callable[[int, FrameType | None], object]] = {}

    def receive(self, number: int, frame: FrameType | None) -> None:
        """Keep the first signal until it is delivered; a second one is handled at once."""
        self.received.append((number, frame))
        if len(self.received) > 1:
            self.deliver()

    def deliver(self) -> None:
        """Call the handler of the last signal that arrived, which ends the run."""
        number, frame = self.received[-1]
        self.handlers[number](number, frame)


@contextmanager
def deferred_signals() -> Iterator[DeferredSignals]:
    """Keep SIGINT and SIGTERM until they are delivered. In another thread than the main one, none arrive."""
    deferred = DeferredSignals()
    if threading.current_thread() is threading.main_thread():
        for number in _SIGNALS:
            if callable(handler := signal.getsignal(number)):
                deferred.handlers[number] = handler
                signal.signal(number, deferred.receive)
    try:
        yield deferred
    finally:
        for caught, former in deferred.handlers.items():
            if signal.getsignal(caught) == deferred.receive:  # a handler may have set another one
                signal.signal(caught, former)
