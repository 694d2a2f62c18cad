"""Hazards that a file accepts knowingly: `-- migrate: allow=rule-id reason`.

Above a statement, or behind it on its last line, it is about that statement; ahead of the first one, about the file.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import TYPE_CHECKING

from kernel.errors import Problem
from kernel.rehearsal import rules

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kernel.files.directive import Allow
    from kernel.rehearsal.static.sighting import Sighting
    from kernel.rehearsal.static.source import Text

_WHOLE_FILE = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """A rule that a migration accepts: at the statement that begins on this line, or anywhere (None)."""

    rule: str
    version: str
    line: int | None = None


def accepted(text: Text) -> Iterator[Accepted]:
    """All that a file accepts."""
    for index, allow in _placed(text):
        line = text.statements[index - 1].part.line if index else None
        yield Accepted(rule=allow.rule, version=text.migration.version, line=line)


def problems(text: Text) -> Iterator[Problem]:
    """Each allow that names no rule, or gives no reason."""
    for _, allow in _placed(text):
        if allow.rule not in rules.BY_ID:
            nearest = get_close_matches(allow.rule, rules.BY_ID, n=1, cutoff=0.5)
            remedy = f"write {nearest[0]}" if nearest else "the rules are in docs/rules.md"
            message = f"-- migrate: allow={allow.rule}: no such rule; {remedy}"
        elif not allow.reason:
            message = f"-- migrate: allow={allow.rule}: the reason is missing; write it behind the rule"
        else:
            continue
        yield Problem(message=message, file=text.migration.filename, line=allow.line)


def divided(text: Text, found: Sequence[Sighting]) -> tuple[list[Sighting], list[Sighting], list[str]]:
    """What a file does not accept, what it does with the reasons, and a note for each allow that meets nothing."""
    kept, allowed = [], []
    used: set[int] = set()
    for one in found:
        its_allow = next(
            (
                allow
                for index, allow in _placed(text)
                if allow.rule == one.finding.rule and index in (_WHOLE_FILE, one.index)
            ),
            None,
        )
        if its_allow:
            used.add(its_allow.line)
            allowed.append(replace(one, reason=its_allow.reason))
        else:
            kept.append(one)
    notes = [
        f"{text.migration.filename}:{allow.line}: allow={allow.rule} meets nothing here; take it out"
        for _, allow in _placed(text)
        # What only a rehearsal sees is not here to be met.
        if allow.line not in used and rules.BY_ID[allow.rule].static
    ]
    return kept, allowed, notes


def _placed(text: Text) -> Iterator[tuple[int, Allow]]:
    """Each allow with the number of the statement that it is about, which counts from 1."""
    for allow in text.allows:
        yield _WHOLE_FILE, allow
    for index, statement in enumerate(text.statements, start=1):
        for allow in statement.allows:
            yield index, allow
