"""fleet.verify: which targets have the same records, and how the odd ones differ from most."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kernel.fleet.catalogs import CatalogGroup
    from kernel.fleet.outcome import RecordLine, TargetStatus

_DIFFERENCES_SHOWN = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordGroup:
    """Targets whose ledgers have the same records; `differences` are those from the largest group.

    `catalogs` are the groups of them with equal catalogs, () where these were not read.
    """

    targets: tuple[str, ...]
    records: tuple[RecordLine, ...]
    differences: tuple[str, ...] = ()
    catalogs: tuple[CatalogGroup, ...] = ()


def group_by_records(statuses: Iterable[TargetStatus]) -> tuple[RecordGroup, ...]:
    """Return groups of targets with the same versions, filenames and checksums; the largest first."""
    names: dict[tuple[RecordLine, ...], list[str]] = defaultdict(list)
    for status in statuses:
        names[tuple(sorted(status.records, key=_order))].append(status.name)
    groups = sorted(names.items(), key=lambda group: (-len(group[1]), group[1]))
    return tuple(
        RecordGroup(targets=tuple(found), records=records, differences=_differences(records, groups[0][0]))
        for records, found in groups
    )


def _order(record: RecordLine) -> tuple[int, str]:
    return (int(record.version) if record.version.isdecimal() else -1, record.version)


def _differences(records: tuple[RecordLine, ...], usual: tuple[RecordLine, ...]) -> tuple[str, ...]:
    own, others = ({record.version: record for record in one} for one in (records, usual))
    lines = []
    for version in sorted(own.keys() | others.keys(), key=lambda version: _order((own | others)[version])):
        one, other = own.get(version), others.get(version)
        if one is None and other is not None:
            lines.append(f"{other.filename}: not recorded")
        elif one is not None and other is None:
            lines.append(f"{one.filename}: recorded, with checksum {one.checksum[:12]}")
        elif one and other and one.filename != other.filename:
            lines.append(f"{one.filename}: elsewhere {other.filename}")
        elif one and other and one.checksum != other.checksum:
            lines.append(f"{one.filename}: checksum {one.checksum[:12]}, elsewhere {other.checksum[:12]}")
    more = len(lines) - _DIFFERENCES_SHOWN
    return (*lines[:_DIFFERENCES_SHOWN], f"and {more} more differences") if more > 0 else tuple(lines)
