"""How a rehearsal knows its own databases again on a server that is not its own: by their comments."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from psycopg import sql

if TYPE_CHECKING:
    from kernel.database import Connection

_OURS = "made by inv db.snapshot-test, may be dropped:"
_READ = "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = %s"
_BESIDE = """
SELECT datname, shobj_description(oid, 'pg_database') FROM pg_database
WHERE starts_with(datname, %s) AND shobj_description(oid, 'pg_database') IS NOT NULL ORDER BY datname
"""


class Kind(StrEnum):
    """What a database of ours is; a copy in the making becomes golden when it is complete."""

    MAKING = "copy in the making"
    GOLDEN = "golden copy"
    CLONE = "clone"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """Of which dump, by `key`, a database is made, and what is to be said of it."""

    kind: Kind
    key: str
    warnings: tuple[str, ...] = ()


def put(connection: Connection, name: str, mark: Mark) -> None:
    """Mark a database, in place of its comment."""
    lines = (f"{_OURS} {mark.kind} of {mark.key}", *(" ".join(line.split()) for line in mark.warnings))
    comment = sql.SQL("COMMENT ON DATABASE {} IS {}")
    connection.execute(comment.format(sql.Identifier(name), sql.Literal("\n".join(lines))))


def read(connection: Connection, name: str) -> Mark | None:
    """The mark of a database; None when it is not ours, or not there."""
    row = connection.execute(_READ, (name,)).fetchone()
    return _parsed(row[0]) if row else None


def beside(connection: Connection, prefix: str) -> dict[str, Mark]:
    """The databases of ours whose names begin so."""
    found = ((name, _parsed(comment)) for name, comment in connection.execute(_BESIDE, (prefix,)))
    return {name: mark for name, mark in found if mark}


def _parsed(comment: str | None) -> Mark | None:
    first, *warnings = (comment or "").split("\n")
    for kind in Kind:
        begin = f"{_OURS} {kind} of "
        if first.startswith(begin):
            return Mark(kind=kind, key=first.removeprefix(begin), warnings=tuple(warnings))
    return None
