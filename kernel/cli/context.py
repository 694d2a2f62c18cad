"""What every task has before it: the settings, the console, and whether the answer is JSON."""

from __future__ import annotations

import gc
import os
import signal
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kernel.config.settings import load_settings
from kernel.errors import Interrupted, KernelError, Terminated, UsageError
from kernel.report.console import Console, open_console

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from types import FrameType

    from kernel.config.settings import Settings
    from kernel.operations.drift import MigrationsLocation


_AFTER_SIGNAL = "what had not committed is rolled back; inv db.status tells what is applied, running again goes on"


_SIGNALS = (signal.SIGINT, signal.SIGTERM)
# A task's values live until it ends. Looking through thousands of them for cycles, again and again, finds none.
_OBJECTS_BEFORE_COLLECTING = 100_000


class _SigtermReceived(KeyboardInterrupt):
    """SIGTERM, in the shape that every `finally` and psycopg already know: cancel what runs, then go."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskContext:
    """Where a task works: results go to stdout, as one JSON document with `json`, everything else to stderr."""

    settings: Settings
    console: Console
    json: bool

    def print_answer(self, text: Callable[[], str], document: Callable[[], dict[str, object]]) -> None:
        """Print the result, as JSON when that is asked for."""
        if self.json:
            from kernel.report.json_documents import json_text  # noqa: PLC0415 - of use only here

            self.console.print_result(json_text(document()))
        else:
            self.console.print_result(text())

    @property
    def migrations_location(self) -> MigrationsLocation:
        """Where evidence is looked for, and what its commands start from."""
        from kernel.operations.drift import MigrationsLocation  # noqa: PLC0415 - most tasks never ask

        return MigrationsLocation(root=self.settings.root, directory=self.settings.migrations_dir, environ=os.environ)

    def require_confirmation(self, task: str, *, yes: bool) -> None:
        """Raise UsageError when a destructive task would touch production without --yes."""
        if self.settings.production and not yes:
            raise UsageError(f"{task} changes production (KERNEL_STORAGE_MODE=SUPABASE); say so with --yes")


@contextmanager
def open_task(
    root: Path, *, json: bool, failed: Callable[[int], BaseException], after_a_signal: str = _AFTER_SIGNAL
) -> Iterator[TaskContext]:
    """Open the desk for a task of the project in `root`; `after_a_signal` says how a signal leaves things.

    A KernelError, and a signal, become one report on stderr (with `json` one document on stdout), and then the
    exception that `failed` makes of the exit code.
    """
    gc.set_threshold(_OBJECTS_BEFORE_COLLECTING)
    where = open_console(os.environ)
    for number in _SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # as a shell starts its background jobs
            signal.signal(number, _handle_first_signal)
    try:
        try:
            found = load_settings(root, os.environ)
            for warning in found.warnings:
                where.print_line(f"warning: {warning}")
            yield TaskContext(settings=found, console=where, json=json)
        except KeyboardInterrupt as told:
            for number in _SIGNALS:  # Python takes our handlers away as it ends, but not this
                signal.signal(number, signal.SIG_IGN)
            what = Terminated if isinstance(told, _SigtermReceived) else Interrupted
            raise what(f"{what.code}; {after_a_signal}") from told
    except KernelError as error:
        from kernel.report.errors import error_text  # noqa: PLC0415 - on the way of a failure only
        from kernel.report.json_documents import error_document, json_text  # noqa: PLC0415 - on the way of a failure only

        where.print_error(error_text(error))
        if json:
            where.print_result(json_text(error_document(error)))
        raise failed(error.exit) from error
    finally:
        # What is left ends with the process. Python would look through all of it for cycles before it exits.
        gc.freeze()


def _handle_first_signal(number: int, _frame: FrameType | None) -> None:
    # Once is enough: the next would stop the rollback half way. SIGQUIT still ends us, and then the server rolls back.
    for one in _SIGNALS:
        signal.signal(one, _ignore_signal)
    raise KeyboardInterrupt if number == signal.SIGINT else _SigtermReceived


_MAX_DIGITS = 9  # more than any number here can mean, fewer than int() refuses


def _ignore_signal(_number: int, _frame: FrameType | None) -> None:
    """Nothing. SIG_IGN would do, but for Python's complaint of a signal that came together with the first."""


def parse_number_flag(flag: str, text: str, *, least: int) -> int:
    """A flag's value as a number. Raises UsageError."""
    if not (text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS and int(text) >= least):
        raise UsageError(f"{flag} {text}: expected a whole number from {least}")
    return int(text)


def parse_version_flag(flag: str, text: str | None) -> str:
    """A flag's version; "" without the flag. Raises UsageError when it is empty, as a script's unset variable is."""
    if text is not None and not text.strip():
        raise UsageError(f"{flag}: empty; write a version such as 016, or leave the flag out")
    return text or ""


def parse_seconds_flag(flag: str, text: str) -> float:
    """A flag's value in seconds; -1 is for ever. Raises UsageError."""
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if value == -1 or 0 <= value < 1e9:  # noqa: PLR2004 - thirty years are for ever too
        return value
    raise UsageError(f"{flag} {text}: expected seconds, 0 not to wait, -1 to wait for ever")
