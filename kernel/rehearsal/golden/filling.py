"""Make a golden copy: an empty database, filled by whoever knows the dump, then sealed."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from psycopg import sql
from psycopg.conninfo import make_conninfo

from kernel.rehearsal.golden import carry, clone
from kernel.rehearsal.golden.place import administration
from kernel.rehearsal.result import Restore

if TYPE_CHECKING:
    from collections.abc import Callable

    from kernel.database import Session
    from kernel.rehearsal.golden.wish import Restorer, Wish


def fill(
    url: str, name: str, wish: Wish, restore: Restorer, *, variable: str, begun: Callable[[Session], None]
) -> Restore:
    """Make the database `name` on the server of `url` a golden copy; `begun` is told once it exists.

    Sealed means that its sessions are read-only unless they ask otherwise. Raises RestoreFailed and what `restore`
    raises; the database is then left as it is.
    """
    began = time.perf_counter()
    with administration(url, variable=variable) as session:
        clone.create_empty(session, name, wish.locale)
        begun(session)
    warnings = restore(make_conninfo(url, dbname=name))
    with administration(url, variable=variable) as session:
        for setting, value in wish.settings.items():
            warnings += carry.setting_of(session.connection, name, setting, value)
        seal = sql.SQL("ALTER DATABASE {} SET {} = on").format(sql.Identifier(name), sql.Identifier(carry.READ_ONLY))
        session.connection.execute(seal)
        size = clone.size_bytes(session, name)
    return Restore(seconds=time.perf_counter() - began, bytes=size, warnings=warnings)
