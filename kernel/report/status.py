"""The text of db.status, in the lines of the specification ("Check Migration Status"), and the lines of a problem."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel.plan import DriftProblem, VersionState
from kernel.report.safe_text import show_hidden_characters

if TYPE_CHECKING:
    from kernel.errors import Problem
    from kernel.plan import Plan, PlanEntry

# The column that the specification's sample gives the file names; longer names widen it.
_FILENAME_WIDTH = 36
_STATE_LABELS = {
    VersionState.APPLIED: ("✅", "Applied"),
    VersionState.PENDING: ("⏳", "Pending"),
    VersionState.MODIFIED: ("📝", "Modified"),
    VersionState.MISSING: ("❓", "Missing"),
    VersionState.OUT_OF_ORDER: ("⏳", "Pending, out of order"),
    VersionState.PARTIAL: ("🚧", "Partial"),
}


def problem_lines(problem: Problem) -> list[str]:
    """The place and message of a problem, and the indented lines of its diff."""
    lines = str(problem).splitlines()
    if isinstance(problem, DriftProblem) and problem.diff:
        lines += [f"  {line}".rstrip() for line in problem.diff.split("\n")]
    return lines


def status_text(plan: Plan, *, emoji: bool) -> str:
    """The whole status, without a newline at its end."""
    lines = [
        "📊 Migration Status:" if emoji else "Migration Status:",
        "",
        f"Total migrations: {len(plan.entries)}",
        f"Applied: {plan.applied_count}",
        f"Pending: {len(plan.pending)}",
        "",
        "Migrations:",
        _versions_table(plan.entries, emoji=emoji),
    ]
    if partial := [f"  {entry.filename}: {entry.partial}" for entry in plan.entries if entry.partial]:
        lines += ["", "Partial:", *(show_hidden_characters(line) for line in partial)]
    if drift := plan.drift():
        details = [show_hidden_characters(line, keep="\t") for problem in drift for line in problem_lines(problem)]
        lines += ["", "Drift:", *(f"  {line}" for line in details)]
    if plan.records_ahead:
        lines += ["", ahead_warning(plan)]
    return "\n".join(lines)


def ahead_warning(plan: Plan) -> str:
    """The warning for a database with records of a later release than these files."""
    names = ", ".join(show_hidden_characters(record.filename) for record in plan.records_ahead)
    return f"the database is ahead of these files: {names}; deploy the release that holds them, or go on as you are"


def _versions_table(entries: tuple[PlanEntry, ...], *, emoji: bool) -> str:
    """A line for each version, in columns: version and file name as wide as the longest, then the state."""
    # Without tabulate, which takes longer for thousands of files than reading their records.
    states = {state: f"{sign} {word}" if emoji else word for state, (sign, word) in _STATE_LABELS.items()}
    rows = [(*_shown_version_and_name(entry), states[entry.state]) for entry in entries]
    left = max((len(version) for version, _, _ in rows), default=0)
    middle = max((len(filename) for _, filename, _ in rows), default=0)
    middle = max(middle, _FILENAME_WIDTH)
    return "\n".join([f"  {version.ljust(left)} {filename.ljust(middle)} {state}" for version, filename, state in rows])


def _shown_version_and_name(entry: PlanEntry) -> tuple[str, str]:
    """The version and the file name to show; those of a file follow the naming rule, a ledger may hold any text."""
    if entry.migration:
        return entry.migration.version, entry.migration.filename
    return show_hidden_characters(entry.version), show_hidden_characters(entry.filename)
