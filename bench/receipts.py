"""The check of the data of a rehearsal, from its connections to its receipts: python -m bench.receipts.

The clone is what MIGRATION_DATABASE_URL names, the golden copy is BENCH_GOLDEN on the same server. All that a
rehearsal adds to it is what the witnesses saw. The exit code is 1 when a row differs.
"""

from __future__ import annotations

import os
import sys

from psycopg.conninfo import make_conninfo

from kernel.rehearsal.data.check import check_data
from kernel.rehearsal.result import TableContent


def main() -> int:
    """Compare all tables of both databases."""
    clone = os.environ["MIGRATION_DATABASE_URL"]
    golden = make_conninfo(clone, dbname=os.environ["BENCH_GOLDEN"])
    return int(any(one.content is not TableContent.SAME for one in check_data(golden, clone, (), ())))


if __name__ == "__main__":
    sys.exit(main())
