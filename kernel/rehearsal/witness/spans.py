"""Locks from when they were granted to when they were let go of, and which of them are worth telling."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kernel.rehearsal import modes
from kernel.rehearsal.result import Lock

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kernel.rehearsal.result import Relation

# A statement may have been seen with its weaker lock one look before the stronger one that it took just behind it.
_SLACK_SECONDS = 0.005


@dataclass(slots=True, kw_only=True)
class Span:
    """A lock on a relation from `at`, in seconds of the clock, until `until`, None while it is held."""

    relation: Relation
    mode: str
    at: float
    waited_seconds: float = 0.0
    until: float | None = None

    def covers(self, other: Span, end: float, *, slack_seconds: float) -> bool:
        """Whether it shuts out at least what another does, for at least as long; `end` is when everything ends."""
        return (
            self.relation.oid == other.relation.oid
            and modes.STRENGTH[self.mode] >= modes.STRENGTH[other.mode]
            and self.at <= other.at + slack_seconds
            and (end if self.until is None else self.until) >= (end if other.until is None else other.until)
        )


def told(statements: Iterable[Iterable[Span]], end: float) -> list[tuple[Lock, ...]]:
    """For each statement the locks that it took, or took more strongly than before, the strongest first."""
    kept: dict[int, list[Span]] = {}
    locks = []
    for spans in statements:
        own: list[Span] = []
        for span in sorted(spans, key=lambda one: (-modes.STRENGTH[one.mode], one.at)):
            earlier = kept.get(span.relation.oid, ())
            if not (
                any(other.covers(span, end, slack_seconds=0) for other in earlier)
                or any(other.covers(span, end, slack_seconds=_SLACK_SECONDS) for other in own)
            ):
                own.append(span)
        for span in own:
            kept.setdefault(span.relation.oid, []).append(span)
        locks.append(tuple(_lock(span, end) for span in own))
    return locks


def _lock(span: Span, end: float) -> Lock:
    return Lock(
        relation=span.relation,
        mode=span.mode,
        at_seconds=span.at,
        held_seconds=max(0.0, (end if span.until is None else span.until) - span.at),
        waited_seconds=span.waited_seconds,
    )
