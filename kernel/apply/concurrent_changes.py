"""Statements with CONCURRENTLY, and what one that failed or was killed has left.

CREATE INDEX, DROP INDEX and REINDEX take several transactions; one that stops in between leaves an INVALID index, which
IF NOT EXISTS takes for a finished one. An index is known by its OID: the indexes that were there before the statement
are saved with the progress of its file, so that no name has to be compared. DETACH PARTITION takes two transactions;
after the first, only FINALIZE goes on.
Source: PostgreSQL documentation, "CREATE INDEX" and "REINDEX", Building and Rebuilding Indexes Concurrently; "ALTER
TABLE", DETACH PARTITION.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

import psycopg

from kernel.db.progress_table import left_indexes
from kernel.errors import Problem
from kernel.migrations.script import open_script
from kernel.migrations.transactions import RunMode
from kernel.sql.lexer import PartKind
from kernel.sql.reader import WordReader, read_words

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from kernel.db.connection import Connection
    from kernel.db.progress_table import FileProgress
    from kernel.migrations.migration import Migration
    from kernel.migrations.script import Script


_FIRST_WORD = re.compile(rb"(?:alter|create|drop|reindex)\b", re.IGNORECASE)


class ConcurrentAction(Enum):
    """What a statement does."""

    CREATE = "CREATE INDEX"
    DROP = "DROP INDEX"
    REINDEX = "REINDEX"
    DETACH = "DETACH PARTITION"


@dataclass(frozen=True, slots=True, kw_only=True)
class ConcurrentChange:
    """A statement that can stop half way. `name` and `table` are written as to_regclass and parse_ident read them.

    `name` is that of the index, "" where the server chooses it, and for REINDEX, which may be of a whole database; or
    that of the partition. `table` is that of CREATE INDEX, or the partitioned table. With `only` the index of a
    partitioned table stays INVALID until those of all partitions are attached. `finalize` completes a DETACH.
    """

    action: ConcurrentAction
    name: str = ""
    table: str = ""
    concurrently: bool = False
    only: bool = False
    finalize: bytes = b""


def parse_concurrent_change(statement: bytes) -> ConcurrentChange | None:
    """Parse a CREATE INDEX, a DROP INDEX or DETACH PARTITION with CONCURRENTLY, or a REINDEX; None for any other."""
    if not _FIRST_WORD.match(statement):  # most statements, and the long ones
        return None
    reader = WordReader(read_words(statement))
    match reader.take_any("ALTER", "CREATE", "DROP", "REINDEX"):
        case "ALTER":
            return _parse_detach(reader, statement)
        case "CREATE":
            return _parse_create_index(reader)
        case "DROP" if reader.take("INDEX", "CONCURRENTLY"):
            reader.take("IF", "EXISTS")
            return ConcurrentChange(action=ConcurrentAction.DROP, name=reader.take_identifier(), concurrently=True)
        case "REINDEX":
            return ConcurrentChange(action=ConcurrentAction.REINDEX)
    return None


def _parse_create_index(reader: WordReader) -> ConcurrentChange | None:
    reader.take("UNIQUE")
    if not reader.take("INDEX"):
        return None
    concurrently = reader.take("CONCURRENTLY")
    reader.take("IF", "NOT", "EXISTS")
    name = "" if reader.next_is("ON") else reader.take_identifier()
    if not reader.take("ON"):
        return None
    only = reader.take("ONLY")
    return ConcurrentChange(
        action=ConcurrentAction.CREATE,
        name=name,
        table=reader.take_identifier(),
        concurrently=concurrently,
        only=only,
    )


def _parse_detach(reader: WordReader, statement: bytes) -> ConcurrentChange | None:
    if not reader.take("TABLE"):
        return None
    reader.take("IF", "EXISTS")
    reader.take("ONLY")
    table = reader.take_identifier()
    reader.take("*")
    if not reader.take("DETACH", "PARTITION"):
        return None
    name = reader.take_identifier()
    if not reader.next_is("CONCURRENTLY"):
        return None
    word = reader.take_word()
    finalize = statement[: word.begin] + b"FINALIZE" + statement[word.end :]
    return ConcurrentChange(
        action=ConcurrentAction.DETACH, name=name, table=table, concurrently=True, finalize=finalize
    )


# REINDEX CONCURRENTLY builds X_ccnew next to X, swaps the two, and drops X_ccold; an interrupted one leaves either.
_BEFORE = {
    ConcurrentAction.CREATE: """
SELECT t.oid, ARRAY(SELECT indexrelid FROM pg_index WHERE indrelid = t.oid)
FROM (SELECT to_regclass(%(table)s)::oid AS oid) AS t
""",
    ConcurrentAction.DROP: """
SELECT i.indrelid, ARRAY(SELECT indexrelid FROM pg_index WHERE indrelid = i.indrelid AND NOT indisvalid)
FROM pg_index i WHERE i.indexrelid = to_regclass(%(name)s)
""",
    ConcurrentAction.DETACH: """
SELECT inhrelid, ARRAY(SELECT indexrelid FROM pg_index WHERE indrelid = inhrelid)
FROM pg_inherits WHERE inhrelid = to_regclass(%(name)s) AND inhparent = to_regclass(%(table)s)
""",
    ConcurrentAction.REINDEX: "SELECT 0, ARRAY(SELECT indexrelid FROM pg_index WHERE NOT indisvalid)",
}
_ANY_INVALID_INDEX = "SELECT 1 FROM pg_index WHERE NOT indisvalid LIMIT 1"
_MAY_CREATE_INDEX = re.compile(rb"create\b.*?\bindex\b", re.IGNORECASE | re.DOTALL)
_MAY_CONCERN_INDEX = re.compile(
    rb"^create\s+(?:unique\s+)?index\b|\b(?:drop|reindex|alter|execute|call|search_path|schema)\b", re.IGNORECASE
)
_DROPPED = "SELECT to_regclass(%(name)s) IS NULL"
_BUILT = """
SELECT EXISTS (SELECT FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
  WHERE i.indisvalid AND i.indrelid = %(table_oid)s AND i.indexrelid <> ALL (%(other_indexes)s::oid[])
    AND (c.relname = (parse_ident(nullif(%(name)s, '')))[1]::name
      OR (%(name)s = '' AND c.relname ~ '_idx[0-9]*$')))
"""
_DETACHED = """
SELECT NOT EXISTS (SELECT FROM pg_inherits WHERE inhrelid = %(table_oid)s AND inhparent = to_regclass(%(table)s))
"""
_DETACH_PENDING = """
SELECT 1 FROM pg_inherits
WHERE inhdetachpending AND inhrelid = to_regclass(%(name)s) AND inhparent = to_regclass(%(table)s)
"""
_DONE = {
    ConcurrentAction.CREATE: _BUILT,
    ConcurrentAction.DROP: _DROPPED,
    ConcurrentAction.DETACH: _DETACHED,
}
# The name as the server has it: parse_ident folds its case, name cuts it to 63 bytes.
_SAME_NAME = """
SELECT format('%%I.%%I', n.nspname, c.relname), i.indisvalid IS FALSE AND NOT (%(only)s AND c.relkind = 'I')
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace LEFT JOIN pg_index i ON i.indexrelid = c.oid
WHERE c.relname = (parse_ident(nullif(%(name)s, '')))[1]::name
  AND n.oid = (SELECT relnamespace FROM pg_class WHERE oid = to_regclass(%(table)s))
"""
# Most often the tables are made by the same files, which is quickly known. OFFSET keeps the planner from looking for an
# index of this name in all schemas.
_NAME_QUERIES = (
    "SELECT 1 FROM unnest(%(tables)s::text[]) AS made (name) WHERE to_regclass(made.name) IS NOT NULL LIMIT 1",
    """
SELECT 1 FROM (
  SELECT (parse_ident(index_name))[1]::name AS name,
    (SELECT relnamespace FROM pg_class WHERE oid = to_regclass(table_name)) AS schema_oid
  FROM unnest(%(names)s::text[], %(tables)s::text[]) AS made (index_name, table_name) OFFSET 0
) made
JOIN pg_class c ON c.relname = made.name AND c.relnamespace = schema_oid
JOIN pg_index i ON i.indexrelid = c.oid AND NOT i.indisvalid LIMIT 1
""",
)


def state_before(connection: Connection, change: ConcurrentChange) -> tuple[int | None, tuple[int, ...]]:
    """The `table_oid` and `other_indexes` of FileProgress for a statement that has not been sent yet."""
    row = _fetch_row(connection, _BEFORE[change.action], {"name": change.name, "table": change.table})
    table_oid, indexes = row or (None, ())
    return table_oid, tuple(indexes)


def drop_left_indexes(connection: Connection, progress: FileProgress) -> None:
    """Drop what `left_indexes` names, without blocking reads or writes, once no session builds an index there."""
    for table in sorted({index.table for index in left_indexes(connection, progress)}):
        with connection.transaction():  # the lock that every change of an index with CONCURRENTLY holds to its end
            connection.execute(f"LOCK TABLE {table} IN SHARE UPDATE EXCLUSIVE MODE".encode())
    for index in left_indexes(connection, progress):
        connection.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {index.name}".encode())


def is_change_done(connection: Connection, change: ConcurrentChange, progress: FileProgress) -> bool:
    """Whether the interrupted statement had come to its end: what it makes is there, or what it removes is gone."""
    if progress.table_oid is None or change.action is ConcurrentAction.REINDEX:
        return False
    values = {
        "name": change.name,
        "table": change.table,
        "table_oid": progress.table_oid,
        "other_indexes": list(progress.other_indexes),
    }
    row = _fetch_row(connection, _DONE[change.action], values)
    return bool(row and row[0])


def is_detach_pending(connection: Connection, change: ConcurrentChange) -> bool:
    """Whether a DETACH PARTITION has come to its end but for what `change.finalize` does."""
    return bool(
        change.finalize and _fetch_row(connection, _DETACH_PENDING, {"name": change.name, "table": change.table})
    )


def invalid_index_of_name(connection: Connection, change: ConcurrentChange) -> str:
    """The INVALID index, quoted, that has the name of an index to create, and would be taken for it; "" for none."""
    row = _fetch_row(connection, _SAME_NAME, _name_values(change)) if change.action is ConcurrentAction.CREATE else None
    return str(row[0]) if row and row[1] else ""


def describe_invalid_index(name: str, change: ConcurrentChange) -> str:
    """The message for a CREATE INDEX that `invalid_index_of_name` has an index for."""
    drop = "DROP INDEX CONCURRENTLY" if change.concurrently else "DROP INDEX"
    return (
        f"{name} exists and is INVALID, as a build that failed leaves it, and IF NOT EXISTS would keep it so; "
        f"drop it with {drop} {name}, then run inv db.migrate again"
    )


def invalid_index_problems(connection: Connection, files: Sequence[tuple[Migration, Script]]) -> Iterator[Problem]:
    """Yield a problem for each CREATE INDEX of a file in a transaction whose name an INVALID index has. Reads only.

    A file that repairs one drops or rebuilds it first: what statements before it may have changed is left to the
    server.
    """
    if not _may_name_invalid_index(connection, [script for _, script in files]):
        return
    changed = ""
    for migration, script in files:
        with open_script(script, migration.path) as reading:
            for part in reading.parts:
                if part.kind is not PartKind.STATEMENT or not _MAY_CONCERN_INDEX.search(part.sql):
                    continue
                change = parse_concurrent_change(part.sql)
                if change is None or change.action is not ConcurrentAction.CREATE or not change.name:
                    changed += part.sql.decode(errors="replace").lower()
                    continue
                names = {change.name.lower().strip('"'), change.table.lower().rpartition(".")[2].strip('"')}
                if "." not in change.table:  # it may mean a table of another schema by then
                    names |= {"search_path", "set schema"}
                is_touched = script.mode is not RunMode.TRANSACTION or any(name in changed for name in names)
                if not is_touched and (name := invalid_index_of_name(connection, change)):
                    message = describe_invalid_index(name, change)
                    yield Problem(message=message, file=migration.filename, line=part.line)


def _may_name_invalid_index(connection: Connection, scripts: Sequence[Script]) -> bool:
    """Whether a CREATE INDEX may have the name of an INVALID index, by two queries at most.

    The names are looked up: in a database of many schemas it takes long to read pg_index. Large files are not read for
    their names alone.
    """
    if any(script.parts is None for script in scripts):
        return connection.execute(_ANY_INVALID_INDEX).fetchone() is not None
    parts = [part for script in scripts for part in script.parts or () if part.kind is PartKind.STATEMENT]
    changes = [parse_concurrent_change(part.sql) for part in parts if _MAY_CREATE_INDEX.match(part.sql)]
    made = [one for one in changes if one and one.action is ConcurrentAction.CREATE and one.name]
    values = {"names": [one.name for one in made], "tables": [one.table for one in made]}
    try:
        return bool(made) and all(connection.execute(query, values).fetchone() for query in _NAME_QUERIES)
    except psycopg.ProgrammingError:  # one of the names is none; those of other statements are looked up apart
        return True


def is_index_missing(connection: Connection, change: ConcurrentChange, progress: FileProgress) -> bool:
    """Whether a CREATE INDEX that the server accepted built no valid index, and nothing else has its name."""
    if change.action is not ConcurrentAction.CREATE or progress.table_oid is None:
        return False
    _, now = state_before(connection, change)
    if set(now) - set(progress.other_indexes) and not left_indexes(connection, progress):
        return False
    row = _fetch_row(connection, _SAME_NAME, _name_values(change))
    return row is None or bool(row[1])


def _name_values(change: ConcurrentChange) -> dict[str, object]:
    return {"name": change.name, "table": change.table, "only": change.only}


def _fetch_row(connection: Connection, query: str, values: Mapping[str, object]) -> tuple[Any, ...] | None:
    """A row of the catalog; None also for a name that the server refuses, as it will refuse the statement."""
    try:
        with connection.transaction():  # in a transaction of the file a savepoint, which the error does not pass
            return connection.execute(query.encode(), values).fetchone()
    except psycopg.ProgrammingError:
        return None
