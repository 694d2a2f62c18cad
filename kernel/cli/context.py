"""The context of a task: settings, console, signal handlers and error reports; and parsers of flag values."""

from __future__ import annotations

import gc
import os
import signal
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kernel.config.settings import load_settings
from kernel.errors import Interrupted, KernelError, Terminated, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from types import FrameType

    from kernel.cli.console import Console, Progress
    from kernel.config.settings import Settings
    from kernel.operations.drift import MigrationsLocation


_AFTER_SIGNAL = "what had not committed is rolled back; inv db.status shows what is applied, running again continues"


_SIGNALS = (signal.SIGINT, signal.SIGTERM)
# Most objects live until the task ends, so frequent garbage collections would free little memory.
_COLLECTION_THRESHOLD = 100_000


class _SigtermReceived(KeyboardInterrupt):
    """SIGTERM as a KeyboardInterrupt, for which psycopg cancels the running statement."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskContext:
    """Settings and output of a task: results go to stdout, as one JSON document with `json`, all else to stderr."""

    settings: Settings
    console: Console
    progress: Progress
    json: bool

    def print_result(self, text: Callable[[], str], document: Callable[[], dict[str, object]]) -> None:
        """Print the result as text, or as JSON with --json."""
        if self.json:
            from kernel.report.json_documents import json_text  # noqa: PLC0415 - with --json only

            self.console.print_result(json_text(document()))
        else:
            self.console.print_result(text())

    @property
    def migrations_location(self) -> MigrationsLocation:
        """The directories and environment in which git looks for the history of changed files."""
        from kernel.operations.drift import MigrationsLocation  # noqa: PLC0415 - few tasks need it

        return MigrationsLocation(root=self.settings.root, directory=self.settings.migrations_dir, environ=os.environ)

    def require_confirmation(self, task: str, *, yes: bool) -> None:
        """Raise UsageError when a destructive task would change production without --yes."""
        if self.settings.production and not yes:
            raise UsageError(f"{task} changes production (KERNEL_STORAGE_MODE=SUPABASE); confirm it with --yes")


@contextmanager
def open_task(
    root: Path, *, json: bool, exit_with: Callable[[int], BaseException], after_signal: str = _AFTER_SIGNAL
) -> Iterator[TaskContext]:
    """Run a task of the project in `root`; `after_signal` describes the state that a signal leaves.

    A KernelError or a signal is reported once on stderr (with `json` also as a document on stdout); then the exception
    that `exit_with` makes of the exit code is raised.
    """
    from kernel.cli.console import Progress, open_console  # noqa: PLC0415 - inv --list runs no task

    gc.set_threshold(_COLLECTION_THRESHOLD)
    console = open_console(os.environ)
    progress = Progress(console)
    for number in _SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # background jobs of a shell ignore SIGINT
            signal.signal(number, _handle_first_signal)
    try:
        try:
            settings = load_settings(root, os.environ)
            for warning in settings.warnings:
                console.print_line(f"warning: {warning}")
            yield TaskContext(settings=settings, console=console, progress=progress, json=json)
        except KeyboardInterrupt as interrupt:
            for number in _SIGNALS:  # unlike a handler, this holds while Python shuts down
                signal.signal(number, signal.SIG_IGN)
            error_class = Terminated if isinstance(interrupt, _SigtermReceived) else Interrupted
            place = f" while {progress.filename} ran" if progress.filename else ""
            raise error_class(f"{error_class.code}{place}; {after_signal}") from interrupt
    except KernelError as error:
        from kernel.report.errors import error_text  # noqa: PLC0415 - after a failure only
        from kernel.report.json_documents import error_document, json_text  # noqa: PLC0415 - after a failure only

        console.print_error(error_text(error))
        if json:
            console.print_result(json_text(error_document(error)))
        raise exit_with(error.exit) from error
    finally:
        # The process ends now: skip the garbage collection at exit.
        gc.freeze()


def _handle_first_signal(number: int, _frame: FrameType | None) -> None:
    # A second signal would interrupt the rollback. SIGQUIT still ends the process; the server then rolls back.
    for caught in _SIGNALS:
        signal.signal(caught, _ignore_signal)
    raise KeyboardInterrupt if number == signal.SIGINT else _SigtermReceived


def _ignore_signal(_number: int, _frame: FrameType | None) -> None:
    """Do nothing. With SIG_IGN, Python would warn of a signal that arrived together with the first."""


_MAX_DIGITS = 9  # int() refuses very long texts


def parse_number_flag(flag: str, text: str, *, least: int) -> int:
    """Parse a whole number of at least `least`. Raises UsageError."""
    if not (text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS and int(text) >= least):
        raise UsageError(f"{flag} {text}: expected a whole number from {least}")
    return int(text)


def parse_version_flag(flag: str, text: str | None) -> str:
    """Parse a version; "" without the flag. Raises UsageError when empty, as an unset shell variable is."""
    if text is not None and not text.strip():
        raise UsageError(f"{flag}: empty; write a version such as 016, or omit the flag")
    return text or ""


def parse_seconds_flag(flag: str, text: str) -> float:
    """Parse seconds; -1 is no limit. Raises UsageError."""
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if value == -1 or 0 <= value < 1e9:  # noqa: PLR2004 - thirty years
        return value
    raise UsageError(f"{flag} {text}: expected seconds, 0 not to wait, -1 to wait without limit")
