"""Kinds of targets: those with the same version and an equal catalog, of which one is rehearsed for all."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kernel.fleet.catalogs import Catalogs
    from kernel.fleet.outcome import TargetStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetKind:
    """Targets at a `version`, "" for none, whose catalogs have the same `digest`; `pending` is their number of files.

    `largest` is the target with the most bytes, `size_bytes`: on its rows a migration takes the longest.
    """

    version: str
    digest: str
    pending: int
    targets: tuple[str, ...]
    largest: str
    size_bytes: int

    @property
    def name(self) -> str:
        """The name of the kind, such as 005-1a2b3c4d."""
        return f"{self.version or 'none'}-{self.digest[:8]}"


def group_by_kind(statuses: Iterable[TargetStatus], catalogs: Catalogs) -> tuple[TargetKind, ...]:
    """Return the kinds of the targets without an error, the one with most targets first."""
    found: dict[tuple[str, str], list[TargetStatus]] = defaultdict(list)
    for status in statuses:
        if status.error is None and status.name in catalogs.digests:
            found[status.version, catalogs.digests[status.name]].append(status)
    kinds = []
    for (version, digest), members in found.items():
        largest = max(members, key=lambda one: catalogs.size_bytes[one.name])
        kinds.append(
            TargetKind(
                version=version,
                digest=digest,
                pending=max(one.pending for one in members),
                targets=tuple(one.name for one in members),
                largest=largest.name,
                size_bytes=catalogs.size_bytes[largest.name],
            )
        )
    return tuple(sorted(kinds, key=lambda kind: (-len(kind.targets), kind.name)))
