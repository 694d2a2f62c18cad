"""What a statement does, as far as the rules need it: one action each, three for ALTER TABLE with three actions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kernel.sql.reader import QUOTED_KEY, STRING_KEY, WordReader

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from collections.abc import Set as AbstractSet

    from kernel.sql.reader import Word


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """One thing that a statement does.

    `verb` is a plain term such as "create index"; `relation` is the table or view that it is about; `name` the column,
    constraint or index that it creates or changes; `other` a second relation: the parent of a foreign key or partition,
    the new name. `traits` are properties such as "concurrently". `words` are the definition of a column, or a query.
    `columns` are those of a key or an index. `begin` is the byte of the statement to point at, 0 for its first word.
    """

    verb: str
    relation: str = ""
    begin: int = 0
    name: str = ""
    other: str = ""
    traits: AbstractSet[str] = frozenset()
    words: tuple[Word, ...] = ()
    columns: tuple[str, ...] = ()


CONSTRAINT_KEYWORDS = frozenset({"CONSTRAINT", "CHECK", "UNIQUE", "PRIMARY", "FOREIGN", "EXCLUDE"})
_COLUMN_CLAUSES = (
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
class ColumnDefinition:
    """A column definition: the type in lower case with its modifiers, and the kinds of clauses after it."""

    type: str
    clauses: frozenset[str]
    default: tuple[Word, ...] = ()
    parent_table: str = ""


def read_column_definition(words: Sequence[Word]) -> ColumnDefinition:  # noqa: C901 - one branch for each kind of clause
    """Read the type and the clauses of a column; `words` begin after its name."""
    reader = WordReader(words)
    # Quoted, char is a type of its own, of one byte.
    texts = (
        '"char"' if word[:2] == (QUOTED_KEY, "char") else word.text for word in reader.take_until(*_COLUMN_CLAUSES)
    )
    kind = " ".join(texts).replace(" ( ", "(").replace(" )", ")")
    clauses: set[str] = set()
    default: tuple[Word, ...] = ()
    parent = ""
    while reader.key and reader.key != ";":
        if reader.take("CONSTRAINT"):
            reader.take_name()
        elif reader.take("NOT", "NULL"):
            clauses.add("not null")
        elif reader.take("DEFAULT"):
            if default := reader.take_until(*_COLUMN_CLAUSES, ";"):  # DEFAULT NULL is no default
                clauses.add("default")
        elif reader.take("PRIMARY", "KEY"):
            clauses.add("primary key")
        elif reader.take("UNIQUE"):
            clauses.add("unique")
        elif reader.take("CHECK"):
            clauses.add("check")
            reader.take_group()
        elif reader.take("REFERENCES"):
            clauses.add("references")
            parent = reader.take_name()
        elif reader.take("GENERATED"):
            tail = {word.key for word in reader.take_until(*(set(_COLUMN_CLAUSES) - {"DEFAULT"}), ";")}
            clauses.add("identity" if "IDENTITY" in tail else "stored" if "STORED" in tail else "virtual")
        else:
            reader.index += 1
    return ColumnDefinition(
        type=kind.replace(" , ", ","), clauses=frozenset(clauses), default=default, parent_table=parent
    )


def read_constraint(relation: str, words: Sequence[Word], *, new: bool) -> Iterator[Action]:
    """Read a table constraint; `new` if its table is new as well."""
    reader = WordReader(words)
    begin = reader.begin
    name = reader.take_name() if reader.take("CONSTRAINT") else ""
    kind = reader.take_any("CHECK", "UNIQUE", "PRIMARY", "FOREIGN", "EXCLUDE", "NOT")
    if kind in ("PRIMARY", "FOREIGN"):
        reader.take("KEY")
    traits = {"new table"} if new else set()
    other = ""
    columns: tuple[str, ...] = ()
    inner: tuple[Word, ...] = ()
    if kind == "NOT":
        reader.take("NULL")
        columns = (reader.take_name(),)
    elif kind == "UNIQUE" and reader.take("NULLS"):
        reader.take("NOT")
        reader.take("DISTINCT")
    if reader.take("USING", "INDEX"):
        traits.add("using index")
    elif reader.key == "(":
        inner = reader.take_group()
        columns = read_key_columns(inner) if kind in ("UNIQUE", "PRIMARY", "FOREIGN") else columns
    if reader.take("REFERENCES"):
        other = reader.take_name()
    rest = WordReader(reader.take_rest())
    while rest.key:
        if rest.take("NOT", "VALID"):
            traits.add("not valid")
        else:
            rest.index += 1
    verb = {
        "CHECK": "add check",
        "UNIQUE": "add unique",
        "PRIMARY": "add primary key",
        "FOREIGN": "add foreign key",
        "EXCLUDE": "add exclusion",
        "NOT": "add not null",
    }.get(kind)
    if verb:
        yield Action(
            verb=verb,
            relation=relation,
            begin=begin,
            name=name,
            other=other,
            traits=traits,
            words=inner,
            columns=columns,
        )


def read_key_columns(words: Sequence[Word]) -> tuple[str, ...]:
    """The columns of a key: the first word of each item of a list, "" for an expression."""
    found, fresh, depth = [], True, 0
    for word in words:
        if fresh:
            found.append(word.text if word.is_name else "")
            fresh = False
        depth += (word.key == "(") - (word.key == ")")
        if word.key == "," and depth == 0:
            fresh = True
    return tuple(found)


# Functions whose value is the same for all rows of a statement. Source: provolatile in pg_proc.
_STABLE_FUNCTIONS = frozenset(
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


def find_volatile_function(words: Sequence[Word]) -> str:
    """A function in a default that may be volatile, "" if there is none: any call but those known not to be."""
    for at, word in enumerate(words[:-1]):
        if words[at + 1].key != "(" or not word.is_name:
            continue
        before = words[at - 1].key if at else ""
        # A type with its length after :: or AS is not a call, nor is a string.
        if before in (":", "AS") or word.key in ("AND", "OR", "NOT", "IN", "CASE", "WHEN", "THEN", "ELSE", STRING_KEY):
            continue
        if word.text not in _STABLE_FUNCTIONS and not _is_type_name(words, at):
            return word.text
    return ""


def _is_type_name(words: Sequence[Word], at: int) -> bool:
    """Whether the word is the last of a type such as `'x'::character varying(20)`."""
    while at and (words[at].is_name or words[at].key == "."):
        at -= 1
    return words[at].key == ":"
