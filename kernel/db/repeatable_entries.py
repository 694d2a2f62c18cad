"""Repeatable files compared with their records and with the catalog: what is applied, and what is pending."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from kernel.db.repeatable_table import files_of_absent_objects, read_repeatable_records

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from kernel.db.connection import Session
    from kernel.db.ledger import Ledger
    from kernel.db.repeatable_table import RepeatableRecord
    from kernel.migrations.migration import Migration


class RepeatableState(StrEnum):
    """The state of a repeatable file, as in JSON: pending when it was changed, missing when it was deleted.

    It is superseded when it differs from what was applied, and the database is ahead of the numbered files: an older
    release was deployed again, whose views would take the place of newer ones. It is unknown to a role that may not
    read the records.
    """

    APPLIED = "applied"
    PENDING = "pending"
    MISSING = "missing"
    SUPERSEDED = "superseded"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class RepeatableEntry:
    """A repeatable file, its record, or both. It is pending too when an object that it has made `is_gone`."""

    name: str
    state: RepeatableState
    migration: Migration | None = None
    record: RepeatableRecord | None = None
    is_gone: bool = False


def read_repeatable_entries(
    session: Session, ledger: Ledger, files: Sequence[Migration], *, is_ahead: bool
) -> tuple[RepeatableEntry, ...]:
    """Compare repeatable files with a database, by name; `is_ahead` is one ahead of the numbered files. Read-only."""
    records = read_repeatable_records(session, ledger) if ledger.exists else {}
    entries = _compare(files, records, is_ahead=is_ahead)
    return entries if is_ahead else _with_gone_objects(session, entries)


def _compare(
    files: Iterable[Migration], records: Mapping[str, RepeatableRecord] | None, *, is_ahead: bool = False
) -> tuple[RepeatableEntry, ...]:
    """Compare repeatable files with their records, by name; `is_ahead` is a database ahead of the numbered files.

    Without the privilege to read them, `records` are None.
    """
    entries = []
    by_name = {one.version: one for one in files}
    if records is None:
        return tuple(
            RepeatableEntry(name=name, state=RepeatableState.UNKNOWN, migration=migration)
            for name, migration in sorted(by_name.items())
        )
    for name in sorted(by_name.keys() | records.keys()):
        migration, record = by_name.get(name), records.get(name)
        state = RepeatableState.SUPERSEDED if is_ahead else RepeatableState.PENDING
        if migration is None:
            state = RepeatableState.MISSING
        elif record and migration.accepts(record.checksum):
            state = RepeatableState.APPLIED
        entries.append(RepeatableEntry(name=name, state=state, migration=migration, record=record))
    return tuple(entries)


def _with_gone_objects(session: Session, entries: tuple[RepeatableEntry, ...]) -> tuple[RepeatableEntry, ...]:
    """The entries, with those pending again of which an object was dropped, as by a migration that had to."""
    applied = [one.migration for one in entries if one.migration and one.state is RepeatableState.APPLIED]
    if not applied:
        return entries
    from kernel.migrations.repeatable import defined_objects  # noqa: PLC0415 - with repeatable files only

    created = (
        (file.version, definition)
        for file in applied
        for definition in defined_objects(file.path, file.filename, file.checksum)
    )
    gone = files_of_absent_objects(session, created)
    return tuple(
        replace(one, state=RepeatableState.PENDING, is_gone=True) if one.name in gone else one for one in entries
    )
