"""The text of db.status: the lines of the specification, "Check Migration Status", and below them what disagrees."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel.plan import State
from kernel.report import problems
from kernel.report.visible import visible

if TYPE_CHECKING:
    from kernel.plan import Entry, Plan

# The column that the specification's sample gives the file names; longer names widen it.
_FILENAME_WIDTH = 36
_STATES = {
    State.APPLIED: ("✅", "Applied"),
    State.PENDING: ("⏳", "Pending"),
    State.MODIFIED: ("📝", "Modified"),
    State.MISSING: ("❓", "Missing"),
    State.OUT_OF_ORDER: ("⏳", "Pending, out of order"),
    State.PARTIAL: ("🚧", "Partial"),
}


def text(plan: Plan, *, emoji: bool) -> str:
    """The whole status, without a newline at its end."""
    lines = [
        "📊 Migration Status:" if emoji else "Migration Status:",
        "",
        f"Total migrations: {len(plan.entries)}",
        f"Applied: {plan.applied}",
        f"Pending: {len(plan.pending)}",
        "",
        "Migrations:",
        _table(plan.entries, emoji=emoji),
    ]
    if drift := plan.drift():
        told = [visible(line, keep="\t") for problem in drift for line in problems.lines(problem)]
        lines += ["", "Drift:", *(f"  {line}" for line in told)]
    if plan.ahead:
        lines += ["", ahead(plan)]
    return "\n".join(lines)


def ahead(plan: Plan) -> str:
    """The warning for a database that an earlier release meets again."""
    names = ", ".join(visible(record.filename) for record in plan.ahead)
    return f"the database is ahead of these files: {names}; deploy the release that holds them, or go on as you are"


def _table(entries: tuple[Entry, ...], *, emoji: bool) -> str:
    """A line for each version, in columns: version and file name as wide as the longest, then the state."""
    # By hand: for a history of thousands of files, tabulate would take longer than reading their records does.
    states = {state: f"{sign} {word}" if emoji else word for state, (sign, word) in _STATES.items()}
    rows = [(*_named(entry), states[entry.state]) for entry in entries]
    left = max((len(version) for version, _, _ in rows), default=0)
    middle = max((len(filename) for _, filename, _ in rows), default=0)
    middle = max(middle, _FILENAME_WIDTH)
    return "\n".join([f"  {version.ljust(left)} {filename.ljust(middle)} {state}" for version, filename, state in rows])


def _named(entry: Entry) -> tuple[str, str]:
    """The version and the file name to show; the naming rule says what a file has, but a ledger may hold any text."""
    if entry.migration:
        return entry.migration.version, entry.migration.filename
    return visible(entry.version), visible(entry.filename)
