"""Copy a dump as a rehearsal does, up to the clone that it would migrate: `clone.py DUMP ROWS [STORE]`.

With STORE the golden copy is kept there, or taken from there. ROWS is how many accounts of pgbench the clone must hold.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from kernel.db.connection import open_session
from kernel.rehearsal.prod_copy import CopyTarget
from kernel.rehearsal.request import RehearsalRequest, Reporter
from kernel.rehearsal.restore import acquire_requested_dump, open_restored_copy


def main(dump: str, rows: str, store: str = "") -> int:
    """Print the seconds; the exit code is 0 when the clone has the rows."""
    target = CopyTarget(keep=bool(store), store_folder=Path(store) if store else None)
    request, reporter = RehearsalRequest(dump=Path(dump), target=target), Reporter()
    with (
        acquire_requested_dump(request, reporter) as dumped,
        open_restored_copy(dumped, request, reporter) as copy,
        copy.clone("rehearsal") as clone,
        open_session(clone.url) as session,
    ):
        # By the key of the last: to count them would take longer than to clone them.
        query = "SELECT EXISTS (SELECT FROM pgbench_accounts WHERE aid = %s)"
        there = session.connection.execute(query, (int(rows),)).fetchone()
        # As the report says it: from the empty database to the golden copy; of a kept one, until it is cloned.
        cloning = clone.seconds if copy.restored.reused else 0.0
        print(copy.restored.seconds + cloning)
        return there != (True,)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
