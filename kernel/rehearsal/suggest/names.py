"""The names that PostgreSQL gives to indexes and constraints that have none.

Source: makeObjectName and ChooseRelationName in PostgreSQL's source (src/backend/commands/indexcmds.c), and
ChooseConstraintName (src/backend/catalog/pg_constraint.c).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Container, Iterable

_NAME_BYTES = 63  # NAMEDATALEN - 1


def chosen(table: str, columns: Iterable[str], label: str, taken: Container[str]) -> str:
    """The first free name of table, columns and label: orders_total_check, orders_total_check1 and so on."""
    addition = _clipped("_".join(columns), _NAME_BYTES)
    number = 0
    while (name := _made(table, addition, f"{label}{number or ''}")) in taken:
        number += 1
    return name


def of_an_index(columns: Iterable[str]) -> tuple[str, ...]:
    """The columns of an index told apart: a second `lower` is `lower1`."""
    found: list[str] = []
    for column in columns:
        name, number = column, 0
        while name in found:
            number += 1
            name = f"{_clipped(column, _NAME_BYTES - len(str(number)))}{number}"
        found.append(name)
    return tuple(found)


def quoted(name: str) -> str:
    """A name for SQL, always in quotes: which words are reserved differs between versions."""
    return '"' + name.replace('"', '""') + '"'


def bare(quoted_name: str) -> str:
    """The name that `quoted` has put into quotes."""
    return quoted_name[1:-1].replace('""', '"')


def _made(first: str, second: str, label: str) -> str:
    """Both and the label within the length of a name: what is longer is cut first."""
    room = _NAME_BYTES - len(label) - 1 - bool(second)
    one, other = len(first.encode()), len(second.encode())
    while one + other > room:
        if one > other:
            one -= 1
        else:
            other -= 1
    return "_".join(part for part in (_clipped(first, one), _clipped(second, other), label) if part)


def _clipped(name: str, most: int) -> str:
    """As many whole characters as have room in so many bytes."""
    return name.encode()[:most].decode(errors="ignore")
