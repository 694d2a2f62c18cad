"""CREATE, DROP and REINDEX … CONCURRENTLY: what they name, and what a failed one left behind.

A build that fails or is killed leaves an INVALID index, which IF NOT EXISTS takes for the finished one.
Source: PostgreSQL documentation, "CREATE INDEX", Building Indexes Concurrently.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from psycopg import sql

from kernel.sql import tokens

if TYPE_CHECKING:
    from kernel.database import Connection

_INVALID = """
SELECT format('%%I.%%I', n.nspname, c.relname) FROM pg_index i
JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE NOT i.indisvalid AND i.indrelid = to_regclass(%(table)s)
  AND (%(name)s::text IS NULL OR c.relname = (parse_ident(%(name)s))[1])
ORDER BY c.relname
"""
# Of indexes that the server named, those that are younger than the transaction %(xid)s.
_YOUNGER = """
SELECT format('%%I.%%I', n.nspname, c.relname), i.indisvalid FROM pg_index i
JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE i.indrelid = to_regclass(%(table)s) AND c.relname ~ '_idx[0-9]*$' AND age(c.xmin) < age(%(xid)s::xid)
ORDER BY c.relname
"""
# REINDEX CONCURRENTLY builds X_ccnew beside X, swaps the two, and drops X_ccold; an interrupted one leaves either.
# Source: PostgreSQL documentation, "REINDEX", Rebuilding Indexes Concurrently.
_REBUILT = """
SELECT format('%%I.%%I', n.nspname, c.relname) FROM pg_index i
JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE NOT i.indisvalid AND c.relname ~ '_cc(new|old)[0-9]*$' AND i.indrelid IN (
  SELECT to_regclass(%(name)s) UNION SELECT indrelid FROM pg_index WHERE indexrelid = to_regclass(%(name)s))
ORDER BY c.relname
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """A CREATE INDEX CONCURRENTLY, as written: `name` is None when the server chooses it."""

    name: str | None
    table: str


def build(statement: bytes) -> Build | None:
    """What a CREATE INDEX CONCURRENTLY builds; None for any other statement."""
    words = _Words(statement)
    if not (words.take("CREATE") and (words.take("UNIQUE") or True) and words.take("INDEX", "CONCURRENTLY")):
        return None
    words.take("IF", "NOT", "EXISTS")
    name = None if words.take("ON") else words.name()
    if name is not None and not words.take("ON"):
        return None
    words.take("ONLY")
    return Build(name=name, table=words.name())


def dropped(statement: bytes) -> str | None:
    """The first index that a DROP INDEX CONCURRENTLY names, as written; None for any other statement."""
    words = _Words(statement)
    if not words.take("DROP", "INDEX", "CONCURRENTLY"):
        return None
    words.take("IF", "EXISTS")
    return words.name()


def rebuilt(statement: bytes) -> str | None:
    """The index or table that a REINDEX CONCURRENTLY names, as written; None for any other statement."""
    words = _Words(statement)
    if not words.take("REINDEX"):
        return None
    if words.take("("):
        while not words.take(")"):
            if not words.name():
                return None
    if not ((words.take("INDEX") or words.take("TABLE")) and words.take("CONCURRENTLY")):
        return None
    return words.name()


def left_by_rebuild(connection: Connection, name: str) -> tuple[str, ...]:
    """The INVALID indexes that an interrupted REINDEX CONCURRENTLY of `name` left behind, quoted with their schema."""
    return tuple(str(row[0]) for row in connection.execute(_REBUILT, {"name": name}).fetchall())


def invalid(connection: Connection, what: Build) -> tuple[str, ...]:
    """The INVALID indexes that stand where a build wants to put its own, quoted with their schema."""
    rows = connection.execute(_INVALID, {"table": what.table, "name": what.name}).fetchall()
    return tuple(str(row[0]) for row in rows)


def exists(connection: Connection, name: str) -> bool:
    """Whether there is a relation of this name, as written in a statement."""
    row = connection.execute("SELECT to_regclass(%s) IS NOT NULL", (name,)).fetchone()
    return bool(row and row[0])


def younger(connection: Connection, what: Build, xid: str) -> dict[str, bool]:
    """The indexes of a build's table that the server named and that are younger than a transaction.

    By their names, quoted with their schema, whether they are valid. A build without a name of its own is known by
    nothing else.
    """
    rows = connection.execute(_YOUNGER, {"table": what.table, "xid": xid}).fetchall()
    return {str(quoted): bool(is_valid) for quoted, is_valid in rows}


def valid(connection: Connection, what: Build) -> bool:
    """Whether the index of a named build stands finished on its table."""
    if what.name is None:
        return False
    row = connection.execute(
        "SELECT true FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid "
        "WHERE i.indisvalid AND i.indrelid = to_regclass(%s) AND c.relname = (parse_ident(%s))[1]",
        (what.table, what.name),
    ).fetchone()
    return row is not None


def drop(connection: Connection, quoted: str) -> None:
    """Drop an index that `invalid` named, without shutting anyone out."""
    connection.execute(sql.SQL("DROP INDEX CONCURRENTLY {}").format(sql.SQL(quoted)))  # quoted by the server


class _Words:
    """The tokens of a statement, taken from the front."""

    def __init__(self, statement: bytes) -> None:
        self._statement = statement
        self._spans = [(begin, end) for _kind, begin, end in tokens.scan(statement, 0)]

    def take(self, *words: str) -> bool:
        """Take these words if they come next."""
        ahead = [self._text(span).upper() for span in self._spans[: len(words)]]
        if ahead != list(words):
            return False
        del self._spans[: len(words)]
        return True

    def name(self) -> str:
        """Take a name, with its schema if it has one, as written."""
        parts = [self._next()]
        while self._spans and self._text(self._spans[0]) == ".":
            parts += [self._next(), self._next()]
        return "".join(parts)

    def _next(self) -> str:
        return self._text(self._spans.pop(0)) if self._spans else ""

    def _text(self, span: tuple[int, int]) -> str:
        return self._statement[span[0] : span[1]].decode(errors="replace")
