"""The locks that the migration's session holds, statement after statement, by its own word and by the lookout's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel.rehearsal.witness.spans import Span

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from kernel.rehearsal.witness.lookout import Lookout
    from kernel.rehearsal.witness.relations import Relations
    from kernel.rehearsal.witness.sight import Sight


class Held:
    """What is held since when. `at` makes seconds of the clock of a moment of time.monotonic()."""

    def __init__(self, relations: Relations, at: Callable[[float], float]) -> None:
        self._relations = relations
        self._at = at
        self._modes: dict[int, tuple[str, ...]] = {}
        self._open: list[Span] = []

    def begin(self, own: Mapping[int, Sight]) -> None:
        """Before a transaction's first statement: what is held now is not its doing."""
        self._modes = {oid: one.modes for oid, one in own.items() if one.modes}

    def modes(self, oid: int) -> tuple[str, ...]:
        return self._modes.get(oid, ())

    def took(self, own: Mapping[int, Sight] | None, lookout: Lookout, *, started: float, ended: float) -> list[Span]:
        """The locks that a statement took, those among them that it let go of again included.

        `own` is what the session says it holds at the statement's end, None when it cannot say: after an error, and
        outside of a transaction, where nothing is held any more.
        """
        before = self._modes
        spans = []
        seen = {(one.oid, one.mode): one for one in lookout.sightings}
        if own is not None:
            self._modes = {oid: one.modes for oid, one in own.items() if one.modes}
            for oid, mode in _pairs(self._modes, without=before):
                # One that the lookout never saw was taken after its last look.
                sighting = seen.pop((oid, mode), None)
                since = max(started, self._at(sighting.since if sighting else lookout.last_look))
                waited = sighting.waited_since if sighting else lookout.waiting.get((oid, mode))
                spans += self._span(oid, mode, started=started, at=since, until=None, waited=waited)
            self._open += spans
            for span in self._open:
                # Rolled back to a savepoint; but what the migration makes is not looked at for ever.
                if span.mode not in self.modes(span.relation.oid) and not span.relation.created:
                    span.until = ended
            self._open = [span for span in self._open if span.until is None]
        for (oid, mode), sighting in seen.items():
            if mode not in before.get(oid, ()) and mode not in self.modes(oid):
                since = max(started, self._at(sighting.since))
                until = ended if sighting.until is None else self._at(sighting.until)
                waited = sighting.waited_since
                spans += self._span(oid, mode, started=started, at=since, until=until, waited=waited)
        return spans

    def release(self, moment: float) -> None:
        """The transaction has ended, and its locks with it."""
        for span in self._open:
            span.until = moment
        self._open = []
        self._modes = {}

    def _span(
        self, oid: int, mode: str, *, started: float, at: float, until: float | None, waited: float | None
    ) -> list[Span]:
        relation = self._relations.get(oid)
        if relation is None:
            return []
        waited_seconds = 0.0 if waited is None else max(0.0, at - max(started, self._at(waited)))
        return [Span(relation=relation, mode=mode, at=at, until=until, waited_seconds=waited_seconds)]


def _pairs(modes: Mapping[int, tuple[str, ...]], *, without: Mapping[int, tuple[str, ...]]) -> list[tuple[int, str]]:
    return [(oid, mode) for oid, its_modes in modes.items() for mode in its_modes if mode not in without.get(oid, ())]
