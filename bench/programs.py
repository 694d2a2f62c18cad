"""The programs to measure: the project as a user starts it, psql, and the programs of bench/baseline."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from bench.model import Program

if TYPE_CHECKING:
    from bench.files import Files
    from bench.model import ClonedDatabase

_CHECKOUT = Path(__file__).resolve().parent.parent
_BASELINE = Path(__file__).resolve().parent / "baseline"
_INVOKE = (sys.executable, "-m", "invoke")
# A developer's .psqlrc is not read; an error ends the script, as a migration requires.
_QUIET = ("-X", "-q", "-v", "ON_ERROR_STOP=1")
# psql and its arguments are "$@", so that the shell does not interpret a path.
_EACH = 'cd "$1" && shift && for file in *.sql; do "$@" -f "$file" || exit; done'


def kernel_task(name: str, files: Files, *arguments: str, applied: bool = False) -> Program:
    """`inv` in the checkout, with these arguments."""
    return Program(
        name=name,
        command=(*_INVOKE, *arguments),
        folder=_CHECKOUT,
        migrations=files.migrations,
        applied=files.migrations if applied else None,
    )


def schema_check(name: str, files: Files, clone: ClonedDatabase) -> Program:
    """`inv db.verify --schema` on a database that the files have made."""
    command = (*_INVOKE, "db.verify", "--schema")
    return Program(name=name, command=command, folder=_CHECKOUT, migrations=files.migrations, clone=clone)


def schema_dump(name: str, files: Files, clone: ClonedDatabase, psql: Path) -> Program:
    """pg_dump of the schema of the same database."""
    command = (str(psql.with_name("pg_dump")), "--schema-only", "--file", os.devnull)
    return Program(name=name, command=command, folder=files.root, migrations=files.migrations, clone=clone)


def bare_task(name: str, files: Files, *arguments: str) -> Program:
    """`inv` with the only task of bench/baseline/tasks.py, on a database with the same records."""
    return Program(
        name=name,
        command=(*_INVOKE, *arguments),
        folder=_BASELINE,
        migrations=files.migrations,
        applied=files.migrations,
    )


def plain_loop(name: str, files: Files) -> Program:
    """The minimal runner of bench/baseline/loop.py."""
    command = (sys.executable, str(_BASELINE / "loop.py"), str(files.migrations))
    return Program(name=name, command=command, folder=files.root, migrations=files.migrations)


def psql_session(name: str, files: Files, psql: Path) -> Program:
    """One psql that runs every file, each in a transaction."""
    command = (str(psql), *_QUIET, "-f", "all.sql")
    return Program(name=name, command=command, folder=files.root, migrations=files.migrations)


def psql_each(name: str, files: Files, psql: Path) -> Program:
    """A psql for each file."""
    command = ("/bin/sh", "-c", _EACH, "sh", "psql", str(psql), *_QUIET)
    return Program(name=name, command=command, folder=files.root, migrations=files.migrations)


def fleet(name: str, files: Files, kind: str, psql: Path, *, schemas: int = 0, databases: int = 0) -> Program:
    """The files in every target, by bench/fleet.py: `kind` is ours, status, or psql for one psql a target.

    The targets are schemas of one database, and databases of two servers.
    """
    command = (sys.executable, "-m", "bench.fleet", kind, str(files.root), str(schemas), str(databases), str(psql))
    return Program(name=name, command=command, folder=_CHECKOUT, migrations=files.migrations, prints_seconds=True)


def psql_large(name: str, files: Files, psql: Path) -> Program:
    """One psql that runs the file and its record in one transaction; otherwise each row would wait for the disk."""
    transaction = ("-c", "BEGIN", "-f", str(files.large), "-f", "record.sql", "-c", "COMMIT")
    command = (str(psql), *_QUIET, "-f", "ledger.sql", *transaction)
    return Program(name=name, command=command, folder=files.root, migrations=files.migrations)


def psql_restore(name: str, files: Files, dump: Path, psql: Path) -> Program:
    """psql, as users restore a plain dump."""
    command = (str(psql), *_QUIET, "-f", str(dump))
    return Program(name=name, command=command, folder=files.root, migrations=files.migrations)


def clone_dump(name: str, files: Files, dump: Path, rows: int, *, store: Path | None = None) -> Program:
    """The clone of a restored dump, or with a `store` of the copy that is kept there.

    The start of its server is not counted, as psql's server is running already.
    """
    kept = (str(store),) if store else ()
    command = (sys.executable, str(_BASELINE / "clone.py"), str(dump), str(rows), *kept)
    return Program(name=name, command=command, folder=files.root, migrations=files.migrations, prints_seconds=True)


def data_check(name: str, files: Files, clone: ClonedDatabase) -> Program:
    """The comparison of data that a rehearsal makes of a clone."""
    command = (sys.executable, "-m", "bench.data_check")
    return Program(name=name, command=command, folder=_CHECKOUT, migrations=files.migrations, clone=clone)


def row_hash_sums(name: str, files: Files, clone: ClonedDatabase, table: str) -> Program:
    """The sums of bench/baseline/row_hash_sums.py over a table, in the template database and in the clone."""
    command = (sys.executable, str(_BASELINE / "row_hash_sums.py"), table)
    return Program(name=name, command=command, folder=files.root, migrations=files.migrations, clone=clone)
