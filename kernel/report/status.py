"""The text of db.status, in the lines of the specification ("Check Migration Status"), and the lines of a problem."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel.db.repeatable_entries import RepeatableState
from kernel.plan import DriftProblem, VersionState
from kernel.report.safe_text import show_hidden_characters
from kernel.units import format_quantity

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kernel.db.repeatable_entries import RepeatableEntry
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
_REPEATABLE_LABELS = {
    RepeatableState.APPLIED: ("✅", "Applied"),
    RepeatableState.PENDING: ("⏳", "Pending"),
    RepeatableState.UNKNOWN: ("❓", "Unknown, no privilege to read the records"),
    RepeatableState.SUPERSEDED: ("✅", "Applied by another release"),
    RepeatableState.MISSING: ("❓", "Deleted, what it made is still there"),
}


def problem_lines(problem: Problem) -> list[str]:
    """The place and message of a problem, and the indented lines of its diff."""
    lines = str(problem).splitlines()
    if isinstance(problem, DriftProblem) and problem.diff:
        lines += [f"  {line}".rstrip() for line in problem.diff.split("\n")]
    return lines


def status_text(plan: Plan, *, emoji: bool, database: str = "", repeatable: Sequence[RepeatableEntry] = ()) -> str:
    """The whole status, without a newline at its end; with `database` the long one, which names it."""
    lines = [
        "📊 Migration Status:" if emoji else "Migration Status:",
        "",
        *([f"Database: {show_hidden_characters(database)}"] if database else []),
        f"Total migrations: {len(plan.entries)}",
        f"Applied: {plan.applied_count}",
        f"Pending: {len(plan.pending)}",
        "",
        "Migrations:",
        _versions_table(plan.entries, emoji=emoji, long=bool(database)),
    ]
    if repeatable:
        lines += ["", "Repeatable files:", *_repeatable_lines(repeatable, emoji=emoji, long=bool(database))]
    if partial := [f"  {entry.filename}: {entry.partial}" for entry in plan.entries if entry.partial]:
        lines += ["", "Partial:", *(show_hidden_characters(line) for line in partial)]
    if drift := plan.drift():
        details = [show_hidden_characters(line, keep="\t") for problem in drift for line in problem_lines(problem)]
        lines += ["", "Drift:", *(f"  {line}" for line in details)]
    if plan.records_ahead:
        lines += ["", ahead_warning(plan)]
    return "\n".join(lines)


def _repeatable_lines(entries: Sequence[RepeatableEntry], *, emoji: bool, long: bool) -> list[str]:
    """A line for each repeatable file, with its state."""
    width = max(len(show_hidden_characters(entry.name)) for entry in entries)
    lines = []
    for entry in entries:
        sign, word = _REPEATABLE_LABELS[entry.state]
        changed = ", changed" if entry.state is RepeatableState.PENDING and entry.record else ""
        changed = ", what it made is gone" if entry.is_gone else changed
        at = f"  {entry.record.applied_at:%Y-%m-%d %H:%M:%S} UTC" if entry.record and long else ""
        name = show_hidden_characters(entry.name).ljust(max(width, _FILENAME_WIDTH + 4))
        lines.append(f"  {name} {f'{sign} ' if emoji else ''}{word}{changed}{at}")
    return lines


def missing_repeatable_warning(name: str) -> str:
    """The warning for a repeatable file that was deleted."""
    shown = show_hidden_characters(name)
    return (
        f"repeatable/{shown}.sql was deleted, and what it made is still there; drop that in a migration, "
        f"then: inv db.repair --forget {shown}"
    )


def ahead_warning(plan: Plan) -> str:
    """The warning for a database with records of a later release than these files."""
    names = ", ".join(show_hidden_characters(record.filename) for record in plan.records_ahead)
    return f"the database is ahead of these files: {names}; deploy the release that holds them, or go on as you are"


def _versions_table(entries: tuple[PlanEntry, ...], *, emoji: bool, long: bool) -> str:
    """A line for each version, in columns: version and file name as wide as the longest, then the state.

    With `long`, also when it was applied, and the checksum of what was applied.
    """
    # Without tabulate, which takes longer for thousands of files than reading their records.
    states = {state: f"{sign} {word}" if emoji else word for state, (sign, word) in _STATE_LABELS.items()}
    rows = [(*_shown_version_and_name(entry), states[entry.state] + _waiting(entry)) for entry in entries]
    left = max((len(version) for version, _, _ in rows), default=0)
    middle = max((len(filename) for _, filename, _ in rows), default=0)
    middle = max(middle, _FILENAME_WIDTH)
    lines = [f"  {version.ljust(left)} {filename.ljust(middle)} {state}" for version, filename, state in rows]
    if long:
        right = max(map(len, lines), default=0)
        lines = [f"{line.ljust(right)}  {_describe_record(entry)}" for line, entry in zip(lines, entries, strict=True)]
    return "\n".join(lines)


def _waiting(entry: PlanEntry) -> str:
    return ", waits for --phase after" if entry.waits_for_phase_after else ""


def _describe_record(entry: PlanEntry) -> str:
    """When a version was applied, in UTC, and the checksum in its record; in words where it has none."""
    if entry.record:
        return f"{entry.record.applied_at:%Y-%m-%d %H:%M:%S} UTC  {show_hidden_characters(entry.record.checksum)}"
    if entry.stands_for:
        return "never applied itself: the files that it replaces are, inv db.migrate records it"
    if entry.partial and entry.partial.walk:
        return f"never completed: {entry.partial.walk}"
    if entry.partial:
        return f"never completed: {format_quantity(entry.partial.finished, 'statement')} finished"
    return "never applied"


def _shown_version_and_name(entry: PlanEntry) -> tuple[str, str]:
    """The version and the file name to show; those of a file follow the naming rule, a ledger may hold any text."""
    if entry.migration:
        return entry.migration.version, entry.migration.filename
    return show_hidden_characters(entry.version), show_hidden_characters(entry.filename)
