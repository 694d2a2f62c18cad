"""Whether the server that takes the copy is one of our own, made for this one load, and what is allowed there only.

Such a server is thrown away when it crashes, or when loading fails. So the load may write into its catalogs, as a
superuser, where the long way to the same state takes longer; and what a crash would cost is no loss.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kernel.database import Connection

# The value of cluster_name, which is set when a server starts and which no session and no dump can change.
CLUSTER_NAME = "aibos_loading"


def is_ours(connection: Connection) -> bool:
    """Whether the server was started with the settings for loading (golden.tuning.loading)."""
    row = connection.execute("SHOW cluster_name").fetchone()
    return row == (CLUSTER_NAME,)


@contextmanager
def undisturbed(superuser: Connection) -> Iterator[None]:
    """A transaction in which names and operators are PostgreSQL's own, whatever the dump has brought (CVE-2018-1058).

    Its search path holds for nothing else. The connection is in autocommit.
    """
    with superuser.transaction():
        superuser.execute("SET LOCAL search_path = pg_catalog, pg_temp")
        yield
