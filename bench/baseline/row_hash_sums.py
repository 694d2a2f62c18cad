"""A common comparison of two copies of a table: the sum of the hashes of its rows as text.

python row_hash_sums.py TABLE. PGHOST, PGPORT, PGUSER and PGDATABASE name one database, BENCH_TEMPLATE_DB the other.
"""

from __future__ import annotations

import os
import sys

import psycopg


def main(table: str) -> int:
    """Compare the sums; the exit code is 1 when they differ."""
    sums = set()
    for database in (os.environ["PGDATABASE"], os.environ["BENCH_TEMPLATE_DB"]):
        with psycopg.connect(dbname=database) as connection:
            query = f"SELECT count(*), sum(hashtext(t::text)) FROM {table} AS t"
            sums.add(connection.execute(query.encode()).fetchone())
    return int(len(sums) > 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
