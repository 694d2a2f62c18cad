"""The text of db.status: the lines of the specification, "Check Migration Status", and below them what disagrees."""

from __future__ import annotations

from typing import TYPE_CHECKING

import tabulate

from kernel.plan import State
from kernel.report import problems

if TYPE_CHECKING:
    from kernel.plan import Plan

# The column that the specification's sample gives the file names; longer names widen it.
_FILENAME_WIDTH = 36
_TABLE = tabulate.TableFormat(
    lineabove=None,
    linebelowheader=None,
    linebetweenrows=None,
    linebelow=None,
    headerrow=None,
    datarow=tabulate.DataRow("  ", " ", ""),
    padding=0,
    with_header_hide=None,
)
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
        _table(plan, emoji=emoji),
    ]
    if drift := plan.drift():
        lines += ["", "Drift:", *(f"  {line}" for problem in drift for line in problems.lines(problem))]
    if plan.ahead:
        lines += ["", ahead(plan)]
    return "\n".join(lines)


def ahead(plan: Plan) -> str:
    """The warning for a database that an earlier release meets again."""
    names = ", ".join(record.filename for record in plan.ahead)
    return f"the database is ahead of these files: {names}; deploy the release that holds them, or go on as you are"


def _table(plan: Plan, *, emoji: bool) -> str:
    states = {state: f"{sign} {word}" if emoji else word for state, (sign, word) in _STATES.items()}
    width = max((len(entry.version) for entry in plan.entries), default=0)
    rows = [
        (f"{entry.version:{width}} {entry.filename:{_FILENAME_WIDTH}}", states[entry.state]) for entry in plan.entries
    ]
    return tabulate.tabulate(rows, tablefmt=_TABLE, disable_numparse=True, preserve_whitespace=True)
