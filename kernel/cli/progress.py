"""Progress of a run: a line for each applied migration, and what the statement that is running does or waits for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel.apply.events import (
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
from kernel.units import format_count, format_quantity

if TYPE_CHECKING:
    from kernel.apply.events import Event, Observer
    from kernel.cli.context import Console

# A log shows that a statement is still running after this time, then each time that it has doubled.
_FIRST_REPORT_SECONDS = 10.0
_LONGEST_SILENCE_SECONDS = 300.0


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

    def _show(self, event: Event) -> None:  # noqa: C901 - one case for each event
        match event:
            case WaitingForLock():
                self._show_wait("", (f"another runner: {event.holder}",))
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
                self._show_wait(f"{self.filename}: ", event.blockers, event.seconds)
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

    def _show_wait(self, place: str, blockers: tuple[str, ...], seconds: float = 0.0) -> None:
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
