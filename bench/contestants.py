"""Who is measured: the project itself as a user starts it, psql, and the programs of bench/baseline."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from bench.contest import Contestant

if TYPE_CHECKING:
    from bench.contest import Copies
    from bench.files import Files

_CHECKOUT = Path(__file__).resolve().parent.parent
_BASELINE = Path(__file__).resolve().parent / "baseline"
_INVOKE = (sys.executable, "-m", "invoke")
# A developer's .psqlrc is not read; an error ends the script, which is the least that a migration needs.
_QUIET = ("-X", "-q", "-v", "ON_ERROR_STOP=1")
# psql and its arguments are "$@", so that no path is ever read as a word of the shell.
_EACH = 'cd "$1" && shift && for file in *.sql; do "$@" -f "$file" || exit; done'


def ours(name: str, files: Files, *arguments: str, applied: bool = False) -> Contestant:
    """`inv` in the checkout, with these arguments."""
    return Contestant(
        name=name,
        command=(*_INVOKE, *arguments),
        folder=_CHECKOUT,
        migrations=files.migrations,
        applied=files.migrations if applied else None,
    )


def bare_task(name: str, files: Files, *arguments: str) -> Contestant:
    """`inv` with the one task of bench/baseline/tasks.py, beside a database like ours."""
    return Contestant(
        name=name,
        command=(*_INVOKE, *arguments),
        folder=_BASELINE,
        migrations=files.migrations,
        applied=files.migrations,
    )


def loop(name: str, files: Files) -> Contestant:
    """The plain runner of bench/baseline/loop.py."""
    command = (sys.executable, str(_BASELINE / "loop.py"), str(files.migrations))
    return Contestant(name=name, command=command, folder=files.root, migrations=files.migrations)


def psql_session(name: str, files: Files, psql: Path) -> Contestant:
    """One psql that runs every file in its transaction, one after the other."""
    command = (str(psql), *_QUIET, "-f", "all.sql")
    return Contestant(name=name, command=command, folder=files.root, migrations=files.migrations)


def psql_each(name: str, files: Files, psql: Path) -> Contestant:
    """A psql for each file."""
    command = ("/bin/sh", "-c", _EACH, "sh", "psql", str(psql), *_QUIET)
    return Contestant(name=name, command=command, folder=files.root, migrations=files.migrations)


def psql_large(name: str, files: Files, psql: Path) -> Contestant:
    """One psql that runs the one file with its record in a transaction; without, each row would wait for the disk."""
    transaction = ("-c", "BEGIN", "-f", str(files.large), "-f", "record.sql", "-c", "COMMIT")
    command = (str(psql), *_QUIET, "-f", "ledger.sql", *transaction)
    return Contestant(name=name, command=command, folder=files.root, migrations=files.migrations)


def psql_restore(name: str, files: Files, dump: Path, psql: Path) -> Contestant:
    """The way people restore a plain dump."""
    command = (str(psql), *_QUIET, "-f", str(dump))
    return Contestant(name=name, command=command, folder=files.root, migrations=files.migrations)


def copy(name: str, files: Files, dump: Path, rows: int, *, store: Path | None = None) -> Contestant:
    """The copy of a dump: restored anew, or with a `store` opened there and cloned. Its server's start does not count.

    Neither does that of psql's server, which runs already.
    """
    kept = (str(store),) if store else ()
    command = (sys.executable, str(_BASELINE / "clone.py"), str(dump), str(rows), *kept)
    return Contestant(name=name, command=command, folder=files.root, migrations=files.migrations, tells=True)


def receipts(name: str, files: Files, copies: Copies) -> Contestant:
    """The check of the data that a rehearsal makes of a clone."""
    command = (sys.executable, "-m", "bench.receipts")
    return Contestant(name=name, command=command, folder=_CHECKOUT, migrations=files.migrations, copies=copies)


def whole_rows(name: str, files: Files, copies: Copies, table: str) -> Contestant:
    """The sum of bench/baseline/whole_rows.py over a table on both sides."""
    command = (sys.executable, str(_BASELINE / "whole_rows.py"), table)
    return Contestant(name=name, command=command, folder=files.root, migrations=files.migrations, copies=copies)
