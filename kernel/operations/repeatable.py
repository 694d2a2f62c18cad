"""Apply repeatable files after the numbered ones: those that changed, in one transaction.

They run when no file of phase `before` is left pending. Files of phase `after` may wait: the former text of a view
often uses what they drop.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from kernel.apply.replaced_objects import find_replaced_objects, needs_replacement, scripts_that_replace
from kernel.apply.transaction import apply_in_transaction, file_run_for_repeatable
from kernel.db.ledger import ledger_name
from kernel.errors import MigrationFailed
from kernel.migrations.phases import Phase
from kernel.migrations.repeatable import defined_objects, read_repeatable_files
from kernel.migrations.repeatable_names import REPEATABLE_FOLDER

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from kernel.apply.events import MigrationApplied
    from kernel.apply.executor import Executor
    from kernel.apply.replaced_objects import ReplacedObject
    from kernel.apply.transaction import FileRun
    from kernel.db.connection import Session
    from kernel.db.ledger import Ledger
    from kernel.db.repeatable_table import RepeatableRecord
    from kernel.migrations.migration import Migration
    from kernel.migrations.repeatable import RepeatableFile
    from kernel.plan import Status


_REPLACED_AFTER_COMMIT = (
    "objects are dropped and made again only after the numbered files are committed: "
    "run inv db.migrate without --single-transaction"
)
_DEPENDS = ("2BP01", "0A000")  # dependent objects still exist; a column used by a view, whose type is changed


@dataclass(frozen=True, slots=True, kw_only=True)
class RepeatableRun:
    """The repeatable files of a run: the `pending` ones, and all `files` in order with their `records`.

    Without a pending one, `files` are not read.
    """

    pending: tuple[Migration, ...] = ()
    files: tuple[RepeatableFile, ...] = ()
    records: Mapping[str, RepeatableRecord] = field(default_factory=dict)

    @property
    def migrations(self) -> frozenset[Migration]:
        """All repeatable files."""
        return frozenset(file.migration for file in self.files)

    def files_to_run(self, also: Collection[str] = ()) -> tuple[RepeatableFile, ...]:
        """The pending files, and those with these names, in order."""
        return tuple(file for file in self.files if file.migration in self.pending or file.name in also)


def plan_repeatable(status: Status, chosen: Collection[Migration]) -> RepeatableRun:
    """The repeatable files that run after the `chosen` numbered ones. Raises FilesInvalid with all their problems.

    Files of which a numbered one drops an object are not known yet.
    """
    pending = status.pending_repeatable
    if not pending or any(one.phase is Phase.BEFORE and one not in chosen for one in status.plan.pending):
        return RepeatableRun()
    known = [entry.migration for entry in status.repeatable if entry.migration]
    return RepeatableRun(
        pending=pending,
        files=read_repeatable_files(known, ledger_name(status.ledger)),
        records=repeatable_records(status),
    )


def repeatable_records(status: Status) -> dict[str, RepeatableRecord]:
    """The records of repeatable files, by name."""
    return {entry.name: entry.record for entry in status.repeatable if entry.record}


def repeatable_file_runs(session: Session, ledger: Ledger, run: RepeatableRun) -> list[FileRun]:
    """The pending files as they are run in a transaction."""
    return _file_runs(session, ledger, run, {})


def apply_repeatable(
    executor: Executor, run: RepeatableRun, ahead: Sequence[FileRun] = ()
) -> tuple[MigrationApplied, ...]:
    """Apply the pending files in one transaction, with the file runs `ahead` of them in it.

    What CREATE OR REPLACE cannot change is dropped and made again with all that depends on it, if files make all of it;
    then the transaction runs once more; not with file runs `ahead`, where the error says so. Raises MigrationFailed,
    LockBusy.
    """
    replaced: dict[str, ReplacedObject] = {}
    while True:
        file_runs = [*ahead, *_file_runs(executor.session, executor.ledger, run, replaced)]
        try:
            return apply_in_transaction(executor, file_runs)
        except MigrationFailed as error:
            if executor.session.connection.broken or not error.rolled_back:
                raise
            if ahead and needs_replacement(error, run.files):
                # The catalog is without what these files do: a GRANT to restore, a view that they drop.
                error.hint = _REPLACED_AFTER_COMMIT
                raise
            found = find_replaced_objects(executor.session.connection, error, run.files)
            if found is None:
                continue
            if replaced.keys() >= {one.identity for one in found}:  # nothing more to drop
                raise
            # What depends on something is dropped before it, whichever was found first.
            replaced = {one.identity: one for one in found} | replaced


def _file_runs(
    session: Session, ledger: Ledger, run: RepeatableRun, replaced: Mapping[str, ReplacedObject]
) -> list[FileRun]:
    files = run.files_to_run({one.file for one in replaced.values()})
    scripts = scripts_that_replace(files, replaced) if replaced else {file.name: file.script for file in files}
    return [
        file_run_for_repeatable(session, ledger, file.migration, scripts[file.name], run.records.get(file.name))
        for file in files
    ]


def name_repeatable_dependants(error: MigrationFailed, status: Status) -> None:
    """Say of an error about a dependent object that a repeatable file makes it: the migration may drop it."""
    failure = error.failure
    if failure.sqlstate not in _DEPENDS or failure.file.startswith(f"{REPEATABLE_FOLDER}/"):
        return
    words = set(re.findall(r"\w+", failure.detail or ""))
    found = [
        (definition, entry.migration.filename)
        for entry in status.repeatable
        if entry.migration
        for definition in defined_objects(entry.migration.path, entry.migration.filename, entry.migration.checksum)
        if definition.name.rpartition(".")[2] in words
    ]
    if found:
        statements = dict.fromkeys(f"DROP {definition.kind.upper()} {definition.name}" for definition, _ in found)
        dropped = ", ".join(statements)
        files = ", ".join(dict.fromkeys(filename for _, filename in found))
        error.hint = f"write {dropped} before it: the run makes that again at its end, from {files}"


def with_current_records(run: RepeatableRun, status: Status, chosen: Collection[Migration]) -> RepeatableRun:
    """The run as it is under the lock, when other runners may have applied files."""
    if status.pending_repeatable == run.pending:
        return replace(run, records=repeatable_records(status))
    return plan_repeatable(status, chosen)
