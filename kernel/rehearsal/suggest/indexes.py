"""CREATE INDEX, DROP INDEX and REINDEX with CONCURRENTLY, each alone in its file, so that writes are not blocked.

Source: PostgreSQL documentation, "CREATE INDEX", "DROP INDEX", "REINDEX".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel.rehearsal.alter_table import StatementText
from kernel.rehearsal.suggest.model import (
    CannotRewrite,
    RewriteStep,
    StepTransaction,
    distinct_key_names,
    quote_name,
    read_quoted_name,
)
from kernel.sql.reader import WordReader, split_at_commas

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kernel.rehearsal.suggest.catalog import TableCatalog, TableInfo
    from kernel.sql.reader import Word


_UNNAMED_EXPRESSION = "the index has no name, and PostgreSQL would derive one from an expression; give it a name"
_PARTITIONED = "an index of a partitioned table cannot be built concurrently; build those of its partitions instead"
_BUILD_COMMENT = "Built while the table is read and written. It takes longer, and waits for older transactions."


def concurrent_step(sql: str, *, label: str, comment: str) -> RewriteStep:
    """A statement that runs outside a transaction, and so in a file of its own."""
    return RewriteStep(sql=sql, transaction=StepTransaction.NONE, label=label, comment=comment)


def create_index_concurrently(sql: bytes, catalog: TableCatalog) -> list[RewriteStep]:
    """Rewrite CREATE INDEX. IF NOT EXISTS needs a name: an unnamed index gets the one that PostgreSQL would choose."""
    statement = StatementText(sql)
    reader = statement.reader()
    reader.take("CREATE")
    unique = "UNIQUE " if reader.take("UNIQUE") else ""
    reader.take("INDEX")
    reader.take("IF", "NOT", "EXISTS")
    begin = reader.index
    name = "" if reader.key == "ON" else read_quoted_name(reader) and statement.text(begin, reader.index)
    if not reader.take("ON"):
        raise CannotRewrite("the statement has a form that cannot be rewritten")
    begin = reader.index
    table = catalog.table(read_quoted_name(reader))
    if table.kind == "p":
        raise CannotRewrite(_PARTITIONED)
    if not name:
        reader.take_until("(")
        keys = [_key_name(item) for item in split_at_commas(reader.take_group())]
        if reader.take("INCLUDE"):
            keys += [_key_name(item) for item in split_at_commas(reader.take_group())]
        name = quote_name(catalog.reserve_default_name(table, distinct_key_names(keys), "idx"))
    create = f"CREATE {unique}INDEX CONCURRENTLY IF NOT EXISTS {name} ON {statement.text(begin)};\n"
    return [concurrent_step(create, label="index", comment=_BUILD_COMMENT)]


def unique_index_step(name: str, table: TableInfo, table_sql: str, keys: str) -> RewriteStep:
    """The unique index for a constraint: `keys` begin with its columns in parentheses."""
    if table.kind != "r":
        raise CannotRewrite(_PARTITIONED)
    create = f"CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS {name} ON {table_sql} {keys};\n"
    return concurrent_step(create, label="index", comment=_BUILD_COMMENT)


def _key_name(item: Sequence[Word]) -> str:
    """PostgreSQL's name for a key: the column, the function that is called, or expr (FigureIndexColname)."""
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
    is_call = bool(reader.take_group())
    if name and not reader.key and name not in ("cast", "case"):
        return name
    # PostgreSQL names a cast after what is cast, or after the type.
    if (is_call and reader.key == ":") or {word.key for word in inner} & {":", "CASE", "CAST", "COLLATE", "["}:
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


def drop_index_concurrently(sql: bytes, catalog: TableCatalog) -> list[RewriteStep]:
    """Rewrite DROP INDEX: each index in a file of its own."""
    statement = StatementText(sql)
    reader = statement.reader()
    reader.take("DROP", "INDEX")
    reader.take("IF", "EXISTS")
    steps = []
    while True:
        begin = reader.index
        if catalog.table(read_quoted_name(reader)).kind != "i":
            raise CannotRewrite("an index of a partitioned table cannot be dropped concurrently")
        drop = f"DROP INDEX CONCURRENTLY IF EXISTS {statement.text(begin, reader.index)};\n"
        steps.append(concurrent_step(drop, label="drop_index", comment="Dropped once no transaction uses it."))
        if not reader.take(","):
            break
    if reader.take("CASCADE"):
        raise CannotRewrite("DROP INDEX CONCURRENTLY does not support CASCADE")
    return steps


def reindex_concurrently(sql: bytes, catalog: TableCatalog) -> list[RewriteStep]:
    """Rewrite REINDEX of an index or a table."""
    statement = StatementText(sql)
    reader = statement.reader()
    reader.take("REINDEX")
    begin = reader.index
    reader.take_group()
    options = f"{statement.text(begin, reader.index)} " if reader.index > begin else ""
    kind = reader.take_any("INDEX", "TABLE")
    if not kind:
        raise CannotRewrite("only REINDEX INDEX and REINDEX TABLE can be rewritten")
    begin = reader.index
    catalog.table(read_quoted_name(reader))  # raises CannotRewrite unless it exists
    rebuild = f"REINDEX {options}{kind} CONCURRENTLY {statement.text(begin)};\n"
    return [concurrent_step(rebuild, label="reindex", comment="Built next to the old one, then swapped.")]
