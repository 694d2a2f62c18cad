"""Definitions of columns and constraints, in CREATE TABLE and ALTER TABLE alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kernel.rehearsal.static.act import Act
from kernel.rehearsal.static.words import STRING, Reader

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kernel.rehearsal.static.words import Word

CONSTRAINTS = frozenset({"CONSTRAINT", "CHECK", "UNIQUE", "PRIMARY", "FOREIGN", "EXCLUDE"})
_CLAUSES = (
    "CONSTRAINT",
    "NOT",
    "NULL",
    "DEFAULT",
    "PRIMARY",
    "UNIQUE",
    "CHECK",
    "REFERENCES",
    "GENERATED",
    "COLLATE",
    "STORAGE",
    "COMPRESSION",
    "DEFERRABLE",
    "INITIALLY",
    "OPTIONS",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column as it is defined: its type in lower case with its modifiers, and the kinds of clauses that follow."""

    type: str
    clauses: frozenset[str]
    default: tuple[Word, ...] = ()
    parent: str = ""


def column(words: Sequence[Word]) -> Column:  # noqa: C901 - one branch for each kind of clause
    """The type and the clauses of a column, from behind its name."""
    reader = Reader(words)
    kind = " ".join(word.text for word in reader.until(*_CLAUSES)).replace(" ( ", "(").replace(" )", ")")
    clauses: set[str] = set()
    default: tuple[Word, ...] = ()
    parent = ""
    while reader.key and reader.key != ";":
        if reader.take("CONSTRAINT"):
            reader.name()
        elif reader.take("NOT", "NULL"):
            clauses.add("not null")
        elif reader.take("DEFAULT"):
            if default := reader.until(*_CLAUSES, ";"):  # DEFAULT NULL is none
                clauses.add("default")
        elif reader.take("PRIMARY", "KEY"):
            clauses.add("primary key")
        elif reader.take("UNIQUE"):
            clauses.add("unique")
        elif reader.take("CHECK"):
            clauses.add("check")
            reader.group()
        elif reader.take("REFERENCES"):
            clauses.add("references")
            parent = reader.name()
        elif reader.take("GENERATED"):
            tail = {word.key for word in reader.until(*(set(_CLAUSES) - {"DEFAULT"}), ";")}
            clauses.add("identity" if "IDENTITY" in tail else "stored" if "STORED" in tail else "virtual")
        else:
            reader.at += 1
    return Column(type=kind.replace(" , ", ","), clauses=frozenset(clauses), default=default, parent=parent)


def constraint(relation: str, words: Sequence[Word], *, new: bool) -> Iterator[Act]:
    """The act of adding a table constraint, `new` where its table is new as well."""
    reader = Reader(words)
    begin = reader.begin
    name = reader.name() if reader.take("CONSTRAINT") else ""
    kind = reader.take_any("CHECK", "UNIQUE", "PRIMARY", "FOREIGN", "EXCLUDE", "NOT")
    if kind in ("PRIMARY", "FOREIGN"):
        reader.take("KEY")
    traits = {"new table"} if new else set()
    other = ""
    columns: tuple[str, ...] = ()
    inner: tuple[Word, ...] = ()
    if kind == "NOT":
        reader.take("NULL")
        columns = (reader.name(),)
    elif kind == "UNIQUE" and reader.take("NULLS"):
        reader.take("NOT")
        reader.take("DISTINCT")
    if reader.take("USING", "INDEX"):
        traits.add("using index")
    elif reader.key == "(":
        inner = reader.group()
        columns = names(inner) if kind in ("UNIQUE", "PRIMARY", "FOREIGN") else columns
    if reader.take("REFERENCES"):
        other = reader.name()
    rest = Reader(reader.rest())
    while rest.key:
        if rest.take("NOT", "VALID"):
            traits.add("not valid")
        else:
            rest.at += 1
    verb = {
        "CHECK": "add check",
        "UNIQUE": "add unique",
        "PRIMARY": "add primary key",
        "FOREIGN": "add foreign key",
        "EXCLUDE": "add exclusion",
        "NOT": "add not null",
    }.get(kind)
    if verb:
        yield Act(
            verb=verb,
            relation=relation,
            begin=begin,
            name=name,
            other=other,
            traits=frozenset(traits),
            words=inner,
            columns=columns,
        )


def names(words: Sequence[Word]) -> tuple[str, ...]:
    """The first word of each item of a list: the columns of a key; an expression has none and is ""."""
    found, fresh, depth = [], True, 0
    for word in words:
        if fresh:
            found.append(word.text if word.named else "")
            fresh = False
        depth += (word.key == "(") - (word.key == ")")
        if word.key == "," and depth == 0:
            fresh = True
    return tuple(found)


# Functions whose value is the same for all rows of a statement. Source: provolatile in pg_proc.
_STEADY = frozenset(
    {
        *("now", "transaction_timestamp", "statement_timestamp", "timezone", "date_trunc", "to_timestamp", "date_part"),
        *("make_interval", "make_date", "make_time", "make_timestamp", "make_timestamptz", "extract", "age", "to_char"),
        *("to_date", "to_number", "current_setting", "coalesce", "nullif", "greatest", "least", "lower", "upper"),
        *("concat", "concat_ws", "format", "md5", "sha256", "encode", "decode", "length", "replace", "repeat", "left"),
        *("right", "trim", "btrim", "lpad", "rpad", "round", "floor", "ceil", "abs", "power", "array_fill"),
        *("string_to_array", "jsonb_build_object", "jsonb_build_array", "json_build_object", "json_build_array"),
        *("to_json", "to_jsonb", "int4range", "int8range", "numrange", "daterange", "tsrange", "tstzrange", "cast"),
        *("row", "array", "current_database", "current_schema", "to_tsvector", "convert_to", "localtimestamp"),
        *("current_timestamp", "current_time", "localtime"),
    }
)


def volatile(words: Sequence[Word]) -> str:
    """The function in a default that may be volatile, "" if none is: every call but those known to be steady."""
    for at, word in enumerate(words[:-1]):
        if words[at + 1].key != "(" or not word.named:
            continue
        ahead = words[at - 1].key if at else ""
        # A type with its length behind :: or AS is no call; a string cannot be one.
        if ahead in (":", "AS") or word.key in ("AND", "OR", "NOT", "IN", "CASE", "WHEN", "THEN", "ELSE", STRING):
            continue
        if word.text not in _STEADY and not _is_a_type(words, at):
            return word.text
    return ""


def _is_a_type(words: Sequence[Word], at: int) -> bool:
    """Whether the word is the last of a type such as `'x'::character varying(20)`."""
    while at and (words[at].named or words[at].key == "."):
        at -= 1
    return words[at].key == ":"
