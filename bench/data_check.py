"""The comparison of data that a rehearsal makes, including its connections: python -m bench.data_check.

MIGRATION_DATABASE_URL is the clone, BENCH_TEMPLATE_DB the template database on the same server. A rehearsal also passes
in what was traced. The exit code is 1 when a row differs.
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
    template = make_conninfo(clone, dbname=os.environ["BENCH_TEMPLATE_DB"])
    return int(any(table.content is not TableContent.SAME for table in check_data(template, clone, (), ())))


if __name__ == "__main__":
    sys.exit(main())
