"""Whether the next run can go on with a file that is partly done, by its text and its saved progress. Reads only.

The run itself decides in its session (saved_progress.py, backfill.py); db.status has the same answer beforehand.
"""

from __future__ import annotations

import hashlib
from itertools import islice
from typing import TYPE_CHECKING

from kernel.apply.saved_progress import REPEATED
from kernel.apply.session_state import item_name, items_to_be_lost, line_that_may_need
from kernel.db.progress_table import FileProgress, read_progress
from kernel.errors import Problem
from kernel.migrations.script import open_script
from kernel.migrations.transactions import RunMode
from kernel.sql.classify import StatementEffect, statement_effect
from kernel.sql.lexer import PartKind
from kernel.units import format_quantity

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from kernel.db.connection import Session
    from kernel.db.ledger import Ledger
    from kernel.migrations.migration import Migration
    from kernel.migrations.script import Script
    from kernel.plan import PartialRun


_ENDS = (StatementEffect.COMMIT, StatementEffect.ROLLBACK)


def resume_problem(migration: Migration, script: Script, progress: FileProgress) -> str:
    """Why the next run will not go on with a file, with the remedy; "" where it will. Raises OSError."""
    restart = f"inv db.repair --restart {migration.version}"
    if problem := mode_problem(migration, script, progress):
        return problem
    if (progress.finished or progress.walk) and _digest_of_done(migration, script, progress) != progress.digest:
        return f"what ran before has changed since; restore it, or let the file run from its beginning: {restart}"
    if progress.walk or not progress.session_state:
        return ""
    repeated = _repeated_statements(migration, script, progress.finished)
    lost = items_to_be_lost(progress.session_state, repeated)
    if lost and (line := line_that_may_need(script, migration.path, finished=progress.finished, items=lost)):
        return (
            f"the {item_name(lost[0])} is gone with the session, and line {line} may need it; "
            f"let the file run from its beginning: {restart}"
        )
    return ""


def mode_problem(migration: Migration, script: Script, done: FileProgress | PartialRun) -> str:
    """Why a partly applied file may not run in a transaction, which would repeat its statements; "" for any other."""
    if script.mode is not RunMode.TRANSACTION or not (done.finished or done.walk):
        return ""
    directive = "its -- migrate: batch=… directive" if done.walk else "-- migrate: no-transaction at its top"
    return (
        f"what ran before has committed, and would run again in a transaction; restore {directive}, "
        f"or let the file run from its beginning: inv db.repair --restart {migration.version}"
    )


def _repeated_statements(migration: Migration, script: Script, finished: int) -> set[int]:
    """The numbers of the statements that the next run repeats: SET; in a transaction, the number of its BEGIN."""
    repeated: set[int] = set()
    number = place = 0
    in_transaction = False
    with open_script(script, migration.path) as reading:
        for part in reading.parts:
            if part.kind is not PartKind.STATEMENT:
                continue
            number += 1
            if number > finished:
                break
            effect = statement_effect(part.sql)
            if not in_transaction:
                place = number
            in_transaction = effect is StatementEffect.BEGIN or (in_transaction and effect not in _ENDS)
            if effect in REPEATED:
                repeated.add(place)
    return repeated


def renumbered_problems(
    session: Session, ledger: Ledger, migrations: Iterable[Migration], files: Sequence[tuple[Migration, Script]]
) -> list[Problem]:
    """The files that are partly done under another version, of which there is no file any more. Reads only."""
    versions = {migration.version for migration in migrations}
    progress = read_progress(session, ledger) if ledger.exists else {}
    orphans = {
        version: one for version, one in progress.items() if version not in versions and (one.finished or one.walk)
    }
    problems = []
    for version, one in orphans.items():
        for migration, script in files:
            if script.mode is RunMode.TRANSACTION or _digest_of_done(migration, script, one) != one.digest:
                continue
            done = one.walk or format_quantity(one.finished, "statement")
            message = (
                f"what ran of it as version {version} ({done}) would run again; "
                f"number it {version} again, or let it run again: inv db.repair --restart {version}"
            )
            problems.append(Problem(message=message, file=migration.filename))
    return problems


def _digest_of_done(migration: Migration, script: Script, progress: FileProgress) -> str:
    """What the digest of this progress is if it is that of the file; "" if it cannot be."""
    if progress.walk:
        return script.backfill.digest if script.backfill else ""
    with open_script(script, migration.path) as reading:
        statements = (part.sql for part in reading.parts if part.kind is PartKind.STATEMENT)
        return hashlib.sha256(b"".join(islice(statements, progress.finished))).hexdigest()
