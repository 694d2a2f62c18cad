"""Files that have the name of a migration: in revert/ what undoes it, in verify/ what must be true after it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from kernel.errors import FilesInvalid, Problem
from kernel.migrations.migration import list_candidates, parse_filename
from kernel.migrations.script import UNWRITTEN, parse_script
from kernel.migrations.transactions import RunMode

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from kernel.config.ledger_name import LedgerName
    from kernel.migrations.migration import Migration
    from kernel.migrations.script import Script


REVERT_FOLDER = "revert"
VERIFY_FOLDER = "verify"


def parse_verify_script(path: Path, name: str, *, ledger: LedgerName | None = None) -> Script:
    """Read a file of verify/, in which every statement is a check. Raises FilesInvalid."""
    return parse_script(path, name, ledger=ledger, only_checks=True)


def read_verification(migration: Migration, *, ledger: LedgerName | None = None) -> tuple[Migration, Script] | None:
    """The file of the same name in verify/; None if there is none. Raises FilesInvalid."""
    filename = f"{VERIFY_FOLDER}/{migration.filename}"
    path = migration.directory / filename
    if not path.exists():
        return None
    script = parse_verify_script(path, filename, ledger=ledger)
    return replace(migration, filename=filename, checksum=script.checksum), script


def verification_problems(migration: Migration, script: Script, ledger: LedgerName | None) -> tuple[Problem, ...]:
    """Everything that prevents a migration's file in verify/ from running; () if there is none."""
    try:
        verification = read_verification(migration, ledger=ledger)
    except FilesInvalid as error:
        return error.problems
    if verification and script.mode is not RunMode.TRANSACTION:
        message = (
            f"{migration.filename} runs outside of a transaction, so that nothing could be rolled back; "
            "name it after a later migration"
        )
        return (Problem(message=message, file=verification[0].filename),)
    return ()


def parse_revert_script(path: Path, name: str, *, ledger: LedgerName | None = None) -> Script:
    """Read a revert file. Raises FilesInvalid, also when it cannot run in the transaction that removes the record."""
    script = parse_script(path, name, ledger=ledger)
    message = ""
    if script.mode is not RunMode.TRANSACTION:
        message = (
            "it has to run in the transaction that removes the record; "
            "write it without CONCURRENTLY and without -- migrate: no-transaction"
        )
    elif script.unwritten:
        message = f"{UNWRITTEN}, and would undo nothing; write what undoes the migration, or say why nothing has to be"
    if message:
        raise FilesInvalid([Problem(message=message, file=name)])
    return script


def list_paired_files(directory: Path, folder: str) -> list[str]:
    """Return the names of the files in revert/ or verify/; [] if there is no such folder. Raises FilesInvalid."""
    path = directory / folder
    return list_candidates(path) if path.exists() else []


def orphan_problems(folder: str, filenames: Iterable[str], migrations: Iterable[str]) -> tuple[Problem, ...]:
    """Return a problem for each file of revert/ or verify/ that is never used, since no migration has its name."""
    names = set(migrations)
    by_number = {int(parsed[0]): name for name in names if (parsed := parse_filename(name))}
    problems = []
    for filename in filenames:
        if filename in names:
            continue
        version = filename[: len(filename) - len(filename.lstrip("0123456789"))]
        renamed = by_number.get(int(version)) if version else None
        remedy = f"{renamed} would look for its own name: rename it" if renamed else "rename it after its migration"
        message = f"no migration has this name; {remedy}, or remove it"
        problems.append(Problem(message=message, file=f"{folder}/{filename}"))
    return tuple(problems)
