"""Steps that suggested files are composed of, and the names that PostgreSQL gives to indexes and constraints."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from psycopg import sql

from kernel.sql.reader import MAX_NAME_BYTES

if TYPE_CHECKING:
    from collections.abc import Container, Iterable

    from kernel.sql.reader import WordReader


class CannotRewrite(Exception):
    """A statement that has no mechanical rewrite; the message says why, without a full stop."""


class StepTransaction(Enum):
    """How a step has to run: with its neighbours, in a transaction of its own, or outside a transaction."""

    SHARED = "shared"
    SEPARATE = "separate"
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class RewriteStep:
    """One or several statements, with their semicolons.

    `label` becomes part of the file name, `comment` stands above the statements. A step that `starts_file` does not
    share a file with the steps before it. `nondeterministic_columns` are (table, column) that the step fills with
    values that differ in every run.
    """

    sql: str
    transaction: StepTransaction = StepTransaction.SHARED
    starts_file: bool = False
    label: str = ""
    comment: str = ""
    nondeterministic_columns: tuple[tuple[str, str], ...] = ()


def comment_text(text: str) -> str:
    """Text for a comment, on one line. Unprintable characters, which could end the comment, become `?`."""
    return "".join(letter if letter.isprintable() else "?" for letter in " ".join(text.split()))


def choose_dollar_quote(text: str) -> str:
    """A dollar quote that does not occur in a text."""
    number = 0
    while (tag := f"$step{number or ''}$") in text:
        number += 1
    return tag


def quote_name(name: str) -> str:
    """A quoted identifier; always quoted, because which words are reserved differs between versions."""
    return sql.Identifier(name).as_string(None)


def read_quoted_name(reader: WordReader) -> str:
    """Read a name, qualified or not; each part quoted, as the keys of TableCatalog.tables are."""
    parts: list[str] = []
    while reader.index < len(reader.words) and reader.words[reader.index].is_name:
        parts.append(quote_name(reader.words[reader.index].text))
        reader.index += 1
        if not reader.take("."):
            break
    return ".".join(parts)


# Source of the rest: makeObjectName and ChooseRelationName in PostgreSQL's source (src/backend/commands/indexcmds.c),
# and ChooseConstraintName (src/backend/catalog/pg_constraint.c).


def choose_name(table: str, columns: Iterable[str], label: str, used: Container[str]) -> str:
    """The first unused name of table, columns and label: orders_total_check, orders_total_check1 and so on."""
    addition = _clip_to_bytes("_".join(columns), MAX_NAME_BYTES)
    number = 0
    while (name := _join_within_limit(table, addition, f"{label}{number or ''}")) in used:
        number += 1
    return name


def distinct_key_names(columns: Iterable[str]) -> tuple[str, ...]:
    """The key columns of an index with unique names: a second `lower` is `lower1`."""
    names: list[str] = []
    for column in columns:
        name, number = column, 0
        while name in names:
            number += 1
            name = f"{_clip_to_bytes(column, MAX_NAME_BYTES - len(str(number)))}{number}"
        names.append(name)
    return tuple(names)


def _join_within_limit(first: str, second: str, label: str) -> str:
    """Both and the label within the length of a name; the longer of the two is cut first."""
    room = MAX_NAME_BYTES - len(label) - 1 - bool(second)
    first_bytes, second_bytes = len(first.encode()), len(second.encode())
    while first_bytes + second_bytes > room:
        if first_bytes > second_bytes:
            first_bytes -= 1
        else:
            second_bytes -= 1
    parts = (_clip_to_bytes(first, first_bytes), _clip_to_bytes(second, second_bytes), label)
    return "_".join(part for part in parts if part)


def _clip_to_bytes(name: str, size: int) -> str:
    """As many whole characters as fit into `size` bytes."""
    return name.encode()[:size].decode(errors="ignore")
