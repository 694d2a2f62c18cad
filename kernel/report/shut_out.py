"""For how long a suggestion shuts others out, beside its original."""

from __future__ import annotations

from dataclasses import dataclass, replace
from operator import attrgetter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kernel.rehearsal.result import Shut
    from kernel.rehearsal.suggest.suggested import Trial


@dataclass(frozen=True, slots=True, kw_only=True)
class Longest:
    """The longest stretches of a relation in seconds, and at which places of what was given they stand."""

    reads: float = 0.0
    writes: float = 0.0
    reads_at: int = 0
    writes_at: int = 0

    @property
    def most(self) -> float:
        """The longer one of both."""
        return max(self.reads, self.writes)


def longest(shut: Sequence[Shut]) -> dict[str, Longest]:
    """By relation, through all of the files."""
    found: dict[str, Longest] = {}
    for place, one in enumerate(shut):
        known = found.get(one.relation.name, Longest())
        if one.reads_seconds > known.reads:
            known = replace(known, reads=one.reads_seconds, reads_at=place)
        if one.writes_seconds > known.writes:
            known = replace(known, writes=one.writes_seconds, writes_at=place)
        found[one.relation.name] = known
    return found


def no_shorter(trial: Trial) -> bool:
    """Whether the suggestion shuts reads and writes out as long as the original does, in its worst moment."""
    before, after = (longest(shut).values() for shut in (trial.shut_before, trial.shut_after))
    return all(
        max((seconds(one) for one in after), default=0.0) >= max((seconds(one) for one in before), default=0.0)
        for seconds in (attrgetter("reads"), attrgetter("writes"))
    )
