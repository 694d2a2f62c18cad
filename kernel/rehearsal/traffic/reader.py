"""A long transaction in front of the migrations, as a report or a dump of production would be.

It has read every table that they lock, and holds its snapshot: an ALTER TABLE waits for it, everybody else waits behind
the ALTER TABLE, and CREATE INDEX CONCURRENTLY waits for it too.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from kernel.rehearsal.traffic import caller
from kernel.rehearsal.traffic.probe import Kind

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kernel.rehearsal.traffic.probe import Probe


@contextmanager
def standing(url: str, probes: Sequence[Probe], *, seconds: float) -> Iterator[None]:
    """Have a reader of all the relations in front for so many seconds, but no longer than the block. 0: nobody.

    Raises DatabaseUnreachable, and psycopg.Error where a relation cannot be read.
    """
    if not seconds:
        yield
        return
    connection = caller.connect(url)
    over = threading.Event()

    def leave() -> None:
        over.wait(seconds)
        connection.close()  # the server takes its transaction back

    thread = threading.Thread(target=leave, name="reader", daemon=True)
    try:
        connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        for one in probes:
            if one.kind is Kind.READ:
                connection.execute(one.statement)
        thread.start()
        yield
    finally:
        over.set()
        if thread.ident is None:
            connection.close()
        else:
            thread.join()
