"""A runner in twenty lines: every file of a folder as one message, in one transaction with its record.

python loop.py FOLDER. PGHOST, PGPORT, PGUSER and PGDATABASE name the database.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import psycopg

_CREATE = """
CREATE TABLE IF NOT EXISTS schema_migrations (
  version VARCHAR(255) PRIMARY KEY,
  filename VARCHAR(255) NOT NULL,
  applied_at TIMESTAMP NOT NULL DEFAULT NOW(),
  checksum VARCHAR(64) NOT NULL
)"""
_RECORD = "INSERT INTO schema_migrations (version, filename, checksum) VALUES (%s, %s, %s)"


def main(folder: Path) -> None:
    """Run every file of the folder, in the order of their names."""
    with psycopg.connect(autocommit=True) as connection:
        connection.execute(_CREATE)
        for path in sorted(folder.glob("*.sql")):
            body = path.read_bytes()
            with connection.transaction():
                connection.execute(body)
                record = (path.name.partition("_")[0], path.name, hashlib.sha256(body).hexdigest())
                connection.execute(_RECORD, record)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
