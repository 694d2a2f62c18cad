"""The migrations of a scenario, and the same files as scripts for psql. Always the same bytes.

In one folder: `migrations/`, which every runner reads; `psql/`, each file in a transaction with its record; `all.sql`,
all files of `psql/` in one; `ledger.sql` and `record.sql`, for a file too large to be written twice.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

# docs/specification.md, "The table".
LEDGER = """\
CREATE TABLE schema_migrations (
  version VARCHAR(255) PRIMARY KEY,
  filename VARCHAR(255) NOT NULL,
  applied_at TIMESTAMP NOT NULL DEFAULT NOW(),
  checksum VARCHAR(64) NOT NULL
);
"""
_SMALL = """\
-- Migration: {version} - Create accounts {number}
-- Description: The accounts of division {number}

CREATE TABLE IF NOT EXISTS account_{number} (
  id BIGINT PRIMARY KEY,
  name TEXT NOT NULL,
  created_at TIMESTAMPTZ NOT NULL DEFAULT now()
);

CREATE INDEX IF NOT EXISTS idx_account_{number}_name ON account_{number} (name);

COMMENT ON TABLE account_{number} IS 'Accounts; one row for each customer';
"""
_ENTRY = "CREATE TABLE entry (id BIGINT PRIMARY KEY, account TEXT NOT NULL, note TEXT NOT NULL, amount NUMERIC);\n"
_INSERT = (
    "INSERT INTO entry (id, account, note, amount) VALUES ({number}, 'account {account}', "
    "'carried over from last year''s books; see volume {volume}', {amount});\n"
)
_COPY = "COPY entry (id, account, note, amount) FROM stdin;\n"
_ROW = "{number}\taccount {account}\tcarried over from last year's books; see volume {volume}\t{amount}\n"
_BLOCK = 10_000  # rows written at a time


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """The folder of a scenario, with the layout of this module's docstring."""

    root: Path

    @property
    def migrations(self) -> Path:
        return self.root / "migrations"

    @property
    def large(self) -> Path:
        """The migration of a scenario that has only one."""
        return self.migrations / "001_carry_over.sql"


def small(root: Path, count: int) -> Files:
    """`count` migrations that create a table with its primary key, an index and a comment each."""
    files = _made(root)
    (root / "psql").mkdir()
    with (root / "all.sql").open("x", encoding="utf-8") as everything:
        for number in range(1, count + 1):
            path = files.migrations / f"{number:03}_create_accounts_{number}.sql"
            body = _SMALL.format(number=number, version=path.name.partition("_")[0])
            path.write_text(body, encoding="utf-8")
            ledger = LEDGER if number == 1 else ""
            script = f"{ledger}BEGIN;\n{body}{record(path)}COMMIT;\n"
            (root / "psql" / path.name).write_text(script, encoding="utf-8")
            everything.write(script)
    return files


def inserts(root: Path, rows: int) -> Files:
    """One migration of `rows` INSERTs, of about 150 bytes each."""
    return _large(root, lambda: _rows(_INSERT, rows))


def copy(root: Path, rows: int) -> Files:
    """One migration with the data of one COPY, of about 80 bytes a row."""

    def text() -> Iterator[str]:
        yield _COPY
        yield from _rows(_ROW, rows)
        yield "\\.\n"

    return _large(root, text)


def record(path: Path) -> str:
    """The INSERT that records a file as applied, as a user would write it for psql."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    version = path.name.partition("_")[0]
    columns = "version, filename, checksum"
    return f"INSERT INTO schema_migrations ({columns}) VALUES ('{version}', '{path.name}', '{digest}');\n"


def _made(root: Path) -> Files:
    files = Files(root=root)
    files.migrations.mkdir(parents=True)
    return files


def _large(root: Path, text: Callable[[], Iterator[str]]) -> Files:
    files = _made(root)
    with files.large.open("x", encoding="utf-8") as file:
        file.write(_ENTRY)
        file.writelines(text())
    (root / "ledger.sql").write_text(LEDGER, encoding="utf-8")
    (root / "record.sql").write_text(record(files.large), encoding="utf-8")
    return files


def _rows(template: str, count: int) -> Iterator[str]:
    """The rows in blocks. All of them at once would raise the memory of this process, and so that of every program."""
    for first in range(0, count, _BLOCK):
        yield "".join(
            template.format(number=number, account=number % 977, volume=number % 31, amount=f"{number % 10_007}.25")
            for number in range(first, min(first + _BLOCK, count))
        )
