"""Trying again what others were in the way of."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, TypeVar

from kernel.apply.events import Retrying
from kernel.errors import MigrationFailed

if TYPE_CHECKING:
    from collections.abc import Callable

    from kernel.apply.runner import Runner

T = TypeVar("T")

_OTHERS_IN_THE_WAY = ("55P03", "40P01", "40001")  # lock not available, deadlock, serialization failure
_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 10


def retried(runner: Runner, attempt: Callable[[], T]) -> T:
    """Call `attempt`, which rolls back when it fails, again after a pause that grows, at most `lock_retries` times.

    Nobody is ever killed for us. Raises what the last attempt raises.
    """
    for count in range(1, runner.patience.lock_retries + 1):
        runner.watch.forget()
        try:
            return attempt()
        except MigrationFailed as error:
            if error.failure.sqlstate not in _OTHERS_IN_THE_WAY:
                raise
            _pause(runner, error, count)
    return attempt()


def _pause(runner: Runner, error: MigrationFailed, count: int) -> None:
    longest = min(_PAUSE_SECONDS * 2 ** (count - 1), _LONGEST_PAUSE_SECONDS)
    seconds = longest * random.uniform(0.5, 1)  # noqa: S311 - jitter, no secret
    runner.observer(
        Retrying(
            file=error.failure.file,
            attempt=count,
            attempts=runner.patience.lock_retries,
            reason=str(error),
            blockers=runner.watch.blockers,
            pause_seconds=seconds,
        )
    )
    time.sleep(seconds)
