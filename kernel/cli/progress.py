"""Progress of a run: a line for each applied migration, and a live line for the statement that is running."""

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
    WaitingForLock,
)
from kernel.units import plural_form

if TYPE_CHECKING:
    from kernel.apply.events import Event, Observer
    from kernel.cli.context import Console


def progress_observer(console: Console, *, quiet: bool = False) -> Observer:
    """An observer that shows events on a console; `quiet` leaves out what goes to stdout."""

    def show(event: Event) -> None:
        match event:
            case MigrationApplied() if not quiet:
                console.print_result(applied_line(event))
            case MigrationStarted():
                console.show_progress(f"{event.migration.filename}: {event.script.statement_count} statements")
            case MigrationProgressed():
                percent = 100 * event.sent_bytes // max(1, event.script.size_bytes)
                count = f"{event.statements}/{event.script.statement_count} statements"
                console.show_progress(f"{event.migration.filename}: {count}, {percent} %")
            case IndexBuildProgressed():
                console.show_progress(f"{event.migration.filename}: {event.phase}")
            case _:
                if line := _event_line(event):
                    console.print_line(line)

    return show


def _event_line(event: Event) -> str:
    match event:
        case WaitingForLock():
            return f"waiting for another runner: {event.holder}"
        case StatementBlocked():
            return f"{event.migration.filename}: waiting for {'; '.join(event.blockers)}"
        case NoticeReceived():
            place = event.migration.filename + (f":{event.line}" if event.line else "")
            return f"{place}: {event.severity}: {event.message}"
        case MigrationRetrying():
            blockers = f"; blocked by {'; '.join(event.blockers)}" if event.blockers else ""
            times = f"attempt {event.attempt} of {event.attempts + 1}"
            return f"{event.file}: {event.reason}{blockers}; {times} rolled back, again in {event.pause_seconds:.1f} s"
        case _:
            return ""


def applied_line(event: MigrationApplied) -> str:
    """The line for an applied migration."""
    count = f"{event.statements} {plural_form(event.statements, 'statement')}"
    note = f", {event.note}" if event.note else ""
    return f"applied {event.migration.filename} ({count}, {event.seconds:.3f} s{note})"
