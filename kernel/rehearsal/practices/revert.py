"""Reverts: up, revert, up.

Each revert file must restore the schema that its migration found, and all of them together the data; applying the
migrations again must end with the schema of the first time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kernel.apply.events import ignore_event
from kernel.config.ledger_name import DEFAULT_LEDGER
from kernel.db.connection import open_session
from kernel.errors import FilesInvalid, MigrationFailed
from kernel.migrations.paired_files import REVERT_FOLDER
from kernel.operations.rollback import RollbackOptions, entries_to_roll_back, rollback
from kernel.plan import read_status
from kernel.rehearsal.practices.result import (
    PracticeFault,
    PracticeResult,
    apply_through,
    format_migration_error,
    make_practice_result,
)
from kernel.schema import diff_schemas, read_schema, schemas_equal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kernel.apply.executor import WaitLimits
    from kernel.config.ledger_name import LedgerName
    from kernel.db.connection import Session
    from kernel.migrations.migration import Migration
    from kernel.rehearsal.practices.result import CompareData
    from kernel.schema import Schema


REVERT_PRACTICE = "reverts"
_REMEDY = "make the revert file undo what the migration does"


def check_reverts(
    url: str,
    files: tuple[Migration, ...],
    pending: Sequence[Migration],
    *,
    waits: WaitLimits,
    migrations_table: LedgerName = DEFAULT_LEDGER,
    role: str = "",
    before_url: str = "",
    data_changed: CompareData | None = None,
) -> PracticeResult:
    """Apply the `pending` among the `files` in the clone at `url`, revert them newest first, and apply them again.

    Only the newest record can be reverted: reverting ends at the first file without a revert file, and the practice is
    then neither held nor broken by the files before it. `data_changed` compares the rows of the database at
    `before_url`, where none of them is applied, with those of `url` after all reverts; leave it off where a migration
    is declared to lose rows. Raises DatabaseUnreachable; MigrationFailed when a file fails the first time.
    """
    with open_session(url, role=role, migrations_table=migrations_table) as session:
        trial = _RevertTrial(session, files, waits)
        applied = tuple(trial.apply(migration) for migration in pending)
        reverted = trial.revert_all(applied)
        if data_changed and before_url and pending and len(reverted) == len(applied):
            trial.faults += [
                PracticeFault(message=f"after all reverts: {line}") for line in data_changed(before_url, url)
            ]
        trial.apply_again(tuple(reversed(reverted)))
    missing = [migration.filename for migration in pending if not _has_revert_file(migration)]
    tried = {one.migration.filename for one in reverted}
    untried = [
        migration.filename for migration in pending if migration.filename not in tried and _has_revert_file(migration)
    ]
    notes = [f"{filename}: has no revert file" for filename in missing]
    if not trial.faults:
        notes += [
            f"{filename}: its revert was not tried, since a newer file could not be reverted" for filename in untried
        ]
    return make_practice_result(REVERT_PRACTICE, trial.faults, notes=notes, untested=bool(missing or untried))


def _has_revert_file(migration: Migration) -> bool:
    return (migration.directory / REVERT_FOLDER / migration.filename).is_file()


@dataclass(frozen=True, slots=True, kw_only=True)
class _AppliedMigration:
    """A migration, and the schema before it and after it."""

    migration: Migration
    before: Schema
    after: Schema


class _RevertTrial:
    """Applies and reverts migrations in one clone; `faults` are those met so far."""

    def __init__(self, session: Session, files: tuple[Migration, ...], waits: WaitLimits) -> None:
        self._session = session
        self._files = files
        self._waits = waits
        self.faults: list[PracticeFault] = []

    def apply(self, migration: Migration) -> _AppliedMigration:
        """Apply one file. Raises MigrationFailed."""
        before = read_schema(self._session)
        apply_through(self._session, self._files, migration, self._waits)
        return _AppliedMigration(migration=migration, before=before, after=read_schema(self._session))

    def revert_all(self, applied: tuple[_AppliedMigration, ...]) -> tuple[_AppliedMigration, ...]:
        """Revert newest first, until one cannot be reverted; those that were."""
        reverted: list[_AppliedMigration] = []
        seen: set[str] = set()
        for one in reversed(applied):
            migration = one.migration
            if not (_has_revert_file(migration) and self._is_newest(migration) and self._try_revert(migration)):
                break
            reverted.append(one)
            # A difference that one revert leaves is there after the next ones too, and is reported once.
            lines = _schema_difference(one.before, read_schema(self._session))
            for line in lines:
                if line not in seen:
                    self._add_revert_fault(migration, f"the revert does not give back the schema: {line}")
            seen.update(lines)
        return tuple(reverted)

    def apply_again(self, reverted: tuple[_AppliedMigration, ...]) -> None:
        """Apply again what was reverted, and compare with the first time."""
        for one in reverted:
            try:
                again = self.apply(one.migration)
            except MigrationFailed as error:
                message = f"fails after its revert: {format_migration_error(error)}"
                self._add_fault(one.migration, one.migration.filename, message, error.failure.line)
                return
            if lines := _schema_difference(one.after, again.after):
                for line in lines:
                    message = f"applied again after its revert, it gives another schema: {line}"
                    self._add_fault(one.migration, one.migration.filename, message)
                return

    def _is_newest(self, migration: Migration) -> bool:
        plan = read_status(self._session, self._files).plan
        return [entry.version for entry in entries_to_roll_back(plan, steps=1)] == [migration.version]

    def _try_revert(self, migration: Migration) -> bool:
        options = RollbackOptions(steps=1, revert=True, waits=self._waits)
        try:
            rollback(self._session, self._files, options, ignore_event)
        except FilesInvalid as error:
            for problem in error.problems:
                self._add_revert_fault(migration, problem.message, problem.line)
            return False
        except MigrationFailed as error:
            self._add_revert_fault(migration, f"the revert fails: {format_migration_error(error)}", error.failure.line)
            return False
        return True

    def _add_revert_fault(self, migration: Migration, message: str, line: int | None = None) -> None:
        self._add_fault(migration, f"{REVERT_FOLDER}/{migration.filename}", message, line)

    def _add_fault(self, migration: Migration, filename: str, message: str, line: int | None = None) -> None:
        version = migration.version
        self.faults.append(
            PracticeFault(message=message, remedy=_REMEDY, version=version, filename=filename, line=line)
        )


def _schema_difference(before: Schema, after: Schema) -> tuple[str, ...]:
    return () if schemas_equal(before, after) else diff_schemas(before, after, remade=False)
