"""Copy a dump as a rehearsal does, up to the clone that it would migrate: `clone.py DUMP ROWS [STORE]`.

With STORE the golden copy is kept there, or taken from there. ROWS is how many accounts of pgbench the clone must hold.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from kernel.db.connection import open_session
from kernel.rehearsal.dump.acquire import acquire_dump
from kernel.rehearsal.prod_copy.restore import open_restored_copy
from kernel.rehearsal.request import RehearsalRequest, Reporter


def main(dump: str, rows: str, store: str = "") -> int:
    """Exit code 0 when the clone holds the rows."""
    wish = RehearsalRequest(dump=Path(dump), keep=bool(store), store_folder=Path(store) if store else None)
    telling = Reporter()
    with (
        acquire_dump(wish, telling) as found,
        open_restored_copy(found, wish, telling) as copy,
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
