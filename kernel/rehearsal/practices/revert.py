"""Reverts: up, revert, up.

Each revert file must give back the schema that its migration found, and all of them together the data; the second way
up must end where the first one did.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kernel.apply.events import ignore_event
from kernel.db.connection import open_session
from kernel.errors import FilesInvalid, MigrationFailed
from kernel.migrations.script import REVERT_FOLDER
from kernel.operations.migrate import MigrateOptions, migrate
from kernel.operations.rollback import RollbackOptions, rollback
from kernel.operations.status import read_status
from kernel.plan import entries_to_roll_back
from kernel.rehearsal.practices.result import (
    PracticeFault,
    PracticeResult,
    format_migration_error,
    make_practice_result,
)
from kernel.rehearsal.schema.diff import diff_schemas, schemas_equal
from kernel.rehearsal.schema.snapshot import read_schema

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kernel.apply.executor import WaitLimits
    from kernel.db.connection import Session
    from kernel.migrations.migration import Migration
    from kernel.rehearsal.practices.result import CompareData
    from kernel.rehearsal.schema.snapshot import Schema


REVERT_PRACTICE = "reverts"
_REMEDY = "make the revert file undo what the migration does"


@dataclass(frozen=True, slots=True, kw_only=True)
class _AppliedMigration:
    """A migration, and the schema ahead of it and behind it."""

    migration: Migration
    before: Schema
    after: Schema


def check_reverts(
    url: str,
    files: tuple[Migration, ...],
    pending: Sequence[Migration],
    *,
    patience: WaitLimits,
    before_url: str = "",
    data_changed: CompareData | None = None,
) -> PracticeResult:
    """Apply the `pending` among the `files` in the clone at `url`, revert them newest first, and apply them again.

    Only the newest record can be taken back: the way down ends at the first file without a revert, and the practice is
    then neither held nor broken by what was not tried. `data_changed` compares the rows of the database at
    `before_url`, where none of them is applied, with those of `url` after all reverts; leave it off where a migration
    is declared to lose rows. Raises DatabaseUnreachable; MigrationFailed when a file fails on its first way up.
    """
    with open_session(url) as session:
        walk = _RevertTrial(session, files, patience)
        stages = tuple(walk.apply(one) for one in pending)
        missing = [one.filename for one in pending if not _has_revert_file(one)]
        reverted = walk.revert_all(stages)
        if data_changed and before_url and pending and len(reverted) == len(stages):
            walk.faults += [
                PracticeFault(message=f"after all reverts: {line}") for line in data_changed(before_url, url)
            ]
        walk.apply_again(tuple(reversed(reverted)))
    notes = [f"{filename}: has no revert file" for filename in missing]
    untried = [
        stage.migration.filename
        for stage in stages
        if stage not in reverted and stage.migration.filename not in missing
    ]
    if not walk.faults:
        notes += [
            f"{filename}: its revert was not tried, since a newer file could not be reverted" for filename in untried
        ]
    return make_practice_result(REVERT_PRACTICE, walk.faults, notes=notes, untested=bool(missing or untried))


def _has_revert_file(one: Migration) -> bool:
    return (one.directory / REVERT_FOLDER / one.filename).is_file()


class _RevertTrial:
    """The way up and down in one clone, and what was wrong on it."""

    def __init__(self, session: Session, files: tuple[Migration, ...], patience: WaitLimits) -> None:
        self._session = session
        self._files = files
        self._patience = patience
        self.faults: list[PracticeFault] = []

    def apply(self, one: Migration) -> _AppliedMigration:
        """Apply one file. Raises MigrationFailed."""
        before = read_schema(self._session)
        wish = MigrateOptions(to=one.version, allow_out_of_order=True, waits=self._patience)
        migrate(self._session, self._files, wish, ignore_event)
        return _AppliedMigration(migration=one, before=before, after=read_schema(self._session))

    def revert_all(self, stages: tuple[_AppliedMigration, ...]) -> tuple[_AppliedMigration, ...]:
        """Revert as many as can be, newest first; those that are."""
        done: list[_AppliedMigration] = []
        seen: set[str] = set()
        for stage in reversed(stages):
            if (
                not _has_revert_file(stage.migration)
                or not self._is_newest(stage.migration)
                or not self._try_revert(stage.migration)
            ):
                break
            done.append(stage)
            # What one revert leaves behind is there after the next ones, too, and is told once.
            left = _schema_difference(stage.before, read_schema(self._session))
            self.faults += [
                _make_fault(stage.migration, f"the revert does not give back the schema: {line}", of_revert=True)
                for line in left
                if line not in seen
            ]
            seen.update(left)
        return tuple(done)

    def apply_again(self, stages: tuple[_AppliedMigration, ...]) -> None:
        """Apply again what was reverted, and compare with the first time."""
        for stage in stages:
            try:
                again = self.apply(stage.migration)
            except MigrationFailed as error:
                message = f"fails after its revert: {format_migration_error(error)}"
                self.faults.append(_make_fault(stage.migration, message, line=error.failure.line))
                return
            if left := _schema_difference(stage.after, again.after):
                self.faults += [
                    _make_fault(stage.migration, f"applied again after its revert, it gives another schema: {line}")
                    for line in left
                ]
                return

    def _is_newest(self, one: Migration) -> bool:
        now = read_status(self._session, self._files).plan
        return [entry.version for entry in entries_to_roll_back(now, steps=1)] == [one.version]

    def _try_revert(self, one: Migration) -> bool:
        wish = RollbackOptions(steps=1, revert=True, waits=self._patience)
        try:
            rollback(self._session, self._files, wish, ignore_event)
        except FilesInvalid as error:
            self.faults += [
                _make_fault(one, problem.message, line=problem.line, of_revert=True) for problem in error.problems
            ]
            return False
        except MigrationFailed as error:
            message = f"the revert fails: {format_migration_error(error)}"
            self.faults.append(_make_fault(one, message, line=error.failure.line, of_revert=True))
            return False
        return True


def _schema_difference(before: Schema, after: Schema) -> tuple[str, ...]:
    return () if schemas_equal(before, after) else diff_schemas(before, after, remade=False)


def _make_fault(one: Migration, message: str, *, line: int | None = None, of_revert: bool = False) -> PracticeFault:
    filename = f"{REVERT_FOLDER}/{one.filename}" if of_revert else one.filename
    return PracticeFault(message=message, remedy=_REMEDY, version=one.version, filename=filename, line=line)
