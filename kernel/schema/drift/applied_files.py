"""The applied files at the content that is recorded: as they are, or as git has them where they were changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kernel.db.repeatable_entries import RepeatableState
from kernel.errors import Problem
from kernel.migrations.migration import Migration, parse_filename
from kernel.migrations.repeatable_names import REPEATABLE_FOLDER
from kernel.plan import Reason, VersionState

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

    from kernel.db.repeatable_entries import RepeatableEntry
    from kernel.operations.drift import MigrationsLocation
    from kernel.plan import Plan, PlanEntry


@dataclass(frozen=True, slots=True, kw_only=True)
class AppliedFiles:
    """The `files` to build, in version order, and the `repeatable` ones; `notes` about their content, and who is not.

    `left_out` are those whose applied content is not known.
    """

    files: tuple[Migration, ...]
    repeatable: tuple[Migration, ...] = ()
    notes: tuple[str, ...] = ()
    left_out: tuple[Problem, ...] = ()


def applied_files(
    plan: Plan, repeatable: Sequence[RepeatableEntry], location: MigrationsLocation, folder: Path
) -> AppliedFiles:
    """Find the applied files; those that differ from their record are written to `folder` as git has them."""
    recorded = [entry for entry in plan.entries if entry.record or entry.stands_for]
    contents = _contents_in_git([entry for entry in recorded if _is_other(entry)], location)
    files: list[Migration] = []
    notes: list[str] = []
    left_out: list[Problem] = []
    for entry in recorded:
        record, migration = entry.record, entry.migration
        name = entry.filename
        if entry.state is VersionState.PARTIAL:
            left_out.append(Problem(message="partly done: not all of its statements ran", file=name))
        elif not _is_other(entry):
            files += [migration] if migration else []
        elif record and (content := contents.get(record.checksum.lower())) is not None:
            path = folder / record.filename
            path.write_bytes(content)
            files.append(
                Migration(
                    version=record.filename.partition("_")[0],
                    filename=record.filename,
                    directory=folder,
                    checksum=record.checksum,
                )
            )
        elif migration:
            notes.append(f"{name}: built as it is now, since its recorded content is not in the history of git")
            files.append(migration)
        else:
            left_out.append(Problem(message="no file has this version, and git has no content of it", file=name))
    ordered = sorted(files, key=lambda one: one.number)
    applied, unknown = _applied_repeatable(repeatable, location, folder)
    return AppliedFiles(files=tuple(ordered), repeatable=applied, notes=tuple(notes), left_out=(*left_out, *unknown))


def _applied_repeatable(
    entries: Sequence[RepeatableEntry], location: MigrationsLocation, folder: Path
) -> tuple[tuple[Migration, ...], tuple[Problem, ...]]:
    """The repeatable files at their applied content, and a problem for each of which that is not known.

    One that was changed is as usual as a pending migration: the next run applies it.
    """
    unchanged = [entry for entry in entries if entry.state is RepeatableState.APPLIED or entry.is_gone]
    applied = [entry.migration for entry in unchanged if entry.migration]
    others = [entry for entry in entries if entry.record and entry not in unchanged]
    contents = _find_in_git({one.record.checksum for one in others if one.record}, location, REPEATABLE_FOLDER)
    unknown = []
    for entry in others:
        content = contents.get(entry.record.checksum.lower()) if entry.record else None
        filename = f"{REPEATABLE_FOLDER}/{entry.name}.sql"
        if entry.record is None or content is None:
            unknown.append(Problem(message="git does not have the content that was applied", file=filename))
            continue
        path = folder / filename
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        applied.append(
            Migration(version=entry.name, filename=filename, directory=folder, checksum=entry.record.checksum)
        )
    return tuple(sorted(applied, key=lambda one: one.version)), tuple(unknown)


def _is_other(entry: PlanEntry) -> bool:
    """Whether the file is not what was applied, or is not there."""
    return entry.reason in (Reason.CHANGED, Reason.GONE, Reason.RENUMBERED, Reason.STRAY_RECORD)


def _contents_in_git(entries: list[PlanEntry], location: MigrationsLocation) -> dict[str, bytes]:
    """The contents of recorded checksums, in lower case; only of records whose name is that of a migration."""
    checksums = {
        entry.record.checksum for entry in entries if entry.record and parse_filename(entry.record.filename) is not None
    }
    return _find_in_git(checksums, location)


def _find_in_git(checksums: Collection[str], location: MigrationsLocation, folder: str = "") -> dict[str, bytes]:
    """The contents of recorded checksums, in lower case, from the history of a folder of the migrations."""
    directory = location.directory / folder
    if not checksums or not directory.is_dir():
        return {}
    from kernel.migrations.git_history import read_git_history  # noqa: PLC0415 - only after drift

    history = read_git_history(directory, location.environ, checksums)
    found = {one: history.find_content(one) for one in checksums} if history else {}
    return {one.lower(): content.content for one, content in found.items() if content}
