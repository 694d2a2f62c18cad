"""db.verify: everything that can be wrong without running SQL, all of it at once.

The checks are those of db.migrate and db.rollback, done to every file, applied or not, and to revert files too.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from kernel.db.ledger import refuse_tables_without_ledger
from kernel.errors import Drift, FilesInvalid, Problem
from kernel.migrations.migration import format_version, list_candidates, read_candidates
from kernel.migrations.script import (
    REVERT_FOLDER,
    list_revert_candidates,
    orphaned_revert_problems,
    parse_revert_script,
    parse_script,
)
from kernel.operations.drift import trace_drift
from kernel.operations.status import read_status
from kernel.plan import VersionState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from kernel.db.connection import Session
    from kernel.migrations.migration import Migration
    from kernel.operations.drift import MigrationsLocation
    from kernel.plan import Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class FilesCheck:
    """What the directory holds: the `migrations` with a good name and a number of their own, how many other files.

    `gaps` are the numbers that no file has, as "002 to 007" between two that some have; they are no problem. Not all
    are `named` when a file may stand for a record although its name does not say so.
    """

    migrations: tuple[Migration, ...]
    total: int
    reverts: int
    gaps: tuple[str, ...]
    all_named: bool
    problems: tuple[Problem, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordsCheck:
    """How a database compares; `plan` is None when its ledger is not one, which `problems` then says."""

    database: str
    plan: Plan | None
    problems: tuple[Problem, ...]


def check_files(directory: Path) -> FilesCheck:
    """Check all files of a directory. Reads them, and nothing else. Raises FilesInvalid when it cannot be listed."""
    candidates = list_candidates(directory)
    reverts = list_revert_candidates(directory)
    found, misnamed = read_candidates(directory, candidates)
    problems = [*misnamed]
    for filename in candidates:
        problems += _file_problems(parse_script, directory / filename, filename)
    for filename in reverts:
        problems += _file_problems(
            parse_revert_script, directory / REVERT_FOLDER / filename, f"{REVERT_FOLDER}/{filename}"
        )
    if not candidates:
        problems.append(Problem(message=f"{directory}: no migration files; set KERNEL_MIGRATIONS_DIR"))
    return FilesCheck(
        migrations=found,
        total=len(candidates),
        reverts=len(reverts),
        gaps=_number_gaps(found),
        all_named=len(found) == len(candidates),
        # A file that cannot be read at all is told of by more than one check.
        problems=tuple(dict.fromkeys((*problems, *orphaned_revert_problems(reverts, candidates)))),
    )


def check_records(session: Session, found: FilesCheck, place: MigrationsLocation) -> RecordsCheck:
    """Compare a database's records with the files, and trace what disagrees. Read-only. Raises DatabaseRefused."""
    try:
        now = read_status(session, found.migrations)
        if now.plan.pending:
            refuse_tables_without_ledger(session, now.ledger)
    except Drift as error:
        return RecordsCheck(database=session.name, plan=None, problems=error.problems)
    plan = trace_drift(now.plan, place)
    problems = plan.drift()
    if not found.all_named:
        missing = {entry.filename for entry in plan.entries if entry.state is VersionState.MISSING}
        problems = tuple(problem for problem in problems if problem.file not in missing)
    return RecordsCheck(database=session.name, plan=plan, problems=problems)


def _file_problems(survey: Callable[[Path, str], object], path: Path, name: str) -> Iterable[Problem]:
    try:
        survey(path, name)
    except FilesInvalid as error:
        return error.problems
    return ()


def _number_gaps(found: tuple[Migration, ...]) -> tuple[str, ...]:
    gaps = []
    for before, after in pairwise(one.number for one in found):
        first, last = format_version(before + 1), format_version(after - 1)
        if after - before > 1:
            gaps.append(first if first == last else f"{first} to {last}")
    return tuple(gaps)
