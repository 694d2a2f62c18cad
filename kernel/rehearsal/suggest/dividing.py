"""Files that hold too much for one transaction: where they can be put apart, and which must stay one.

To put a file apart gives up that all of it happens or nothing. That is lost knowingly for each suggestion, and not at
all where the file asks for it in words, or where one statement leaves something in the session for the next.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel.rehearsal.static.scene import MODES
from kernel.sql import tokens
from kernel.sql.effect import Effect

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from kernel.rehearsal.suggest.source import Source, Unit

# The rules whose remedy is another file, and no other statement.
RULES = frozenset(
    {
        *("schema-and-data-mixed", "several-tables-locked", "work-under-exclusive-lock", "work-under-share-lock"),
        "validate-in-same-transaction",
    }
)
_TIMEOUTS = (("LOCK_TIMEOUT",), ("STATEMENT_TIMEOUT",), ("IDLE_IN_TRANSACTION_SESSION_TIMEOUT",))
_EXCLUSIVE = "ACCESS EXCLUSIVE"
_WRITES = frozenset({"insert", "update", "delete", "merge"})
_SETTINGS = (Effect.SETTING, Effect.LEXICAL)
_CONTROL = (Effect.BEGIN, Effect.COMMIT, Effect.ROLLBACK, Effect.TWO_PHASE)


def hindrance(source: Source) -> str:
    """Why a file must stay one, in a sentence; "" where nothing is lost but that it is one."""
    if source.transaction and len(source.units) > 1:
        return (
            "the file asks for one transaction by its own BEGIN and COMMIT, which several files cannot give; "
            "take the pair out if that is not meant"
        )
    for unit in source.units:
        if sets_timeout(unit) and not source.directives.no_transaction:
            continue
        first = unit.sql.split(None, 1)[0].rstrip(b";").upper()
        if unit.effect in _CONTROL:
            return "the file has transactions of its own"
        if unit.effect in _SETTINGS or first in (b"SET", b"DECLARE", b"LISTEN", b"PREPARE"):
            return f"{first.decode()} in line {unit.line} holds for what stands behind it, but not in another file"
        if first in (b"SAVEPOINT", b"RELEASE", b"LOCK"):
            return f"{first.decode()} in line {unit.line} is about the transaction that the file runs in"
        if any("temporary" in act.traits for act in unit.acts):
            return f"line {unit.line} makes a temporary table, which is gone in the next file"
    return ""


def sets_timeout(unit: Unit) -> bool:
    """Whether a statement limits waiting, which every file of a divided one can do again."""
    words = tokens.words(unit.sql, limit=3)
    if words[:1] != ("SET",):
        return False
    return words[2 if words[1:2] in (("LOCAL",), ("SESSION",)) else 1 :][:1] in _TIMEOUTS


class Boundaries:
    """Goes through the units of a file, and says of each whether it has to begin another file."""

    def __init__(self, rules: Collection[str]) -> None:
        self._by_table = "several-tables-locked" in rules
        self._by_data = "schema-and-data-mixed" in rules
        self._shut: set[str] = set()
        self._made: set[str] = set()
        self._writes: bool | None = None

    def before(self, unit: Unit, rules: Collection[str]) -> bool:
        """Whether a new file begins with this unit, of which `rules` were found."""
        shut = {act.relation for act in unit.acts if MODES.get(act.verb) == _EXCLUSIVE} - self._made
        self._made |= {act.relation for act in unit.acts if act.verb.startswith("create ")}
        writes = any(act.verb in _WRITES and "bulk" in act.traits for act in unit.acts)
        begins = bool(RULES & set(rules))
        begins |= self._by_table and bool(shut) and bool(self._shut - shut)
        begins |= self._by_data and self._writes is not None and writes is not self._writes
        self._shut = shut if begins else self._shut | shut
        self._writes = writes
        return begins


def found(rules: Iterable[Collection[str]]) -> frozenset[str]:
    """All rules of a file."""
    return frozenset(rule for its_rules in rules for rule in its_rules)
