"""Compare files with records: what is applied, what is pending, and the drift between them.

db.status prints the same Plan that db.migrate carries out. Only `read_status`, which reads both, does I/O.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum, StrEnum
from typing import TYPE_CHECKING

from kernel.db.ledger import find_ledger
from kernel.db.progress_table import left_indexes, read_progress
from kernel.db.records import read_records
from kernel.db.repeatable_entries import RepeatableState, read_repeatable_entries
from kernel.db.unrecorded import refuse_records_elsewhere
from kernel.errors import Drift, Problem, UsageError
from kernel.migrations.migration import format_version, parse_version
from kernel.migrations.phases import Phase
from kernel.migrations.repeatable_names import discover_repeatable
from kernel.migrations.replaced import REPLACED_FOLDER, describe_range
from kernel.units import plural_form

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from kernel.db.connection import Session
    from kernel.db.ledger import Ledger
    from kernel.db.progress_table import KeyWalk
    from kernel.db.records import Record
    from kernel.db.repeatable_entries import RepeatableEntry
    from kernel.migrations.migration import Migration


_NAMES_SHOWN = 3


class VersionState(StrEnum):
    """The state of one version, as in JSON."""

    APPLIED = "applied"
    PENDING = "pending"
    MODIFIED = "modified"
    MISSING = "missing"
    OUT_OF_ORDER = "out_of_order"
    PARTIAL = "partial"


class Reason(Enum):
    """The kind of drift between a file and its record."""

    CHANGED = "the file is not what was applied"
    RENAMED = "the same content under another filename"
    GONE = "no file has the record's version"
    RENUMBERED = "the record's content has another version now"
    REPLACED_PARTLY = "a squash file, and not all versions that it replaces are recorded as it knows them"
    STRAY_RECORD = "a record whose version is no number, or recorded twice"
    OUT_OF_ORDER = "a pending file before one that is applied, or partly applied"


@dataclass(frozen=True, slots=True, kw_only=True)
class PartialRun:
    """Where a file stopped that runs statement by statement; statements count from 1. A backfill has its `walk`.

    `invalid_indexes`, quoted and with their schema, are what it left; the next run drops them. `problem` is why the
    next run will not go on, with the remedy; kernel.operations.migrate adds it.
    """

    finished: int
    invalid_indexes: tuple[str, ...] = ()
    walk: KeyWalk | None = None
    problem: str = ""

    def __str__(self) -> str:
        if self.problem:
            done = self.walk or f"{self.finished} {plural_form(self.finished, 'statement')} finished"
            return f"{done}; {self.problem}"
        if self.walk:
            return f"{self.walk}; the next run goes on from there"
        left = "".join(f"; {name} is INVALID, and is dropped first" for name in self.invalid_indexes)
        return f"the next run begins with statement {self.finished + 1}{left}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanEntry:
    """One version: its file, its record, or both; `drift` describes a difference and its remedy, "" for none.

    `reason` is the kind of drift, None for none. kernel.operations.drift adds `commit` and `diff`.
    `partial` is that of a file in the state PARTIAL. `stands_for` are the records of all versions that a squash file
    replaces, until db.migrate has recorded it.
    """

    state: VersionState
    migration: Migration | None = None
    record: Record | None = None
    drift: str = ""
    reason: Reason | None = None
    commit: str | None = None
    diff: str | None = None
    stands_for: tuple[Record, ...] = ()
    partial: PartialRun | None = None

    @property
    def version(self) -> str:
        return self.migration.version if self.migration else self.record.version if self.record else ""

    @property
    def waits_for_phase_after(self) -> bool:
        """Whether its file is pending, and --phase before leaves it out."""
        return self.migration is not None and not self.record and self.migration.phase is Phase.AFTER

    @property
    def filename(self) -> str:
        return self.migration.filename if self.migration else self.record.filename if self.record else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftProblem(Problem):
    """A problem of drift: the `commit` with the file as it was applied, and the `diff` since."""

    commit: str | None = None
    diff: str | None = None


class PlanDrift(Drift):
    """Drift that stopped a run; `plan` has it, to be traced through git."""

    def __init__(self, plan: Plan, *, allow_out_of_order: bool) -> None:
        super().__init__(plan.drift(allow_out_of_order=allow_out_of_order))
        self.plan = plan
        self.allow_out_of_order = allow_out_of_order


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Every version, in order. `records_ahead` are newer than every file: an older release was deployed again.

    `replaced_records` are of versions that a squash file replaces; they have no entry.
    """

    entries: tuple[PlanEntry, ...]
    records_ahead: tuple[Record, ...] = ()
    replaced_records: tuple[Record, ...] = ()

    @property
    def applied_count(self) -> int:
        return sum(1 for entry in self.entries if entry.record or entry.stands_for)

    @property
    def unrecorded_squashes(self) -> tuple[PlanEntry, ...]:
        """The squash files to record without running them."""
        return tuple(entry for entry in self.entries if entry.stands_for)

    @property
    def pending(self) -> tuple[Migration, ...]:
        """The files without a record, in the order they are applied in."""
        return tuple(
            entry.migration for entry in self.entries if entry.migration and not entry.record and not entry.stands_for
        )

    def pending_in(self, phase: Phase | None) -> tuple[Migration, ...]:
        """The pending files of a phase, None for both."""
        return tuple(migration for migration in self.pending if phase in (None, migration.phase))

    @property
    def is_unrelated(self) -> bool:
        """Whether there are files and records, and no record is one of these files, by content, name or git."""
        recorded = [entry for entry in self.entries if entry.record]
        return bool(recorded) and any(entry.migration for entry in self.entries) and not any(map(_is_related, recorded))

    def drift(self, *, allow_out_of_order: bool = False) -> tuple[DriftProblem, ...]:
        """All differences between files and records, each with its remedy.

        Where nothing matches, one problem asks for the database, since accepting or restoring each would be wrong.
        """
        if self.is_unrelated:
            return (DriftProblem(message=_describe_unrelated(self.entries)),)
        return tuple(
            DriftProblem(message=entry.drift, file=entry.filename, commit=entry.commit, diff=entry.diff)
            for entry in self.entries
            if entry.drift and not (allow_out_of_order and entry.state is VersionState.OUT_OF_ORDER)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """What is applied and what is pending in a database; `database` is host:port/dbname.

    `repeatable` are the repeatable files, by name.
    """

    database: str
    ledger: Ledger
    plan: Plan
    repeatable: tuple[RepeatableEntry, ...] = ()

    @property
    def pending_repeatable(self) -> tuple[Migration, ...]:
        """The repeatable files that were never applied, or changed since."""
        return tuple(
            entry.migration for entry in self.repeatable if entry.migration and entry.state is RepeatableState.PENDING
        )


def read_status(
    session: Session, migrations: Sequence[Migration], *, repeatable: Sequence[Migration] | None = None
) -> Status:
    """Compare files and records. Read-only: no lock, and no table is created.

    `repeatable` are the repeatable files, None for those of the same directory. Raises LedgerShape, LedgerElsewhere,
    DatabaseRefused, and FilesInvalid for repeatable files with a wrong name.
    """
    if repeatable is None:
        repeatable = discover_repeatable(migrations[0].directory) if migrations else ()
    ledger = find_ledger(session)
    records = read_records(session, ledger)
    if not records:
        refuse_records_elsewhere(session, ledger, migrations)
    progress = read_progress(session, ledger) if ledger.exists else {}
    partial = {
        version: PartialRun(
            finished=one.finished,
            invalid_indexes=tuple(index.name for index in left_indexes(session.connection, one)),
            walk=one.walk,
        )
        for version, one in progress.items()
    }
    plan = build_plan(migrations, records, partial=partial)
    entries = read_repeatable_entries(session, ledger, repeatable, is_ahead=bool(plan.records_ahead))
    return Status(database=session.name, ledger=ledger, plan=plan, repeatable=entries)


def build_plan(
    files: Iterable[Migration], records: Iterable[Record], *, partial: Mapping[str, PartialRun] | None = None
) -> Plan:
    """Compare files with records; `partial` are the no-transaction files that are partly done, by version.

    A file without a record is out of order below a version that is recorded, or partial.
    """
    by_number = {migration.number: migration for migration in files}
    recorded: dict[int, Record] = {}
    entries = []
    for record in records:
        number = record.number
        if number is None or number in recorded:
            fault = "is recorded twice" if number in recorded else "is no number"
            note = f"version {record.version!r} {fault}; delete the record that no file stands for"
            entries.append(PlanEntry(state=VersionState.MISSING, record=record, drift=note, reason=Reason.STRAY_RECORD))
        else:
            recorded[number] = record
    squash_entries, replaced = _squash_entries(by_number, recorded)
    newest_file = max(by_number, default=-1)
    begun = {int(version): version for version in partial or {} if version.isascii() and version.isdigit()}
    newest_begun = max(begun.keys() | recorded.keys(), default=-1)
    newest = recorded[newest_begun].version if newest_begun in recorded else begun.get(newest_begun, "")
    unrecorded = {migration.checksum: migration for n, migration in by_number.items() if n not in recorded}
    for number in sorted(by_number.keys() | (recorded.keys() - replaced.keys())):
        migration, matching = by_number.get(number), recorded.get(number)
        if number in squash_entries:
            entries.append(squash_entries[number])
        elif migration and matching:
            entries.append(_entry_with_file_and_record(migration, matching))
        elif migration:
            one = (partial or {}).get(migration.version)
            entry = _entry_without_record(migration, newest, one, is_recorded=newest_begun in recorded)
            if entry.reason is Reason.OUT_OF_ORDER and migration.phase is Phase.AFTER:
                later = [by_number[other] for other in recorded.keys() | begun.keys() if other in by_number]
                entry = _entry_of_passed_file(entry, migration, [one for one in later if one.number > number])
            entries.append(entry)
        elif matching:
            same_content = unrecorded.get(matching.checksum)
            entries.append(_entry_without_file(matching, same_content, ahead=number > newest_file))
    return Plan(
        entries=tuple(entries),
        records_ahead=tuple(recorded[number] for number in sorted(recorded) if number > newest_file),
        replaced_records=tuple(replaced[number] for number in sorted(replaced)),
    )


def _squash_entries(
    by_number: dict[int, Migration], recorded: dict[int, Record]
) -> tuple[dict[int, PlanEntry], dict[int, Record]]:
    """The entries of squash files that have no record of their own while versions they replace have; and those records.

    A squash file of which no replaced version is recorded is a file like any other.
    """
    entries: dict[int, PlanEntry] = {}
    replaced: dict[int, Record] = {}
    for number, migration in by_number.items():
        records = {one.number: recorded[one.number] for one in migration.replaces if one.number in recorded}
        replaced |= {version: record for version, record in records.items() if version not in by_number}
        own = recorded.get(number)
        if not records or (own and migration.accepts(own.checksum)):
            continue
        checksums: dict[int, set[str]] = {}
        for one in migration.replaces:
            if not one.earlier:
                checksums.setdefault(one.number, set()).add(one.checksum)
        missing = sorted(checksums.keys() - records.keys())
        other = [
            number
            for number, record in sorted(records.items())
            if number in checksums
            and record.checksum.lower() not in checksums[number]
            and not migration.accepts_replaced(record.filename, record.checksum)
        ]
        if missing or other:
            state = VersionState.MODIFIED if own else VersionState.PENDING
            drift = _describe_replaced_partly(migration, missing, other)
            entry = PlanEntry(state=state, migration=migration, record=own, drift=drift, reason=Reason.REPLACED_PARTLY)
        else:
            stands_for = tuple(records[version] for version in sorted(records))
            entry = PlanEntry(state=VersionState.APPLIED, migration=migration, record=own, stands_for=stands_for)
        entries[number] = entry
    return entries, replaced


def _describe_replaced_partly(migration: Migration, missing: list[int], other: list[int]) -> str:
    """The message for a squash file of which versions are `missing`, or recorded with `other` content."""
    replaces = f"replaces {describe_range(migration.replaces)}"
    if missing:
        folder = f"{migration.directory.name}/{REPLACED_FOLDER}/{migration.filename.removesuffix('.sql')}"
        return (
            f"{replaces}, of which {_version_list(missing)} not applied here; "
            f"apply them first, with the files that it replaces: KERNEL_MIGRATIONS_DIR={folder} inv db.migrate"
        )
    return (
        f"{replaces}, of which {_version_list(other)} recorded here with other content; "
        f"compare the schema, then {_accept_remedy(migration.version)}"
    )


_VERSIONS_NAMED = 5


def _version_list(numbers: list[int]) -> str:
    named = ", ".join(format_version(number) for number in numbers[:_VERSIONS_NAMED])
    more = f" and {len(numbers) - _VERSIONS_NAMED} more" if len(numbers) > _VERSIONS_NAMED else ""
    return f"{named}{more} {'is' if len(numbers) == 1 else 'are'}"


def _entry_with_file_and_record(migration: Migration, record: Record) -> PlanEntry:
    drift, reason = "", None
    if not migration.accepts(record.checksum):
        drift, reason = describe_changed_file(migration, record), Reason.CHANGED
    elif migration.filename != record.filename:
        reason = Reason.RENAMED
        remedy = f"name it so again, or {_accept_remedy(migration.version)}"
        drift = f"applied as {record.filename} with the same content; {remedy}"
    state = VersionState.MODIFIED if reason else VersionState.APPLIED
    return PlanEntry(state=state, migration=migration, record=record, drift=drift, reason=reason)


def _is_related(entry: PlanEntry) -> bool:
    if entry.commit or entry.reason is Reason.RENUMBERED:
        return True
    return entry.migration is not None and (
        entry.reason is not Reason.CHANGED or (entry.record is not None and entry.filename == entry.record.filename)
    )


def _describe_unrelated(entries: tuple[PlanEntry, ...]) -> str:
    names = [entry.record.filename for entry in entries if entry.record]
    shown = ", ".join(names[:_NAMES_SHOWN]) + (" …" if names[_NAMES_SHOWN:] else "")
    return (
        f"none of the {len(names)} recorded migrations ({shown}) is one of these files; "
        "is this the right database? check its URL, KERNEL_MIGRATIONS_DIR and KERNEL_MIGRATIONS_TABLE"
    )


def describe_changed_file(migration: Migration, record: Record, *, by: str = "") -> str:
    """The message for a changed file; `by` is the command that restores it."""
    restore = f"restore it ({by})" if by else "restore it"
    when = f"{record.applied_at:%Y-%m-%d}"
    return f"changed after it was applied on {when}; {restore}, or {_accept_remedy(migration.version)}"


def describe_file_applied_empty(record: Record, *, is_newest: bool) -> str:
    """The message for a file that had no statement when it was applied, and has one now."""
    remedy = (
        "remove its record with inv db.rollback, then run inv db.migrate"
        if is_newest
        else "restore it, and write the statements into a new file: inv db.new"
    )
    return f"it had no statement when it was applied on {record.applied_at:%Y-%m-%d}, and none of it ran; {remedy}"


def describe_missing_file(record: Record, *, reason: str = "", remedy: str = "restore it from version control") -> str:
    """The message for a record without a file."""
    absent = f"there is no such file: {reason}" if reason else "there is no such file"
    return f"applied on {record.applied_at:%Y-%m-%d}, but {absent}; {remedy}"


def _accept_remedy(version: str) -> str:
    return f"accept it with: inv db.repair --accept {version}"


def _entry_without_record(
    migration: Migration, newest: str, partial: PartialRun | None, *, is_recorded: bool
) -> PlanEntry:
    """The entry of a pending file; `newest` is the last version that has a record or is partial, "" for none."""
    if partial:
        return PlanEntry(state=VersionState.PARTIAL, migration=migration, partial=partial)
    if not newest or migration.number > int(newest):
        return PlanEntry(state=VersionState.PENDING, migration=migration)
    drift = (
        f"pending, but {newest} is {'applied already' if is_recorded else 'partly applied'}; "
        f"{'' if is_recorded else 'put its record back if it ran before, or '}give it a later number with: "
        f"inv db.renumber {migration.filename}, or apply it where it is with: inv db.migrate --allow-out-of-order"
    )
    return PlanEntry(state=VersionState.OUT_OF_ORDER, migration=migration, drift=drift, reason=Reason.OUT_OF_ORDER)


def _entry_of_passed_file(entry: PlanEntry, migration: Migration, later: list[Migration]) -> PlanEntry:
    """The entry of a file of phase `after`: it is pending where files of phase `before` alone have passed it."""
    if any(one.phase is Phase.AFTER for one in later):
        return entry
    from kernel.migrations.passing import find_conflict  # noqa: PLC0415 - for few files

    for one in sorted(later, key=lambda one: one.number):
        if conflict := find_conflict(migration, one):
            drift = f"{entry.drift}; {one.filename} could not pass it: {conflict}"
            return replace(entry, drift=drift)
    return PlanEntry(state=VersionState.PENDING, migration=migration)


def _entry_without_file(record: Record, twin: Migration | None, *, ahead: bool) -> PlanEntry:
    drift, reason = "", None
    if twin:
        reason = Reason.RENUMBERED
        drift = (
            f"its content stands in {twin.filename}, which has no record; "
            f"number it {record.version} again, or {_accept_remedy(twin.version)}"
        )
    elif not ahead:
        drift, reason = describe_missing_file(record), Reason.GONE
    return PlanEntry(state=VersionState.MISSING, record=record, drift=drift, reason=reason)


def migrations_to_apply(
    plan: Plan, *, to: str = "", allow_out_of_order: bool = False, phase: Phase | None = None
) -> tuple[Migration, ...]:
    """The files that a run applies, in order, up to version `to`, and those of one phase if it is given.

    Raises UsageError when `to` names no file, PlanDrift when files and records disagree, and FilesInvalid for files
    that would run before one of the other phase which has to precede them.
    """
    last = parse_version(to) if to else None
    if last is not None and not any(entry.migration and entry.migration.number == last for entry in plan.entries):
        raise UsageError(f"--to {to}: no migration file has this version")
    if plan.drift(allow_out_of_order=allow_out_of_order):
        raise PlanDrift(plan, allow_out_of_order=allow_out_of_order)
    pending = tuple(migration for migration in plan.pending if last is None or migration.number <= last)
    if phase is None:
        return pending
    if allow_out_of_order:
        return tuple(migration for migration in pending if migration.phase is phase)
    from kernel.migrations.passing import files_of_phase  # noqa: PLC0415 - with --phase only

    return files_of_phase(pending, phase, is_new=not plan.applied_count)
