"""Time as production would see it: it stands still while a witness keeps the migration's session busy."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class Clock:
    """Seconds from `start`, without those spent in `standing`. `stood_seconds` is what they come to."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self.stood_seconds = 0.0

    def start(self) -> None:
        """Count from now on."""
        self._started = time.monotonic()
        self.stood_seconds = 0.0

    def now(self) -> float:
        return self.at(time.monotonic())

    def at(self, moment: float) -> float:
        """What it showed at a moment of time.monotonic(), which must lie behind the last time that it stood."""
        return moment - self._started - self.stood_seconds

    @contextmanager
    def standing(self) -> Iterator[None]:
        """Stand still for as long as the block takes."""
        since = time.monotonic()
        try:
            yield
        finally:
            self.stood_seconds += time.monotonic() - since
