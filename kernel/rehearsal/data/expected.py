"""Declarations brought to the tables that they name, in either database."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kernel.errors import Problem
from kernel.rehearsal.data.declared import Expectation, Verb

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from kernel.rehearsal.data.touched import Table

ALL_COLUMNS = "*"


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """What is declared of one table: what of its rows, and the names of columns, "" for the table itself."""

    rows: tuple[Expectation, ...] = ()
    changes: frozenset[str] = frozenset()
    drops: frozenset[str] = frozenset()

    def may_change(self, *columns: str) -> bool:
        """Whether the values of a column, known by these names, may change."""
        return ALL_COLUMNS in self.changes or not self.changes.isdisjoint(columns)

    def total(self, *, added: bool) -> int | None:
        """How many rows are to be added or removed; None when no number says so."""
        counts = [one.rows for one in self.rows if one.rows is not None and (one.rows > 0) is added]
        return sum(counts) if counts else None

    @property
    def any_number(self) -> bool:
        """Whether any number of rows may come and go."""
        return any(one.rows is None for one in self.rows)


def by_table(
    expectations: Iterable[Expectation], tables: Sequence[Table], path: Sequence[str]
) -> tuple[Mapping[int, Declared], tuple[Problem, ...]]:
    """What is declared, by the place of the table in `tables`, and what names no table or column on either side.

    `path` are the schemas that bare names are looked up in; a table elsewhere is found where the name is the only one.
    """
    names = _names(tables)
    gathered: dict[int, list[tuple[Expectation, str]]] = {}
    problems = []
    for one in expectations:
        target = _target(one, tables, names, path)
        if isinstance(target, Problem):
            problems.append(target)
        else:
            gathered.setdefault(target[0], []).append((one, target[1]))
    return {place: _declared(items) for place, items in gathered.items()}, tuple(problems)


def _declared(items: list[tuple[Expectation, str]]) -> Declared:
    return Declared(
        rows=tuple(one for one, _ in items if one.verb is Verb.ROWS),
        changes=frozenset(column for one, column in items if one.verb is Verb.CHANGES),
        drops=frozenset(column for one, column in items if one.verb is Verb.DROPS),
    )


def _names(tables: Sequence[Table]) -> dict[tuple[str, str], int]:
    """The place of the table behind each name that it or a partition has on either side, production's names first."""
    names: dict[tuple[str, str], int] = {}
    for after in (False, True):
        for place, table in enumerate(tables):
            side = table.after if after else table.before
            for relation in (side.head, *side.leaves) if side else ():
                names.setdefault((relation.schema, relation.name), place)
    return names


def _target(
    one: Expectation, tables: Sequence[Table], names: Mapping[tuple[str, str], int], path: Sequence[str]
) -> tuple[int, str] | Problem:
    """The place of the table and the column that an expectation names, "" for none."""
    tries = {
        Verb.ROWS: ((one.name, ""),),
        Verb.CHANGES: ((one.name[:-1], one.name[-1]),),
        Verb.DROPS: ((one.name, ""), (one.name[:-1], one.name[-1])),
    }[one.verb]
    for parts, column in tries:
        place = _place(parts, names, path)
        if place is None:
            continue
        known = _columns(tables[place])
        if column in ("", ALL_COLUMNS) or column in known:
            return place, column
        return _unknown(one, f"no column {column} in {'.'.join(parts)}", column, known)
    parts = one.name[:-1] if one.verb is Verb.CHANGES else one.name
    return _unknown(one, f"no table {'.'.join(parts)}", parts[-1], {name for _, name in names})


def _place(parts: tuple[str, ...], names: Mapping[tuple[str, str], int], path: Sequence[str]) -> int | None:
    if len(parts) == 2:  # noqa: PLR2004 - schema and name
        return names.get((parts[0], parts[1]))
    if len(parts) != 1:
        return None
    for schema in path:
        if (schema, parts[0]) in names:
            return names[schema, parts[0]]
    elsewhere = {place for (_, name), place in names.items() if name == parts[0]}
    return elsewhere.pop() if len(elsewhere) == 1 else None


def _columns(table: Table) -> set[str]:
    return {one.name for side in (table.before, table.after) if side for one in side.head.columns}


def _unknown(one: Expectation, what: str, wrong: str, known: set[str]) -> Problem:
    near = difflib.get_close_matches(wrong, sorted(known), n=1)
    remedy = f"do you mean {near[0]}" if near else "correct the declaration, or take it out"
    return Problem(message=f"-- rehearse: {one.verb}: {what}; {remedy}", file=one.file, line=one.line)
