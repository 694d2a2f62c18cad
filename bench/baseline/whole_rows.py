"""The usual comparison of two copies of a table: the sum of the hashes of its rows as text, one side after the other.

python whole_rows.py TABLE, one database as PGHOST, PGPORT, PGUSER and PGDATABASE name it, the other BENCH_GOLDEN
"""

from __future__ import annotations

import os
import sys

import psycopg


def main(table: str) -> int:
    """Compare the sums; 1 when they differ."""
    found = set()
    for database in (os.environ["PGDATABASE"], os.environ["BENCH_GOLDEN"]):
        with psycopg.connect(dbname=database) as connection:
            query = f"SELECT count(*), sum(hashtext(t::text)) FROM {table} AS t"
            found.add(connection.execute(query.encode()).fetchone())
    return int(len(found) > 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
