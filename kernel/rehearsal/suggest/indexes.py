"""Indexes without a lock that shuts writes out: CONCURRENTLY, each alone in its file.

Source: PostgreSQL documentation, "CREATE INDEX", "DROP INDEX", "REINDEX".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel.rehearsal.suggest.model import (
    CannotRewrite,
    RewriteStep,
    StatementRewrite,
    distinct_key_names,
    quote_name,
    read_quoted_name,
    step_outside_transaction,
)
from kernel.rehearsal.suggest.source import StatementText
from kernel.sql.reader import WordReader, split_at_commas

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kernel.rehearsal.suggest.catalog import CatalogState, TableInfo
    from kernel.sql.reader import Word


_UNNAMED_EXPRESSION = "the index has no name, and one that PostgreSQL makes of an expression; give it a name"
_BUILD_COMMENT = (
    "Built while the table is read and written: that takes longer, and waits for transactions that are older."
)


def create_index_concurrently(sql: bytes, ground: CatalogState) -> StatementRewrite:
    """CREATE INDEX. One without a name gets the one that PostgreSQL would choose: IF NOT EXISTS asks for a name."""
    cut = StatementText(sql)
    reader = cut.reader()
    reader.take("CREATE")
    unique = "UNIQUE " if reader.take("UNIQUE") else ""
    reader.take("INDEX")
    reader.take("IF", "NOT", "EXISTS")
    begin = reader.index
    given = "" if reader.key == "ON" else read_quoted_name(reader) and cut.text(begin, reader.index)
    if not reader.take("ON"):
        raise CannotRewrite("the statement is written in a way that is not known here")
    begin = reader.index
    table = ground.table(read_quoted_name(reader))
    if table.kind == "p":
        raise CannotRewrite(
            "an index of a partitioned table cannot be built concurrently; build those of its partitions so"
        )
    if not given:
        reader.take_until("(")
        keys = [_key_name(item) for item in split_at_commas(reader.take_group())]
        if reader.take("INCLUDE"):
            keys += [_key_name(item) for item in split_at_commas(reader.take_group())]
        given = quote_name(ground.reserve_default_name(table, distinct_key_names(keys), "idx"))
    built = f"CREATE {unique}INDEX CONCURRENTLY IF NOT EXISTS {given} ON {cut.text(begin)};\n"
    return StatementRewrite(steps=(step_outside_transaction(built, label="index", says=_BUILD_COMMENT),))


def unique_index_step(name: str, table: TableInfo, written: str, keys: str) -> RewriteStep:
    """The unique index for a constraint: `keys` begin with its columns in parentheses."""
    sql = f"CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS {name} ON {written} {keys};\n"
    if table.kind != "r":
        raise CannotRewrite("an index of a partitioned table cannot be built concurrently")
    return step_outside_transaction(sql, label="index", says=_BUILD_COMMENT)


def _key_name(item: Sequence[Word]) -> str:
    """What PostgreSQL calls a key: the column, the function that is called, or expr (FigureIndexColname)."""
    reader = WordReader(item)
    if reader.key == "(":
        return _expression_name(reader.take_group())
    name = _last_name(reader)
    if name in ("cast", "case", ""):
        raise CannotRewrite(_UNNAMED_EXPRESSION)
    return name


def _expression_name(inner: Sequence[Word]) -> str:
    reader = WordReader(inner)
    if reader.key == "(":
        group = reader.take_group()
        if not reader.key:
            return _expression_name(group)
    name = _last_name(reader)
    called = bool(reader.take_group())
    if name and not reader.key and name not in ("cast", "case"):
        return name
    # Of a cast it takes the name of what is cast, or else of the type.
    if (called and reader.key == ":") or {word.key for word in inner} & {":", "CASE", "CAST", "COLLATE", "["}:
        raise CannotRewrite(_UNNAMED_EXPRESSION)
    return "expr"


def _last_name(reader: WordReader) -> str:
    name = ""
    while reader.index < len(reader.words) and reader.words[reader.index].is_name:
        name = reader.words[reader.index].text
        reader.index += 1
        if not reader.take("."):
            break
    return name


def drop_index_concurrently(sql: bytes, ground: CatalogState) -> StatementRewrite:
    """DROP INDEX: each index in a file of its own."""
    cut = StatementText(sql)
    reader = cut.reader()
    reader.take("DROP", "INDEX")
    reader.take("IF", "EXISTS")
    pieces = []
    while True:
        begin = reader.index
        index = read_quoted_name(reader)
        if ground.table(index).kind != "i":
            raise CannotRewrite("an index of a partitioned table cannot be dropped concurrently")
        dropped = f"DROP INDEX CONCURRENTLY IF EXISTS {cut.text(begin, reader.index)};\n"
        pieces.append(
            step_outside_transaction(dropped, label="drop_index", says="Dropped once nobody uses it any more.")
        )
        if not reader.take(","):
            break
    if reader.take("CASCADE"):
        raise CannotRewrite("DROP INDEX CONCURRENTLY knows no CASCADE")
    return StatementRewrite(steps=tuple(pieces))


def reindex_concurrently(sql: bytes, ground: CatalogState) -> StatementRewrite:
    """REINDEX of an index or a table."""
    cut = StatementText(sql)
    reader = cut.reader()
    reader.take("REINDEX")
    begin = reader.index
    reader.take_group()
    options = f"{cut.text(begin, reader.index)} " if reader.index > begin else ""
    kind = reader.take_any("INDEX", "TABLE")
    if not kind:
        raise CannotRewrite("only REINDEX INDEX and REINDEX TABLE can be told apart from what they are not to touch")
    begin = reader.index
    ground.table(read_quoted_name(reader))
    built = f"REINDEX {options}{kind} CONCURRENTLY {cut.text(begin)};\n"
    return StatementRewrite(
        steps=(step_outside_transaction(built, label="reindex", says="Built beside the old one, then swapped."),)
    )
