"""db.verify: everything that can be wrong without running SQL, all of it at once.

The checks are those of db.migrate and db.rollback, done to every file, applied or not, and to revert files too.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from kernel import evidence, ledger, status
from kernel.errors import Drift, FilesInvalid, Problem
from kernel.files import migration, naming, revert, script
from kernel.plan import State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from kernel.database import Session
    from kernel.evidence import Place
    from kernel.files.migration import Migration
    from kernel.plan import Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """What the directory holds: the `migrations` with a good name and a number of their own, how many other files.

    `gaps` are the numbers that no file has, as "002 to 007" between two that some have; they are no problem. Not all
    are `named` when a file may stand for a record although its name does not say so.
    """

    migrations: tuple[Migration, ...]
    total: int
    reverts: int
    gaps: tuple[str, ...]
    named: bool
    problems: tuple[Problem, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Records:
    """How a database compares; `plan` is None when its ledger is not one, which `problems` then says."""

    database: str
    plan: Plan | None
    problems: tuple[Problem, ...]


def files(directory: Path) -> Files:
    """Check all files of a directory. Reads them, and nothing else. Raises FilesInvalid when it cannot be listed."""
    candidates = migration.candidates(directory)
    reverts = revert.candidates(directory)
    found, misnamed = migration.sorted_out(directory, candidates)
    problems = [*misnamed]
    for filename in candidates:
        problems += _problems(script.survey, directory / filename, filename)
    for filename in reverts:
        problems += _problems(revert.survey, directory / revert.FOLDER / filename, f"{revert.FOLDER}/{filename}")
    if not candidates:
        problems.append(Problem(message=f"{directory}: no migration files; set KERNEL_MIGRATIONS_DIR"))
    return Files(
        migrations=found,
        total=len(candidates),
        reverts=len(reverts),
        gaps=_gaps(found),
        named=len(found) == len(candidates),
        # A file that cannot be read at all is told of by more than one check.
        problems=tuple(dict.fromkeys((*problems, *revert.orphans(reverts, candidates)))),
    )


def records(session: Session, found: Files, place: Place) -> Records:
    """Compare a database's records with the files, and trace what disagrees. Read-only. Raises DatabaseRefused."""
    try:
        now = status.read(session, found.migrations)
        if now.plan.pending:
            ledger.refuse_unrecorded(session, now.ledger)
    except Drift as error:
        return Records(database=session.name, plan=None, problems=error.problems)
    its_plan = evidence.traced(now.plan, place)
    problems = its_plan.drift()
    if not found.named:
        missing = {entry.filename for entry in its_plan.entries if entry.state is State.MISSING}
        problems = tuple(problem for problem in problems if problem.file not in missing)
    return Records(database=session.name, plan=its_plan, problems=problems)


def _problems(survey: Callable[[Path, str], object], path: Path, name: str) -> Iterable[Problem]:
    try:
        survey(path, name)
    except FilesInvalid as error:
        return error.problems
    return ()


def _gaps(found: tuple[Migration, ...]) -> tuple[str, ...]:
    gaps = []
    for before, after in pairwise(one.number for one in found):
        first, last = naming.padded(before + 1), naming.padded(after - 1)
        if after - before > 1:
            gaps.append(first if first == last else f"{first} to {last}")
    return tuple(gaps)
