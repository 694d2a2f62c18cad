"""Reverts: up, revert, up.

Each revert file must give back the schema that its migration found, and all of them together the data; the second way
up must end where the first one did.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kernel import database, migrate, plan, rollback, status
from kernel.errors import FilesInvalid, MigrationFailed
from kernel.files import revert
from kernel.rehearsal.practice.fault import Checked, Fault, checked, told, unheard
from kernel.rehearsal.schema import snapshot
from kernel.rehearsal.schema.difference import difference, equal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kernel.apply.runner import Patience
    from kernel.database import Session
    from kernel.files.migration import Migration
    from kernel.rehearsal.practice.fault import DataChanged
    from kernel.rehearsal.schema.value import Schema

NAME = "reverts"
_MEND = "make the revert file undo what the migration does"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stage:
    """A migration, and the schema ahead of it and behind it."""

    one: Migration
    before: Schema
    after: Schema


def check(
    url: str,
    files: tuple[Migration, ...],
    pending: Sequence[Migration],
    *,
    patience: Patience,
    before_url: str = "",
    data_changed: DataChanged | None = None,
) -> Checked:
    """Apply the `pending` among the `files` in the clone at `url`, revert them newest first, and apply them again.

    Only the newest record can be taken back: the way down ends at the first file without a revert, and the practice is
    then neither held nor broken by what was not tried. `data_changed` compares the rows of the database at
    `before_url`, where none of them is applied, with those of `url` after all reverts; leave it off where a migration
    is declared to lose rows. Raises DatabaseUnreachable; MigrationFailed when a file fails on its first way up.
    """
    with database.session(url) as session:
        walk = _Walk(session, files, patience)
        stages = tuple(walk.up(one) for one in pending)
        missing = [one.filename for one in pending if not _has_revert(one)]
        reverted = walk.down(stages)
        if data_changed and before_url and pending and len(reverted) == len(stages):
            walk.faults += [Fault(message=f"after all reverts: {line}") for line in data_changed(before_url, url)]
        walk.up_again(tuple(reversed(reverted)))
    notes = [f"{filename}: has no revert file" for filename in missing]
    untried = [stage.one.filename for stage in stages if stage not in reverted and stage.one.filename not in missing]
    if not walk.faults:
        notes += [
            f"{filename}: its revert was not tried, since a newer file could not be reverted" for filename in untried
        ]
    return checked(NAME, walk.faults, notes=notes, untested=bool(missing or untried))


def _has_revert(one: Migration) -> bool:
    return (one.directory / revert.FOLDER / one.filename).is_file()


class _Walk:
    """The way up and down in one clone, and what was wrong on it."""

    def __init__(self, session: Session, files: tuple[Migration, ...], patience: Patience) -> None:
        self._session = session
        self._files = files
        self._patience = patience
        self.faults: list[Fault] = []

    def up(self, one: Migration) -> _Stage:
        """Apply one file. Raises MigrationFailed."""
        before = snapshot.read(self._session)
        wish = migrate.Wish(to=one.version, allow_out_of_order=True, patience=self._patience)
        migrate.migrate(self._session, self._files, wish, unheard)
        return _Stage(one=one, before=before, after=snapshot.read(self._session))

    def down(self, stages: tuple[_Stage, ...]) -> tuple[_Stage, ...]:
        """Revert as many as can be, newest first; those that are."""
        done: list[_Stage] = []
        seen: set[str] = set()
        for stage in reversed(stages):
            if not _has_revert(stage.one) or not self._is_newest(stage.one) or not self._reverted(stage.one):
                break
            done.append(stage)
            # What one revert leaves behind is there after the next ones, too, and is told once.
            left = _lines(stage.before, snapshot.read(self._session))
            self.faults += [
                _fault(stage.one, f"the revert does not give back the schema: {line}", of_revert=True)
                for line in left
                if line not in seen
            ]
            seen.update(left)
        return tuple(done)

    def up_again(self, stages: tuple[_Stage, ...]) -> None:
        """Apply again what was reverted, and compare with the first time."""
        for stage in stages:
            try:
                again = self.up(stage.one)
            except MigrationFailed as error:
                message = f"fails after its revert: {told(error)}"
                self.faults.append(_fault(stage.one, message, line=error.failure.line))
                return
            if left := _lines(stage.after, again.after):
                self.faults += [
                    _fault(stage.one, f"applied again after its revert, it gives another schema: {line}")
                    for line in left
                ]
                return

    def _is_newest(self, one: Migration) -> bool:
        now = status.read(self._session, self._files).plan
        return [entry.version for entry in plan.to_remove(now, steps=1)] == [one.version]

    def _reverted(self, one: Migration) -> bool:
        wish = rollback.Wish(steps=1, revert=True, patience=self._patience)
        try:
            rollback.rollback(self._session, self._files, wish, unheard)
        except FilesInvalid as error:
            self.faults += [
                _fault(one, problem.message, line=problem.line, of_revert=True) for problem in error.problems
            ]
            return False
        except MigrationFailed as error:
            message = f"the revert fails: {told(error)}"
            self.faults.append(_fault(one, message, line=error.failure.line, of_revert=True))
            return False
        return True


def _lines(before: Schema, after: Schema) -> tuple[str, ...]:
    return () if equal(before, after) else difference(before, after, remade=False)


def _fault(one: Migration, message: str, *, line: int | None = None, of_revert: bool = False) -> Fault:
    filename = f"{revert.FOLDER}/{one.filename}" if of_revert else one.filename
    return Fault(message=message, remedy=_MEND, version=one.version, filename=filename, line=line)
