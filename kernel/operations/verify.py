"""db.verify: check all files and records without running SQL, and report every problem.

The checks are those of db.migrate and db.rollback, for every file, applied or not, and for revert files too.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING

from kernel.apply.checks import verification_failures
from kernel.config.ledger_name import DEFAULT_LEDGER, LedgerName
from kernel.db.unrecorded import refuse_tables_without_ledger
from kernel.errors import Drift, FilesInvalid, Problem
from kernel.migrations.migration import format_version, list_candidates, read_candidates
from kernel.migrations.paired_files import (
    REVERT_FOLDER,
    VERIFY_FOLDER,
    list_paired_files,
    orphan_problems,
    parse_revert_script,
    parse_verify_script,
    read_verification,
)
from kernel.migrations.repeatable import read_repeatable_files
from kernel.migrations.repeatable_names import discover_repeatable
from kernel.migrations.script import UnwrittenProblem, parse_script, unwritten_problems
from kernel.operations.drift import trace_drift
from kernel.plan import VersionState, read_status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from kernel.db.connection import Session
    from kernel.db.repeatable_entries import RepeatableEntry
    from kernel.migrations.migration import Migration
    from kernel.operations.drift import MigrationsLocation
    from kernel.plan import Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class FilesCheck:
    """The files of a directory: the `migrations` with a valid name and a unique number, and the counts of all files.

    `gaps` are the numbers between two files that no file has, such as "002 to 007"; they are no problem. Without
    `all_named` a file with a wrong name may be the one of a record.
    """

    migrations: tuple[Migration, ...]
    total: int
    reverts: int
    gaps: tuple[str, ...]
    all_named: bool
    problems: tuple[Problem, ...]
    repeatable: int = 0

    def without_applied_empty(self, plan: Plan | None) -> FilesCheck:
        """The same, without the problem of unwritten files that are applied: --allow-empty was given for them."""
        entries = plan.entries if plan else ()
        applied = {entry.filename for entry in entries if entry.state is VersionState.APPLIED}
        problems = (one for one in self.problems if not (isinstance(one, UnwrittenProblem) and one.file in applied))
        return replace(self, problems=tuple(problems))


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordsCheck:
    """Records compared with files; `plan` is None when the ledger cannot be read, as `problems` then says."""

    database: str
    plan: Plan | None
    problems: tuple[Problem, ...]
    repeatable: tuple[RepeatableEntry, ...] = ()


def check_files(directory: Path, ledger: LedgerName = DEFAULT_LEDGER) -> FilesCheck:
    """Check all files of a directory; `migrations_table` is the ledger, which no file may change.

    Reads the files, and nothing else. Raises FilesInvalid when the directory cannot be listed.
    """
    candidates = list_candidates(directory)
    reverts, verifications = (list_paired_files(directory, folder) for folder in (REVERT_FOLDER, VERIFY_FOLDER))
    migrations, misnamed = read_candidates(directory, candidates)
    problems = [*misnamed]
    for filename in candidates:
        problems += _file_problems(partial(_parse_migration, ledger=ledger), directory / filename, filename)
    paired = ((REVERT_FOLDER, reverts, parse_revert_script), (VERIFY_FOLDER, verifications, parse_verify_script))
    for folder, filenames, parse in paired:
        for filename in filenames:
            name = f"{folder}/{filename}"
            problems += _file_problems(partial(parse, ledger=ledger), directory / name, name)
        problems += orphan_problems(folder, filenames, candidates)
    try:
        repeatable = discover_repeatable(directory)
        problems += _file_problems(lambda _path, _name: read_repeatable_files(repeatable, ledger), directory, "")
    except FilesInvalid as error:
        repeatable = ()
        problems += error.problems
    if not candidates:
        problems.append(Problem(message=f"{directory}: no migration files; set KERNEL_MIGRATIONS_DIR"))
    return FilesCheck(
        migrations=migrations,
        total=len(candidates),
        reverts=len(reverts),
        gaps=_number_gaps(migrations),
        all_named=len(migrations) == len(candidates),
        # More than one check reports a file that cannot be read.
        problems=tuple(dict.fromkeys(problems)),
        repeatable=len(repeatable),
    )


def check_records(session: Session, files: FilesCheck, location: MigrationsLocation) -> RecordsCheck:
    """Compare the records of a database with the files, and trace drift. Read-only. Raises DatabaseRefused."""
    try:
        status = read_status(session, files.migrations, repeatable=_named_repeatable(files))
        if status.plan.pending:
            refuse_tables_without_ledger(session, status.ledger)
    except Drift as error:
        return RecordsCheck(database=session.name, plan=None, problems=error.problems)
    plan = trace_drift(status.plan, location)
    problems = plan.drift()
    if not files.all_named:
        missing = {entry.filename for entry in plan.entries if entry.state is VersionState.MISSING}
        problems = tuple(problem for problem in problems if problem.file not in missing)
    return RecordsCheck(database=session.name, plan=plan, problems=problems, repeatable=status.repeatable)


def _named_repeatable(files: FilesCheck) -> tuple[Migration, ...]:
    """The repeatable files; () where one has a wrong name, which `check_files` reports."""
    with suppress(FilesInvalid):
        return discover_repeatable(files.migrations[0].directory) if files.migrations else ()
    return ()


def run_checks(session: Session, records: RecordsCheck, ledger: LedgerName) -> RecordsCheck:
    """Run the files of verify/ of all applied migrations, read-only; the same check with their problems added.

    A file that cannot be run, which `check_files` reports, is skipped. Raises psycopg.OperationalError.
    """
    problems: list[Problem] = []
    for entry in records.plan.entries if records.plan else ():
        if entry.migration is None or entry.record is None:
            continue
        with suppress(FilesInvalid):
            if verification := read_verification(entry.migration, ledger=ledger):
                problems += verification_failures(session, *verification)
    return replace(records, problems=(*records.problems, *problems))


def _parse_migration(path: Path, name: str, *, ledger: LedgerName) -> None:
    if problems := unwritten_problems(parse_script(path, name, ledger=ledger), name):
        raise FilesInvalid(problems)


def _file_problems(parse: Callable[[Path, str], object], path: Path, name: str) -> Iterable[Problem]:
    try:
        parse(path, name)
    except FilesInvalid as error:
        return error.problems
    return ()


_TIMESTAMP_DIGITS = 8  # a date; numbers in order do not get there


def _number_gaps(migrations: tuple[Migration, ...]) -> tuple[str, ...]:
    """The numbers that no file has, between files that are numbered in order: between timestamps there are no gaps."""
    gaps = []
    for before, after in pairwise(migration.number for migration in migrations):
        first, last = format_version(before + 1), format_version(after - 1)
        if after - before > 1 and len(format_version(after)) < _TIMESTAMP_DIGITS:
            gaps.append(first if first == last else f"{first} to {last}")
    return tuple(gaps)
