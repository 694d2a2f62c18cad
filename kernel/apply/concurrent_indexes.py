"""Changes of indexes outside of a transaction, and what one that failed or was killed has left behind.

CREATE INDEX, DROP INDEX and REINDEX with CONCURRENTLY take several transactions; one that stops in between leaves an
INVALID index, which IF NOT EXISTS takes for a finished one. An index is known by its OID: the indexes that were there
before the statement are saved with the progress of its file, so that no name has to be compared.
Source: PostgreSQL documentation, "CREATE INDEX" and "REINDEX", Building and Rebuilding Indexes Concurrently.
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
    from collections.abc import Iterable, Iterator, Mapping

    from kernel.db.connection import Connection
    from kernel.db.progress_table import FileProgress
    from kernel.migrations.migration import Migration
    from kernel.migrations.script import Script


class IndexAction(Enum):
    """What a statement does to an index."""

    CREATE = "CREATE INDEX"
    DROP = "DROP INDEX"
    REINDEX = "REINDEX"


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexChange:
    """A statement that changes indexes. `name` and `table` are written as to_regclass and parse_ident read them.

    `name` is "" where the server chooses it, and for REINDEX, which may be of a whole database. `table` is that of
    CREATE INDEX. With `only` the index of a partitioned table stays INVALID until those of all partitions are attached.
    """

    action: IndexAction
    name: str = ""
    table: str = ""
    concurrently: bool = False
    only: bool = False


def parse_index_change(statement: bytes) -> IndexChange | None:
    """Parse a CREATE INDEX, a DROP INDEX CONCURRENTLY or a REINDEX; None for any other statement."""
    reader = WordReader(read_words(statement))
    if reader.take("REINDEX"):
        return IndexChange(action=IndexAction.REINDEX)
    if reader.take("DROP", "INDEX", "CONCURRENTLY"):
        reader.take("IF", "EXISTS")
        return IndexChange(action=IndexAction.DROP, name=reader.take_identifier(), concurrently=True)
    if not reader.take("CREATE"):
        return None
    reader.take("UNIQUE")
    if not reader.take("INDEX"):
        return None
    concurrently = reader.take("CONCURRENTLY")
    reader.take("IF", "NOT", "EXISTS")
    name = "" if reader.next_is("ON") else reader.take_identifier()
    if not reader.take("ON"):
        return None
    only = reader.take("ONLY")
    table = reader.take_identifier()
    return IndexChange(action=IndexAction.CREATE, name=name, table=table, concurrently=concurrently, only=only)


# REINDEX CONCURRENTLY builds X_ccnew next to X, swaps the two, and drops X_ccold; an interrupted one leaves either.
_BEFORE = {
    IndexAction.CREATE: """
SELECT t.oid, ARRAY(SELECT indexrelid FROM pg_index WHERE indrelid = t.oid)
FROM (SELECT to_regclass(%(table)s)::oid AS oid) AS t
""",
    IndexAction.DROP: """
SELECT i.indrelid, ARRAY(SELECT indexrelid FROM pg_index WHERE indrelid = i.indrelid AND NOT indisvalid)
FROM pg_index i WHERE i.indexrelid = to_regclass(%(name)s)
""",
    IndexAction.REINDEX: "SELECT 0, ARRAY(SELECT indexrelid FROM pg_index WHERE NOT indisvalid)",
}
_ANY_INVALID = "SELECT 1 FROM pg_index WHERE NOT indisvalid LIMIT 1"
_MAY_CONCERN_INDEX = re.compile(
    rb"^create\s+(?:unique\s+)?index\b|\b(?:drop|reindex|alter|execute|call)\b", re.IGNORECASE
)
_DROPPED = "SELECT to_regclass(%(name)s) IS NULL"
_BUILT = """
SELECT EXISTS (SELECT FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
  WHERE i.indisvalid AND i.indrelid = %(table_oid)s AND i.indexrelid <> ALL (%(other_indexes)s::oid[])
    AND (c.relname = (parse_ident(nullif(%(name)s, '')))[1]::name
      OR (%(name)s = '' AND c.relname ~ '_idx[0-9]*$')))
"""
# The name as the server has it: parse_ident folds its case, name cuts it to 63 bytes.
_SAME_NAME = """
SELECT format('%%I.%%I', n.nspname, c.relname), i.indisvalid IS FALSE AND NOT (%(only)s AND c.relkind = 'I')
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace LEFT JOIN pg_index i ON i.indexrelid = c.oid
WHERE c.relname = (parse_ident(nullif(%(name)s, '')))[1]::name
  AND n.oid = (SELECT relnamespace FROM pg_class WHERE oid = to_regclass(%(table)s))
"""


def indexes_before(connection: Connection, change: IndexChange) -> tuple[int | None, tuple[int, ...]]:
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


def is_change_done(connection: Connection, change: IndexChange, progress: FileProgress) -> bool:
    """Whether the interrupted statement had come to its end: its index is there, or is gone that was there before."""
    if progress.table_oid is None or change.action is IndexAction.REINDEX:
        return False
    values = {
        "name": change.name,
        "table_oid": progress.table_oid,
        "other_indexes": list(progress.other_indexes),
    }
    row = _fetch_row(connection, _DROPPED if change.action is IndexAction.DROP else _BUILT, values)
    return bool(row and row[0])


def invalid_index_of_name(connection: Connection, change: IndexChange) -> str:
    """The INVALID index, quoted, that has the name of an index to create, and would be taken for it; "" for none."""
    row = _fetch_row(connection, _SAME_NAME, _name_values(change)) if change.action is IndexAction.CREATE else None
    return str(row[0]) if row and row[1] else ""


def describe_invalid_index(name: str, change: IndexChange) -> str:
    """The message for a CREATE INDEX that `invalid_index_of_name` has an index for."""
    drop = "DROP INDEX CONCURRENTLY" if change.concurrently else "DROP INDEX"
    return (
        f"{name} exists and is INVALID, as a build that failed leaves it, and IF NOT EXISTS would keep it so; "
        f"drop it with {drop} {name}, then run inv db.migrate again"
    )


def invalid_index_problems(connection: Connection, files: Iterable[tuple[Migration, Script]]) -> Iterator[Problem]:
    """Yield a problem for each CREATE INDEX of a file in a transaction whose name an INVALID index has. Reads only.

    Only in a database with INVALID indexes are the files searched. A file that repairs one drops or rebuilds it first:
    what statements before it may have changed is left to the server.
    """
    if not _fetch_row(connection, _ANY_INVALID, {}):
        return
    changed = ""
    for migration, script in files:
        with open_script(script, migration.path) as reading:
            for part in reading.parts:
                if part.kind is not PartKind.STATEMENT or not _MAY_CONCERN_INDEX.search(part.sql):
                    continue
                change = parse_index_change(part.sql)
                if change is None or change.action is not IndexAction.CREATE or not change.name:
                    changed += part.sql.decode(errors="replace").lower()
                    continue
                bare_names = (change.name.lower().strip('"'), change.table.lower().rpartition(".")[2].strip('"'))
                is_touched = script.mode is not RunMode.TRANSACTION or any(name in changed for name in bare_names)
                if not is_touched and (name := invalid_index_of_name(connection, change)):
                    message = describe_invalid_index(name, change)
                    yield Problem(message=message, file=migration.filename, line=part.line)


def is_index_missing(connection: Connection, change: IndexChange, progress: FileProgress) -> bool:
    """Whether a CREATE INDEX that the server accepted built no valid index, and nothing else has its name."""
    if change.action is not IndexAction.CREATE or progress.table_oid is None:
        return False
    _, now = indexes_before(connection, change)
    if set(now) - set(progress.other_indexes) and not left_indexes(connection, progress):
        return False
    row = _fetch_row(connection, _SAME_NAME, _name_values(change))
    return row is None or bool(row[1])


def _name_values(change: IndexChange) -> dict[str, object]:
    return {"name": change.name, "table": change.table, "only": change.only}


def _fetch_row(connection: Connection, query: str, values: Mapping[str, object]) -> tuple[Any, ...] | None:
    """A row of the catalog; None also for a name that the server refuses, as it will refuse the statement."""
    try:
        with connection.transaction():  # in a transaction of the file a savepoint, which the error does not pass
            return connection.execute(query.encode(), values).fetchone()
    except psycopg.ProgrammingError:
        return None
