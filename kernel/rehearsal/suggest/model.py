"""What suggested files are put together from."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Container, Iterable

    from kernel.rehearsal.result import Leftover
    from kernel.sql.reader import WordReader


def choose_dollar_quote(text: str) -> str:
    """A dollar quote that does not occur in a text."""
    number = 0
    while (tag := f"$step{number or ''}$") in text:
        number += 1
    return tag


def quote_literal(text: str) -> str:
    """A string for SQL, where standard_conforming_strings is on, as the runner insists."""
    return "'" + text.replace("'", "''") + "'"


def read_quoted_name(reader: WordReader) -> str:
    """The name at which a reader stands, quoted, as Source.written gives it; the reader goes past it."""
    parts: list[str] = []
    while reader.index < len(reader.words) and reader.words[reader.index].is_name:
        parts.append(quote_name(reader.words[reader.index].text))
        reader.index += 1
        if not reader.take("."):
            break
    return ".".join(parts)


def step_outside_transaction(sql: str, *, label: str, says: str = "") -> RewriteStep:
    """A statement that runs outside of any transaction, and so in a file of its own."""
    return RewriteStep(sql=sql, transaction=StepTransaction.NONE, label=label, comment=says)


class StepTransaction(Enum):
    """How a piece has to run: with its neighbours, in a transaction of its own, or outside of any."""

    SHARED = "with others"
    SEPARATE = "a transaction of its own"
    NONE = "outside of a transaction"


@dataclass(frozen=True, slots=True, kw_only=True)
class RewriteStep:
    """One or several statements, with their semicolons.

    `label` becomes a part of the name of the file, `says` a comment above the statements. What `begins` a file does not
    run with what stands ahead of it.
    """

    sql: str
    transaction: StepTransaction = StepTransaction.SHARED
    starts_file: bool = False
    label: str = ""
    comment: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StatementRewrite:
    """The pieces that a statement becomes, and what they leave behind (see Suggested)."""

    steps: tuple[RewriteStep, ...]
    leftovers: tuple[Leftover, ...] = ()
    nondeterministic_columns: tuple[tuple[str, str], ...] = ()


class CannotRewrite(Exception):
    """A signal: nothing is suggested, for this reason, a sentence without its full stop."""


def comment_text(text: str) -> str:
    """Text for a comment: one line, whatever names it holds. What does not print could end the comment."""
    return "".join(letter if letter.isprintable() else "?" for letter in " ".join(text.split()))


# The names that PostgreSQL gives to indexes and constraints that have none.
#
# Source: makeObjectName and ChooseRelationName in PostgreSQL's source (src/backend/commands/indexcmds.c), and
# ChooseConstraintName (src/backend/catalog/pg_constraint.c).


_NAME_BYTES = 63  # NAMEDATALEN - 1


def choose_name(table: str, columns: Iterable[str], label: str, taken: Container[str]) -> str:
    """The first free name of table, columns and label: orders_total_check, orders_total_check1 and so on."""
    addition = _clip_to_bytes("_".join(columns), _NAME_BYTES)
    number = 0
    while (name := _join_within_limit(table, addition, f"{label}{number or ''}")) in taken:
        number += 1
    return name


def distinct_key_names(columns: Iterable[str]) -> tuple[str, ...]:
    """The columns of an index told apart: a second `lower` is `lower1`."""
    found: list[str] = []
    for column in columns:
        name, number = column, 0
        while name in found:
            number += 1
            name = f"{_clip_to_bytes(column, _NAME_BYTES - len(str(number)))}{number}"
        found.append(name)
    return tuple(found)


def quote_name(name: str) -> str:
    """A name for SQL, always in quotes: which words are reserved differs between versions."""
    return '"' + name.replace('"', '""') + '"'


def unquote_name(quoted_name: str) -> str:
    """The name that `quoted` has put into quotes."""
    return quoted_name[1:-1].replace('""', '"')


def _join_within_limit(first: str, second: str, label: str) -> str:
    """Both and the label within the length of a name: what is longer is cut first."""
    room = _NAME_BYTES - len(label) - 1 - bool(second)
    one, other = len(first.encode()), len(second.encode())
    while one + other > room:
        if one > other:
            one -= 1
        else:
            other -= 1
    return "_".join(part for part in (_clip_to_bytes(first, one), _clip_to_bytes(second, other), label) if part)


def _clip_to_bytes(name: str, most: int) -> str:
    """As many whole characters as have room in so many bytes."""
    return name.encode()[:most].decode(errors="ignore")
