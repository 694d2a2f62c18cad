"""What is shown while migrations run: a line for each that is applied, a passing one for what is under way."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel.apply.events import Applied, Blocked, Building, Noticed, Progressed, Retrying, Started, Waiting

if TYPE_CHECKING:
    from kernel.apply.events import Event, Observer
    from kernel.report.console import Console


def observer(console: Console, *, quiet: bool = False) -> Observer:
    """Show events on a console; `quiet` leaves out what goes to stdout."""

    def show(event: Event) -> None:
        match event:
            case Applied() if not quiet:
                console.result(applied(event))
            case Started():
                console.passing(f"{event.migration.filename}: {event.script.statements} statements")
            case Progressed():
                percent = 100 * event.sent_bytes // max(1, event.script.size_bytes)
                count = f"{event.statements}/{event.script.statements} statements"
                console.passing(f"{event.migration.filename}: {count}, {percent} %")
            case Building():
                console.passing(f"{event.migration.filename}: {event.phase}")
            case _:
                if line := _aside(event):
                    console.say(line)

    return show


def _aside(event: Event) -> str:
    match event:
        case Waiting():
            return f"waiting for another runner: {event.holder}"
        case Blocked():
            return f"{event.migration.filename}: waiting for {'; '.join(event.blockers)}"
        case Noticed():
            place = event.migration.filename + (f":{event.line}" if event.line else "")
            return f"{place}: {event.severity}: {event.message}"
        case Retrying():
            blockers = f"; blocked by {'; '.join(event.blockers)}" if event.blockers else ""
            times = f"attempt {event.attempt} of {event.attempts + 1}"
            return f"{event.file}: {event.reason}{blockers}; {times} rolled back, again in {event.pause_seconds:.1f} s"
        case _:
            return ""


def applied(event: Applied) -> str:
    """The line for an applied migration."""
    count = f"{event.statements} statement{'' if event.statements == 1 else 's'}"
    note = f", {event.note}" if event.note else ""
    return f"applied {event.migration.filename} ({count}, {event.seconds:.3f} s{note})"
