"""Restore and clone a dump as a rehearsal does: `clone.py DUMP ROWS [STORE]`.

With STORE the restored copy is kept there, or taken from there. ROWS is the number of pgbench accounts in the clone.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from kernel.db.connection import open_session
from kernel.rehearsal.dump import DumpRequest, acquire_dump
from kernel.rehearsal.prod_copy.restore import open_restored_copy
from kernel.rehearsal.request import RehearsalRequest, Reporter


def main(dump: str, rows: str, store: str = "") -> int:
    """Print the seconds; the exit code is 0 when the clone has the rows."""
    request = RehearsalRequest(dump=Path(dump), keep=bool(store), store_folder=Path(store) if store else None)
    reporter = Reporter()
    with (
        acquire_dump(DumpRequest(path=Path(dump)), reporter.show_progress) as origin,
        open_restored_copy(origin, request, reporter) as copy,
        copy.clone("rehearsal") as clone,
        open_session(clone.url) as session,
    ):
        # Look for the last key: counting the rows would take longer than cloning them.
        query = "SELECT EXISTS (SELECT FROM pgbench_accounts WHERE aid = %s)"
        last_row = session.connection.execute(query, (int(rows),)).fetchone()
        # As in the report: from the empty database to the template database; of a kept one, the cloning.
        cloning = clone.seconds if copy.restored.reused else 0.0
        print(copy.restored.seconds + cloning)
        return last_row != (True,)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
