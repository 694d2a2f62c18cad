"""What statements that each commit cannot expect: effects that end with a transaction, and objects of the session.

A file outside of a transaction goes on after its last finished statement, in another session. Temporary tables,
prepared statements and cursors are gone there. Between BEGIN and COMMIT of the file nothing is lost: it goes on with
the BEGIN. The text shows what can be warned of before a run; what a session did lose the server says
(`kernel/apply/session_state.py`).
Source: PostgreSQL documentation, "SET", "SAVEPOINT", "LOCK", "CREATE TABLE" (TEMPORARY), "PREPARE", "DECLARE".
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kernel.errors import Problem
from kernel.sql.classify import StatementEffect, statement_effect
from kernel.sql.lexer import PartKind
from kernel.sql.reader import WordReader, contains_words, read_words

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from kernel.sql.lexer import Part
    from kernel.sql.reader import Word


_OF_INTEREST = re.compile(
    rb"\b(?:temp|temporary|pg_temp)\b|^\s*(?:prepare|declare|set|savepoint|release|lock)\b", re.IGNORECASE
)
_SET_CUSTOM = re.compile(rb"\bset\s+(?:(?:session|local)\s+)?([a-z_][\w$]*\.[\w$.]+)", re.IGNORECASE)
_QUOTED_NAME = re.compile(rb"'([a-z_][\w$]*\.[\w$.]+)'", re.IGNORECASE)
_ENDED_BY = {"cursor": "CLOSE", "prepared statement": "DEALLOCATE"}
_REMEDY = "put BEGIN before it and COMMIT after what it is for"


@dataclass(slots=True)
class _LiveObject:
    """An object of the session at the statement that is looked at; `unit` is the transaction that made it."""

    kind: str
    name: str
    unit: int
    line: int
    needed: tuple[int, int] | None = None  # unit, line


def review_statements(parts: Iterable[Part]) -> tuple[tuple[str, ...], tuple[Problem, ...]]:
    """(the custom settings that statements set, warnings by line) of a file that runs statement by statement."""
    review = _Review()
    settings: set[str] = set()
    for part in parts:
        if part.kind is PartKind.STATEMENT:
            review.add(part)
            settings.update(custom_settings([part.sql]))
    warnings = [*review.warnings, *review.object_warnings()]
    return tuple(sorted(settings)), tuple(sorted(warnings, key=lambda problem: problem.line or 0))


def custom_settings(texts: Iterable[bytes]) -> tuple[str, ...]:
    """The names with a dot that may be set in SQL texts, in the strings that they execute too."""
    names: set[str] = set()
    for text in texts:
        found = _SET_CUSTOM.findall(text) + (_QUOTED_NAME.findall(text) if b"set_config" in text.lower() else [])
        names.update(name.decode(errors="replace").lower() for name in found)
    return tuple(sorted(names))


class _Review:
    """A transaction, of the file or of a single statement, has a number, its unit."""

    def __init__(self) -> None:
        self.warnings: list[Problem] = []
        self._objects: list[_LiveObject] = []
        self._unit = 0
        self._begun = False

    def add(self, part: Part) -> None:
        """Take the next statement."""
        effect = statement_effect(part.text, part.start)
        if not self._begun:
            self._unit += 1
        if effect is StatementEffect.BEGIN:
            self._begun = True
        elif effect in (StatementEffect.COMMIT, StatementEffect.ROLLBACK):
            self._begun = False
        made: tuple[str, str] | None = None
        statement = part.sql
        if _OF_INTEREST.search(statement):
            words = read_words(statement)
            made = _session_object(words)
            if not self._begun and (message := _without_effect(words)):
                self.warnings.append(Problem(message=message, line=part.line))
        self._note_uses(part, made)
        if made:
            self._objects.append(_LiveObject(*made, self._unit, part.line))

    def _note_uses(self, part: Part, made: tuple[str, str] | None) -> None:
        if not self._objects:
            return
        text = part.sql.decode(errors="replace").lower()
        latest = {each.name: each for each in self._objects}  # a later one of the same name replaces it
        for name, each in latest.items():
            is_used = re.search(rf"(?<![\w$]){re.escape(name.lower())}(?![\w$])", text)
            if is_used and (made is None or made[1] != name) and "if exists" not in text:
                each.needed = (self._unit, part.line)

    def object_warnings(self) -> Iterator[Problem]:
        """The warnings for objects that another transaction than their own needs."""
        for each in self._objects:
            if each.needed and each.needed[0] != each.unit:
                line = each.needed[1]
                message = (
                    f"the {each.kind} {each.name} is gone with its session: if the run stops before line {line}, "
                    "the file has to run from its beginning; "
                    f"put BEGIN before it, and {_ENDED_BY.get(each.kind, 'DROP')} and COMMIT after line {line}, "
                    "or make something that stays"
                )
                yield Problem(message=message, line=each.line)


def _session_object(words: Sequence[Word]) -> tuple[str, str] | None:
    """(kind, name) of the object that a statement makes in its session; None if it makes none."""
    reader = WordReader(words)
    if reader.take("PREPARE"):
        return "prepared statement", reader.take_name()
    if reader.take("DECLARE"):
        return ("cursor", reader.take_name()) if contains_words(words, "WITH", "HOLD") else None
    if reader.take("CREATE"):
        reader.take("OR", "REPLACE")
        reader.take_any("GLOBAL", "LOCAL")
        is_temporary = bool(reader.take_any("TEMP", "TEMPORARY"))
        reader.take_any("UNLOGGED", "RECURSIVE")
        kind = reader.take_any("TABLE", "VIEW", "SEQUENCE", "FUNCTION", "PROCEDURE", "TYPE").lower()
        reader.take("IF", "NOT", "EXISTS")
        schema, _, name = reader.take_name().rpartition(".")
        if not kind or not (is_temporary or schema.lower() == "pg_temp") or contains_words(words, "COMMIT", "DROP"):
            return None
        return f"temporary {kind}", name
    if reader.key in ("SELECT", "WITH"):
        reader.take_until("INTO")
        if reader.take("INTO") and reader.take_any("TEMP", "TEMPORARY"):
            reader.take("TABLE")
            return "temporary table", reader.take_name()
    return None


def _without_effect(words: Sequence[Word]) -> str:
    """The warning for a statement whose effect ends with the transaction that is its own; "" for any other."""
    reader = WordReader(words)
    ends = "has no effect, since each statement commits by itself"
    if reader.take("SET", "LOCAL"):
        return f"SET LOCAL {ends}; write SET, or {_REMEDY}"
    if reader.next_is("SET", "TRANSACTION") or reader.next_is("SET", "CONSTRAINTS"):
        return f"{' '.join(word.key for word in words[:2])} {ends}; {_REMEDY}"
    if word := reader.take_any("SAVEPOINT", "RELEASE", "LOCK"):
        return f"{word}{' TABLE' if word == 'LOCK' else ''} {ends}; {_REMEDY}"
    if reader.take("DECLARE") and not contains_words(words, "WITH", "HOLD"):
        return f"DECLARE without WITH HOLD {ends}; {_REMEDY}"
    if reader.take("CREATE") and contains_words(words, "COMMIT", "DROP"):
        return f"ON COMMIT DROP drops it at once, since each statement commits by itself; {_REMEDY}"
    return ""
