"""Tables that several connections fill at once, without the log that nobody will read.

With wal_level = minimal, rows are not logged when the transaction that loads them made or truncated the table, which
only one connection can do. Rows of an unlogged table are never logged; but to make a table unlogged and logged again by
ALTER TABLE writes it anew. On a server of our own the catalog is told instead: the files are the same, and only what
becomes of them in a crash is not. There, a crash ends the load (restart_after_crash = off), and a clean stop, which
comes before anybody uses the copy, writes the pages of all tables to their files.
PostgreSQL documentation, "Populating a Database" and "CREATE TABLE" (UNLOGGED).
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from kernel.rehearsal.dump import ours

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from kernel.database import Connection

# Of the role that loads, and without an index, which would have to be told apart from what it indexes. The table for
# long values goes with its own, and the index that it has.
_LOGGED = """
SELECT unnest(ARRAY[c.oid, long.oid, i.indexrelid]) AS relation
FROM unnest(%s::text[]) name JOIN pg_class c ON c.oid = to_regclass(name)
LEFT JOIN pg_class long ON long.oid = c.reltoastrelid LEFT JOIN pg_index i ON i.indrelid = long.oid
WHERE c.relkind = 'r' AND c.relpersistence = 'p' AND NOT c.relhasindex AND c.relowner = %s::regrole
"""
_TOLD = "UPDATE pg_class SET relpersistence = %s WHERE oid = ANY(%s::oid[])"


@contextmanager
def filling(superuser: Connection, tables: Iterable[bytes], role: str) -> Iterator[None]:
    """Inside, tables of `role` that are logged are unlogged; those of other shapes stay as they are.

    `tables` as SQL names them, with their schema; nobody else may use them meanwhile. When the block fails they stay
    unlogged, in a copy that is of no use to anybody. Raises psycopg.Error.
    """
    names = [table.decode(errors="replace") for table in tables]
    with ours.undisturbed(superuser):
        found = superuser.execute(_LOGGED, (names, role)).fetchall()
        relations = [relation for (relation,) in found if relation is not None]
        superuser.execute(_TOLD, ("u", relations))
    yield
    with ours.undisturbed(superuser):
        superuser.execute(_TOLD, ("p", relations))
