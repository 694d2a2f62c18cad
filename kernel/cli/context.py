"""The context of a task: settings, console, signal handlers and error reports; and parsers of flag values.

Results go to stdout, everything else to stderr; emoji and live lines only to terminals that can show them.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from io import StringIO
from typing import TYPE_CHECKING, TextIO

from kernel.config.settings import load_settings
from kernel.errors import Interrupted, KernelError, Terminated, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path
    from types import FrameType

    from kernel.cli.progress import Progress
    from kernel.config.settings import Settings
    from kernel.operations.drift import MigrationsLocation


_AFTER_SIGNAL = "what had not committed is rolled back; inv db.status shows what is applied, running again continues"


_SIGNALS = (signal.SIGINT, signal.SIGTERM)
# Most objects live until the task ends, so frequent garbage collections would free little memory.
_COLLECTION_THRESHOLD = 100_000
_CLEAR_LINE = "\r\x1b[2K"
_RED, _RESET_COLOUR = "\x1b[31m", "\x1b[0m"


@dataclass(frozen=True, slots=True, kw_only=True)
class Console:
    """The two streams and what they can show: `emoji` on stdout, `live_lines` and `colour` on stderr.

    A stream that is closed by its reader raises no error: a migration must not stop because its output is not read.
    """

    out: TextIO
    err: TextIO
    emoji: bool
    live_lines: bool
    colour: bool

    def print_result(self, text: str) -> None:
        """Print a line of the result."""
        self.show_progress("")
        _write_stream(self.out, f"{text}\n")

    def print_line(self, text: str) -> None:
        """Print a line that is not the result."""
        self.show_progress("")
        _write_stream(self.err, f"{text}\n")

    def print_error(self, text: str) -> None:
        """Print an error, its first line in red on a terminal with colours."""
        first, _, rest = text.partition("\n")
        self.print_line((f"{_RED}{first}{_RESET_COLOUR}" if self.colour else first) + (f"\n{rest}" if rest else ""))

    def show_progress(self, text: str) -> None:
        """Show a line that the next line replaces; only on a terminal."""
        if self.live_lines:
            _write_stream(self.err, _CLEAR_LINE + text[: _terminal_columns() - 1])


def open_console(environ: Mapping[str, str], out: TextIO | None = None, err: TextIO | None = None) -> Console:
    """The console of this process, as NO_COLOR and TERM say (https://no-color.org)."""
    # Python has None for a stream that was closed before the process started.
    out, err = out or sys.stdout or StringIO(), err or sys.stderr or StringIO()
    limited = environ.get("TERM") in ("dumb", "linux")
    terminal = err.isatty() and not limited
    return Console(
        out=out,
        err=err,
        emoji=_can_encode(out, "📊✅⏳") and not (out.isatty() and limited),
        live_lines=terminal,
        colour=terminal and not environ.get("NO_COLOR"),
    )


def _can_encode(stream: TextIO, text: str) -> bool:
    try:
        text.encode(stream.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True


def _write_stream(stream: TextIO, text: str) -> None:
    try:
        stream.write(text)
        stream.flush()
    except OSError as error:
        # Otherwise Python reports the error again when it flushes the stream at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        if stream is sys.stdout and not isinstance(error, BrokenPipeError):
            _write_stream(sys.stderr, f"warning: the output cannot be written: {error.strerror}\n")
    except UnicodeEncodeError:
        stream.write(text.encode(stream.encoding, errors="replace").decode(stream.encoding))


def _terminal_columns() -> int:
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns
    except OSError:
        return 80


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
    gc.set_threshold(_COLLECTION_THRESHOLD)
    console = open_console(os.environ)
    from kernel.cli.progress import Progress  # noqa: PLC0415 - inv --list runs no task

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
