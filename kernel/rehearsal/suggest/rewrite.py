"""A migration written anew: each statement with a finding becomes the pieces that reach the same end safely."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from kernel.rehearsal.suggest import altered as altered_
from kernel.rehearsal.suggest import constraints, defaults, dividing, files, indexes, required, retype
from kernel.rehearsal.suggest.ground import Ground
from kernel.rehearsal.suggest.piece import Piece, Unsure, Way
from kernel.rehearsal.suggest.suggested import Refused, Suggested

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from kernel.rehearsal.result import Finding
    from kernel.rehearsal.suggest.altered import Action, Altered
    from kernel.rehearsal.suggest.facts import Facts
    from kernel.rehearsal.suggest.source import Source, Unit
    from kernel.rehearsal.suggest.suggested import Leftover

_STATEMENTS: Mapping[str, Callable[[bytes, Ground], Way]] = {
    "create-index-not-concurrently": indexes.create,
    "drop-index-not-concurrently": indexes.drop,
    "reindex-not-concurrently": indexes.rebuild,
}
# By rule: the verbs of the actions of ALTER TABLE that meet it, and what becomes of them.
_ACTIONS: Mapping[str, Mapping[str, Callable[[Altered, Action, Ground], Way]]] = {
    "check-validated-under-lock": {"add check": constraints.check},
    "foreign-key-validated-under-lock": {"add foreign key": constraints.foreign_key},
    "unique-builds-index-under-lock": {"add unique": constraints.unique, "add primary key": constraints.unique},
    "set-not-null-scans": {"set not null": required.set_not_null},
    "volatile-default": {"add column": defaults.add},
    "type-change-rewrites": {"change type": retype.change},
}
MECHANICAL = frozenset({*_STATEMENTS, *_ACTIONS, *dividing.RULES})


def places(source: Source, findings: Iterable[Finding]) -> dict[int, frozenset[str]]:
    """The rules whose workaround is mechanical, by the place of the unit that meets them."""
    found: dict[int, frozenset[str]] = {}
    for one in findings:
        place = source.at(one.line)
        if one.rule in MECHANICAL and place is not None:
            found[place] = found.get(place, frozenset()) | {one.rule}
    return found


def rewrite(source: Source, findings: Iterable[Finding], facts: Facts, *, first: int) -> Suggested:
    """The files to have instead, numbered from `first`; what nothing is suggested for stays as it is, in its place."""
    rules = places(source, findings)
    work = _Work(ground=Ground(facts))
    if hindrance := dividing.hindrance(source):
        work.refused = [
            Refused(rule=rule, line=source.units[place].line, reason=hindrance)
            for place in sorted(rules)
            for rule in sorted(rules[place])
        ]
    else:
        work.through(source, rules)
    changed = work.changed and not hindrance
    return Suggested(
        version=source.version,
        filename=source.filename,
        files=files.of(source, work.pieces, first=first, settings=work.settings) if changed else (),
        leaves=tuple(work.leaves),
        fresh=tuple(work.fresh),
        refused=tuple(work.refused),
    )


@dataclass(slots=True, kw_only=True)
class _Work:
    """What has been written so far."""

    ground: Ground
    pieces: list[Piece] = field(default_factory=list)
    settings: list[str] = field(default_factory=list)
    leaves: list[Leftover] = field(default_factory=list)
    fresh: list[tuple[str, str]] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    changed: bool = False

    def through(self, source: Source, rules: Mapping[int, frozenset[str]]) -> None:
        """Go through the units in their order."""
        boundaries = dividing.Boundaries(dividing.found(rules.values()))
        for place, unit in enumerate(source.units):
            its_rules = rules.get(place, frozenset())
            if dividing.sets_timeout(unit):
                self.settings.append(unit.text)
                continue
            way = self._way(unit, its_rules)
            begins = boundaries.before(unit, its_rules) and bool(self.pieces)
            if way is None:
                self.pieces.append(Piece(sql=unit.text, begins=begins))
            else:
                self._take(unit, way, begins=begins)
            self.changed |= way is not None or (begins and not source.directives.no_transaction)
            self.ground.learn(next(altered_.names(unit.sql), ""), unit.acts)

    def _way(self, unit: Unit, rules: frozenset[str]) -> Way | None:
        """What becomes of a unit, None where it stays; what nothing can be done about is noted."""
        for rule in sorted(rules - dividing.RULES):
            try:
                if recipe := _STATEMENTS.get(rule):
                    return recipe(unit.sql, self.ground)
            except Unsure as reason:
                self.refused.append(Refused(rule=rule, line=unit.line, reason=str(reason)))
        if wanted := sorted(rules & _ACTIONS.keys()):
            return self._altered(unit, wanted)
        return None

    def _altered(self, unit: Unit, rules: list[str]) -> Way | None:
        recipes = {verb: (rule, recipe) for rule in rules for verb, recipe in _ACTIONS[rule].items()}
        try:
            altered = altered_.read(unit.sql)
        except Unsure as reason:
            self.refused += [Refused(rule=rule, line=unit.line, reason=str(reason)) for rule in rules]
            return None
        ways: list[Way] = []
        kept: list[Action] = []
        for action in altered.actions:
            rule, recipe = recipes.get(action.act.verb if action.act else "", ("", None))
            way = None
            if recipe:
                try:
                    way = recipe(altered, action, self.ground)
                except Unsure as reason:
                    self.refused.append(Refused(rule=rule, line=unit.line, reason=str(reason)))
            if way:
                ways += [Way(pieces=tuple(altered_.plain(altered, kept))), way]
                kept = []
            else:
                kept.append(action)
            self.ground.learn(altered.name, [action.act] if action.act else ())
        verbs = {action.act.verb for action in altered.actions if action.act}
        self.refused += [
            Refused(
                rule=rule, line=unit.line, reason="it is part of a definition, which cannot be put apart mechanically"
            )
            for rule in rules
            if verbs.isdisjoint(_ACTIONS[rule])
        ]
        if not ways:
            return None
        ways.append(Way(pieces=tuple(altered_.plain(altered, kept))))
        return Way(
            pieces=tuple(piece for way in ways for piece in way.pieces),
            leaves=tuple(one for way in ways for one in way.leaves),
            fresh=tuple(one for way in ways for one in way.fresh),
        )

    def _take(self, unit: Unit, way: Way, *, begins: bool) -> None:
        """The pieces with the comments that stood around the statement."""
        ahead, behind = (text.decode().strip("\r\n") for text in (unit.ahead, unit.behind))
        for at, piece in enumerate(way.pieces):
            above = "".join(f"{text.strip()}\n" for text in (ahead, behind) if text.strip()) if not at else ""
            self.pieces.append(replace(piece, sql=f"{above}{piece.sql}", begins=piece.begins or (begins and not at)))
        self.leaves += way.leaves
        self.fresh += way.fresh
