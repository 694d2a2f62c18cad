"""Output of the tasks: the two streams, and the progress of a run on them.

Results go to stdout, everything else to stderr; emoji and live lines only to terminals that can show them.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from io import StringIO
from typing import TYPE_CHECKING, TextIO

from kernel.apply.events import (
    BackfillStopped,
    BackfillWaiting,
    BatchCommitted,
    BatchesShrunk,
    FileWarning,
    IndexBuildProgressed,
    MigrationApplied,
    MigrationProgressed,
    MigrationRetrying,
    MigrationStarted,
    NoticeReceived,
    StatementBlocked,
    StatementRunning,
    WaitingForLock,
)
from kernel.report.safe_text import show_hidden_characters
from kernel.units import format_count, format_quantity, format_seconds

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kernel.apply.events import Event, Observer


_CLEAR_LINE = "\r\x1b[2K"
_RED, _RESET_COLOUR = "\x1b[31m", "\x1b[0m"
# A log shows that a statement is still running after this time, then each time that it has doubled.
_FIRST_REPORT_SECONDS = 10.0
_LONGEST_SILENCE_SECONDS = 300.0


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

    def write_result(self, text: str) -> None:
        """Write a part of the result as it is."""
        _write_stream(self.out, text)

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


class Progress:
    """Shows the events of a run: on a terminal as a line that passes, elsewhere as a line for each change.

    `filename` is the file that is running, "" for none.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._quiet = False
        self.filename = ""
        self._statement_count = self._finished = 0
        self._waits_shown: set[str] = set()
        self._next_report_seconds = _FIRST_REPORT_SECONDS

    def observer(self, *, quiet: bool = False) -> Observer:
        """An observer of a run; `quiet` leaves out what goes to stdout."""
        self._quiet = quiet
        return self._show

    def _show(self, event: Event) -> None:  # noqa: C901, PLR0912 - one case for each event
        match event:
            case WaitingForLock():
                self.show_wait("", (f"another runner: {event.holder}",))
            case FileWarning():
                self._console.print_line(show_hidden_characters(f"warning: {event.problem}"))
            case MigrationStarted():
                self._show_start(event)
            case MigrationProgressed():
                self._finished = event.statements
                percent = 100 * event.sent_bytes // max(1, event.script.size_bytes)
                done = f"{format_count(event.statements)} of {format_quantity(self._statement_count, 'statement')}"
                self._console.show_progress(f"{self.filename}: {done}, {percent} %")
            case StatementRunning():
                first, last = self._finished + event.index + 1, self._finished + event.count
                numbers = f"statement {first}" if first == last else f"statements {first} to {last}"
                text = f"{self.filename}:{event.line}: {numbers} of {self._statement_count}"
                self._show_running(text, event.seconds)
            case IndexBuildProgressed():
                self._show_running(f"{self.filename}: {event.phase}", event.seconds)
            case StatementBlocked():
                self.show_wait(f"{self.filename}: ", event.blockers, event.seconds)
            case BatchCommitted():
                self._show_running(f"{self.filename}: {walk_text(event)}", event.run_seconds)
            case BackfillWaiting():
                self.show_wait(f"{self.filename}: ", (event.standby,))
            case BatchesShrunk():
                count = format_quantity(event.waiting_sessions, "session")
                rows = format_quantity(event.rows, "row")
                self._console.print_line(f"{self.filename}: {count} waited for a batch; the next ones have {rows}")
            case BackfillStopped():
                text = f"{self.filename}: stopped after the batch, at {event.walk}; the next run goes on from there"
                self._console.print_line(text)
            case NoticeReceived():
                self._console.print_line(show_hidden_characters(_notice_text(event), keep="\n\t"))
            case MigrationRetrying():
                self._waits_shown.clear()
                self._console.print_line(show_hidden_characters(_retry_line(event)))
            case MigrationApplied():
                self.filename = ""
                if not self._quiet:
                    self._console.print_result(applied_line(event))

    def _show_start(self, event: MigrationStarted) -> None:
        self.filename, self._finished = event.migration.filename, 0
        self._statement_count = event.script.statement_count
        self._waits_shown.clear()
        self._console.show_progress(f"{self.filename}: {format_quantity(self._statement_count, 'statement')}")

    def _show_running(self, text: str, seconds: float) -> None:
        line = f"{text}, running for {seconds:.0f} s"
        if self._console.live_lines:
            self._console.show_progress(line)
            return
        if seconds < _FIRST_REPORT_SECONDS:
            self._next_report_seconds = _FIRST_REPORT_SECONDS
        elif seconds >= self._next_report_seconds:
            self._next_report_seconds = seconds + min(seconds, _LONGEST_SILENCE_SECONDS)
            self._console.print_line(line)

    def show_wait(self, place: str, blockers: Sequence[str], seconds: float = 0.0) -> None:
        """Show a wait: passing on a terminal, elsewhere once for each blocker of an attempt."""
        if self._console.live_lines:
            elapsed = f"{seconds:.0f} s " if seconds else ""
            text = f"{place}waiting {elapsed}for {'; '.join(blockers)}"
            self._console.show_progress(show_hidden_characters(text))
            return
        for line in blockers:
            session = line.partition(" (")[0]  # what it runs and for how long changes, its pid does not
            if session not in self._waits_shown:
                self._waits_shown.add(session)
                self._console.print_line(show_hidden_characters(f"{place}waiting for {line}"))


def walk_text(event: BatchCommitted) -> str:
    """How far a backfill is, its rate, and the time that is left if it keeps that rate."""
    walk, rate = event.walk, event.run_rows / max(event.run_seconds, 0.001)
    rows = f"{format_count(walk.rows)} of about {format_count(max(walk.estimate, walk.rows))} rows"
    left = max(walk.estimate - walk.rows, 0) / max(rate, 0.001)
    return f"{walk}, {rows}, {format_count(round(rate))} rows/s, about {format_seconds(left)} left"


def _notice_text(event: NoticeReceived) -> str:
    """The message of the server at its place, and its detail in lines below."""
    place = event.migration.filename + (f":{event.line}" if event.line else "")
    detail = "".join(f"\n  {line}" for line in event.detail.splitlines())
    return f"{place}: {event.severity}: {event.message}{detail}"


def _retry_line(event: MigrationRetrying) -> str:
    blockers = f"; blocked by {'; '.join(event.blockers)}" if event.blockers else ""
    times = f"attempt {event.attempt} of {event.attempts + 1}"
    return f"{event.file}: {event.reason}{blockers}; {times} rolled back, again in {event.pause_seconds:.1f} s"


def applied_line(event: MigrationApplied) -> str:
    """The line for an applied migration."""
    count = format_quantity(event.statements, "statement")
    note = f", {event.note}" if event.note else ""
    return f"applied {event.migration.filename} ({count}, {event.seconds:.3f} s{note})"
