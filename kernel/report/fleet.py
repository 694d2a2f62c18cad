"""The text of the tasks of a fleet, and their JSON documents."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from kernel.fleet.outcome import TargetState
from kernel.fleet.survey import names_of
from kernel.report.safe_text import display_width, to_one_line
from kernel.units import format_count, format_quantity, format_seconds

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator, Sequence

    from kernel.fleet.outcome import TargetError, TargetOutcome, TargetStatus
    from kernel.fleet.rollout import RolloutReport
    from kernel.fleet.survey import FleetStatus
    from kernel.fleet.verify import RecordGroup
    from kernel.report.json_documents import JsonDocument

_NAMES_SHOWN = 5
_ERRORS_SHOWN = 20
_DONE = (TargetState.APPLIED, TargetState.CURRENT, TargetState.PENDING)


def list_names(names: Sequence[str]) -> str:
    """The first names of a list, and how many more there are."""
    more = len(names) - _NAMES_SHOWN
    shown = ", ".join(to_one_line(name) for name in names[:_NAMES_SHOWN])
    return f"{shown} and {format_count(more)} more" if more > 0 else shown


def fleet_status_text(status: FleetStatus) -> str:
    """The versions with the number of their targets, the floor, and every target that is not as it should be."""
    files = f"{format_quantity(status.total_files, 'file')} up to {status.last_version}"
    lines = [f"{status.inventory}: {format_quantity(len(status.targets), 'target')}, {files}", ""]
    if status.read:
        lines.append(f"{'version':9}{'targets':>7}")
    most = max((count for _, count in status.versions), default=0)
    for version, count in status.versions:
        names = [one.name for one in status.read if one.version == version]
        named = "" if count == most and len(status.versions) > 1 and count > _NAMES_SHOWN else f"  {list_names(names)}"
        lines.append(f"{version or 'none':9}{format_count(count):>7}{named}")
    if status.read:
        lines += ["", floor_line(status)]
    lines += error_lines(status.targets)
    if ahead := [one for one in status.targets if one.ahead]:
        lines.append(f"ahead of these files: {list_names(names_of(ahead))}")
    return "\n".join(lines).rstrip()


def floor_line(status: FleetStatus) -> str:
    """The version down to which every file is applied in every target."""
    unread = len(status.targets) - len(status.read)
    but = f", as far as {format_quantity(len(status.read), 'target')} could be read" if unread else ""
    if not status.floor:
        return f"floor: none, no file is applied in {list_names(status.at_floor)}{but}"
    return f"floor: {status.floor}, which every target has{but}"


def error_lines(results: Iterable[TargetStatus | TargetOutcome]) -> Iterator[str]:
    """For each state the targets with an error; those with the same message share a line."""
    by_state: dict[TargetState, dict[str, list[str]]] = {}
    for one in results:
        if one.error:
            by_state.setdefault(one.state, {}).setdefault(error_line(one.error), []).append(one.name)
    for state, messages in by_state.items():
        count = sum(map(len, messages.values()))
        yield f"{state_words(state)}: {format_quantity(count, 'target')}"
        for message, names in list(messages.items())[:_ERRORS_SHOWN]:
            yield f"  {list_names(names)}: {message}"
        if (more := len(messages) - _ERRORS_SHOWN) > 0:
            yield f"  and {format_quantity(more, 'more message')}, all with --json"


def error_line(error: TargetError) -> str:
    """An error on one line, with its place and its next step."""
    hint = f"; {error.hint}" if error.hint else ""
    return to_one_line(f"{error}{hint}")


def state_words(state: TargetState) -> str:
    """A state as text."""
    return str(state).replace("_", " ")


def fleet_status_document(status: FleetStatus) -> JsonDocument:
    """The document of fleet.status; the floor is null when a target has no file applied."""
    return {
        "inventory": status.inventory,
        "total": status.total_files,
        "floor": status.floor or None,
        "versions": [{"version": version or None, "targets": count} for version, count in status.versions],
        "targets": [
            {
                "name": one.name,
                "state": str(one.state),
                "database": one.database or None,
                "version": one.version or None,
                "applied": one.applied,
                "pending": one.pending,
                "ahead": list(one.ahead),
                "error": error_value(one.error),
            }
            for one in status.targets
        ],
    }


def error_value(error: TargetError | None) -> JsonDocument | None:
    """An error for JSON, with the keys that apply."""
    if error is None:
        return None
    values = {"code": error.code, "exit": error.exit, "message": error.message}
    optional = {"file": error.file, "line": error.line, "hint": error.hint}
    return values | {key: value for key, value in optional.items() if value is not None}


def fleet_migrate_text(report: RolloutReport) -> str:
    """Each wave with the number of its targets in each state, then every target that is not well."""
    shown = [state for state in TargetState if any(one.state is state for one in report.outcomes)]
    verb = "would reach" if report.dry_run else "up to"
    files = f"{format_quantity(report.total_files, 'file')} {verb} {report.last_version}"
    count = format_quantity(len(report.outcomes), "target")
    lines = [f"{report.inventory}: {count}, {files}, in {format_seconds(report.seconds)}"]
    header = ["wave", "targets", *map(state_words, shown)]
    rows = [
        [
            to_one_line(wave.wave),
            format_count(len(wave.outcomes)),
            *(format_count(sum(one.state is state for one in wave.outcomes)) for state in shown),
        ]
        for wave in report.waves
    ]
    lines += ["", *columns([header, *rows]), ""]
    lines += error_lines(report.outcomes)
    if stopped := next((wave.stopped for wave in report.waves if wave.stopped), ""):
        lines.append(f"stopped: {stopped}")
    if any(one.state not in _DONE for one in report.outcomes):
        lines.append("next: inv fleet.migrate asks every target again, and runs what is still pending")
    if report.journal:
        lines.append(f"journal: .kernel/fleet/{report.journal.name}")
    return "\n".join(lines)


def columns(rows: Sequence[Sequence[str]], *, left: Container[str] = ()) -> list[str]:
    """Lines for a header and rows, with the first cell and those below a heading of `left` to the left."""
    widths = [max(display_width(row[at]) for row in rows) for at in range(len(rows[0]))]
    return [
        "  ".join(
            f"{cell}{'':{width - display_width(cell)}}" if not at or rows[0][at] in left else f"{cell:>{width}}"
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def fleet_migrate_document(report: RolloutReport) -> JsonDocument:
    """The document of fleet.migrate. With `dry_run`, `applied` are the files that would be."""
    return {
        "run": report.run or None,
        "dry_run": report.dry_run,
        "digest": report.digest,
        "total": report.total_files,
        "seconds": round(report.seconds, 3),
        "waves": [
            {
                "name": wave.wave,
                "targets": len(wave.outcomes),
                "failed": wave.failed,
                "allowed": wave.allowed,
                "seconds": round(wave.seconds, 3),
                "stopped": wave.stopped or None,
            }
            for wave in report.waves
        ],
        "targets": [
            {
                "name": one.name,
                "wave": wave.wave,
                "server": report.servers.get(one.name),
                "state": str(one.state),
                "from": one.from_version or None,
                "to": one.to_version or None,
                "applied": list(one.applied),
                "seconds": round(one.seconds, 3),
                "error": error_value(one.error),
            }
            for wave in report.waves
            for one in wave.outcomes
        ],
    }


def fleet_verify_text(inventory: str, statuses: Sequence[TargetStatus], groups: Sequence[RecordGroup]) -> str:
    """The groups of targets with the same records, and how each differs from the largest; then drift."""
    read = sum(len(group.targets) for group in groups)
    lines = [f"{inventory}: {format_quantity(len(statuses), 'target')}, {format_quantity(read, 'ledger')} compared"]
    for number, group in enumerate(groups):
        what = format_quantity(len(group.records), "record")
        count = format_quantity(len(group.targets), "target")
        lines.append("")
        lines.append(f"{count} with {what if number else f'the same {what}'}: {list_names(group.targets)}")
        lines += [f"  {to_one_line(difference)}" for difference in group.differences]
        lines += _catalog_lines(group)
    if errors := list(error_lines(statuses)):
        lines += ["", *errors]
    return "\n".join(lines)


def _catalog_lines(group: RecordGroup) -> Iterator[str]:
    """Whether the catalogs of a group are equal, and how the odd ones differ from the most frequent one."""
    if len(group.catalogs) == 1 and group.targets[1:]:
        yield f"  {format_quantity(len(group.catalogs[0].targets), 'catalog')} compared, all are equal"
    for one in group.catalogs if group.catalogs[1:] else ():
        count = format_quantity(len(one.targets), "target")
        yield f"  {count} with {'the same' if one.usual else 'another'} catalog: {list_names(one.targets)}"
        yield from (f"    {to_one_line(difference)}" for difference in one.differences)


def fleet_verify_document(
    inventory: str, statuses: Sequence[TargetStatus], groups: Sequence[RecordGroup]
) -> JsonDocument:
    """The document of fleet.verify; `groups` are those with the same records, the largest first.

    The `catalogs` of a group are those that its targets have, first those of schemas, then those of databases, of each
    the most frequent first; null without --schema.
    """
    return {
        "inventory": inventory,
        "groups": [
            {
                "targets": list(group.targets),
                "records": [asdict(record) for record in group.records],
                "differences": list(group.differences),
                "catalogs": [
                    {"targets": list(one.targets), "digest": one.digest, "differences": list(one.differences)}
                    for one in group.catalogs
                ]
                or None,
            }
            for group in groups
        ],
        "targets": [{"name": one.name, "state": str(one.state), "error": error_value(one.error)} for one in statuses],
    }
