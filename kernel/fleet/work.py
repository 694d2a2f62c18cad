"""What is done for one target, where the work is done: read its state, or migrate it in a session of its own."""

from __future__ import annotations

import hashlib
import threading
import time
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

from kernel.apply.events import MigrationApplied
from kernel.apply.executor import WaitLimits
from kernel.config.ledger_name import DEFAULT_LEDGER, LedgerName
from kernel.db.connection import open_session
from kernel.db.unrecorded import refuse_tables_without_ledger
from kernel.errors import DatabaseRefused, Interrupted, KernelError, MigrationFailed
from kernel.fleet.kept_sessions import NEEDS_SESSION_APART, SessionApartNeeded
from kernel.fleet.outcome import (
    RecordLine,
    TargetError,
    TargetOutcome,
    TargetState,
    TargetStatus,
    describe_error,
    outcome_versions,
    state_after,
)
from kernel.fleet.shared_scripts import SharedScripts
from kernel.migrations.paired_files import VERIFY_FOLDER
from kernel.migrations.repeatable_names import discover_repeatable
from kernel.operations.migrate import MigrateOptions, migrate, prepare_migrate
from kernel.plan import read_status
from kernel.units import format_seconds

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from kernel.apply.events import Event, Observer
    from kernel.db.connection import Session
    from kernel.fleet.addresses import Addresses
    from kernel.fleet.kept_sessions import KeptSessions
    from kernel.fleet.target import Target
    from kernel.migrations.migration import Migration
    from kernel.migrations.phases import Phase
    from kernel.migrations.script import Script
    from kernel.operations.migrate import ParseScript
    from kernel.plan import Status

_SCHEMA_EXISTS = "SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = %s)"


def files_digest(migrations: Sequence[Migration]) -> str:
    """The SHA-256 of the names and checksums of the files, those in repeatable/ and verify/ included, in hex."""
    directory = migrations[0].directory
    files = (*migrations, *discover_repeatable(directory))
    lines = [f"{migration.filename} {migration.checksum}\n" for migration in files]
    lines += [
        f"{name} {hashlib.sha256((directory / name).read_bytes()).hexdigest()}\n"
        for name in verification_names(migrations)
    ]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def verification_names(migrations: Sequence[Migration]) -> tuple[str, ...]:
    """The files in verify/ that run with these migrations, by their paths below the directory."""
    names = (f"{VERIFY_FOLDER}/{migration.filename}" for migration in migrations)
    return tuple(name for name in names if (migrations[0].directory / name).exists())


def shares_sessions(work: Work) -> bool:
    """Whether schemas may share sessions, as far as files go that are not parsed for each target."""
    directory = work.migrations[0].directory
    paths = [one.path for one in discover_repeatable(directory)]
    paths += [directory / name for name in verification_names(work.migrations)]
    return not any(work.scripts.contains(path, NEEDS_SESSION_APART) for path in paths)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkOptions:
    """The options of a run that are the same for all targets.

    `to` is the last version, "" for all; `phase` the only one to apply, None for both. `ignored_drift` are the names
    and patterns of objects in which catalogs may differ.
    """

    ledger: LedgerName = DEFAULT_LEDGER
    role: str = ""
    ignored_drift: tuple[str, ...] = ()
    to: str = ""
    phase: Phase | None = None
    allow_out_of_order: bool = False
    dry_run: bool = False
    waits: WaitLimits = field(default_factory=WaitLimits)


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What the work on a target takes, shared by all threads of a process. `stop` ends all runs as Ctrl-C would.

    `kept` are the sessions that schemas share, None where each has its own.
    """

    migrations: tuple[Migration, ...]
    addresses: Addresses
    options: WorkOptions
    scripts: SharedScripts = field(default_factory=SharedScripts)
    stop: threading.Event = field(default_factory=threading.Event)
    kept: KeptSessions | None = None

    def ledger_of(self, target: Target) -> LedgerName:
        """The ledger of a target; that of a schema is its own."""
        return replace(self.options.ledger, schema=target.schema) if target.schema else self.options.ledger

    def open_session(self, target: Target) -> AbstractContextManager[Session]:
        """A session to migrate a target. Raises what `open_session` raises."""
        ledger, role = self.ledger_of(target), self.options.role
        if self.kept:
            return self.kept.open(target, self.addresses, role=role, ledger=ledger)
        url = self.addresses.url(target)
        return open_session(url, variable=str(target.address), role=role, migrations_table=ledger)


class _RunEndedError(KeyboardInterrupt):
    """Ends a run between two events, as a signal ends db.migrate: the statement is cancelled and rolled back."""


def read_targets(targets: Sequence[Target], work: Work) -> tuple[TargetStatus, ...]:
    """Read the state of targets of one database, over one connection. Errors are part of the result."""
    found: list[TargetStatus] = []
    try:
        with open_session(
            work.addresses.url(replace(targets[0], schema="")),
            variable=str(targets[0].address),
            role=work.options.role,
        ) as session:
            for target in targets:
                if work.stop.is_set():
                    break
                found.append(_read_target(replace(session, migrations_table=work.ledger_of(target)), target, work))
    except KernelError as error:
        rest = targets[len(found) :]
        found += [TargetStatus(name=one.name, state=state_after(error), error=describe_error(error)) for one in rest]
    return tuple(found)


def _read_target(session: Session, target: Target, work: Work) -> TargetStatus:
    try:
        status = _read_status(session, target, work)
        result = _describe_status(target.name, status)
        if status.plan.pending:
            refuse_tables_without_ledger(session, status.ledger)
    except KernelError as error:
        return TargetStatus(
            name=target.name, state=state_after(error), database=session.name, error=describe_error(error)
        )
    return result


def _read_status(session: Session, target: Target, work: Work) -> Status:
    try:
        return read_status(session, work.migrations)
    except DatabaseRefused:
        _refuse_lost_schema(session, target)
        raise


def _describe_status(name: str, status: Status) -> TargetStatus:
    plan = status.plan
    version = ""
    for entry in plan.entries:
        if not (entry.record or entry.stands_for):
            break
        version = entry.version
    drift = plan.drift()
    error = None
    pending = len(plan.pending) + len(status.pending_repeatable)
    state = TargetState.PENDING if pending else TargetState.CURRENT
    if drift:
        state = TargetState.DRIFT
        error = TargetError(code="drift", exit=4, message="; ".join(map(str, drift)))
    return TargetStatus(
        name=name,
        state=state,
        database=status.database,
        version=version,
        applied=plan.applied_count,
        pending=pending,
        ahead=tuple(record.filename for record in plan.records_ahead),
        records=tuple(
            RecordLine(version=record.version, filename=record.filename, checksum=record.checksum)
            for record in (*plan.replaced_records, *(entry.record for entry in plan.entries if entry.record))
        ),
        error=error,
    )


def _refuse_lost_schema(session: Session, target: Target) -> None:
    """Raise DatabaseRefused when the schema of a target does not exist, which a new ledger would not be made in."""
    if target.schema and session.connection.execute(_SCHEMA_EXISTS, (target.schema,)).fetchone() != (True,):
        raise DatabaseRefused(
            f"{session.name}: there is no schema {target.schema}; "
            "it was dropped since the inventory was read, or its name in the inventory is wrong"
        )


def migrate_target(target: Target, timeout_seconds: float | None, work: Work) -> TargetOutcome:
    """Migrate a target as db.migrate would. Errors are part of the result; a run that takes too long is rolled back."""
    began = time.monotonic()
    ending = ""
    committed: list[str] = []

    def watch(event: Event) -> None:
        nonlocal ending
        if isinstance(event, MigrationApplied):
            committed.append(event.migration.filename)
        if work.stop.is_set():
            ending = "interrupted"
        elif timeout_seconds and time.monotonic() - began > timeout_seconds:
            ending = f"not done within {format_seconds(timeout_seconds)}"
        if ending:
            raise _RunEndedError

    outcome = partial(TargetOutcome, name=target.name)
    if work.stop.is_set():
        return outcome(state=TargetState.NOT_STARTED)
    try:
        try:
            applied, pending = _migrate(target, work, watch)
        except SessionApartNeeded:
            applied, pending = _migrate(target, work, watch)
    except _RunEndedError:
        state = TargetState.INTERRUPTED if work.stop.is_set() else TargetState.TIMED_OUT
        message = f"{ending}; what had not committed is rolled back, running again continues"
        exit_code = Interrupted.exit if state is TargetState.INTERRUPTED else MigrationFailed.exit
        error = TargetError(code=str(state), exit=exit_code, message=message)
        before, after = _versions_after(committed, work)
        return outcome(
            state=state,
            from_version=before,
            to_version=after,
            applied=tuple(committed),
            seconds=time.monotonic() - began,
            error=error,
        )
    except KernelError as error:
        left = error.pending if isinstance(error, MigrationFailed) else None
        before, after = _versions_after(committed, work, pending=left)
        return outcome(
            state=state_after(error),
            from_version=before,
            to_version=after,
            applied=tuple(committed),
            seconds=time.monotonic() - began,
            error=describe_error(error),
        )
    before, after = outcome_versions(work.migrations, applied=applied, pending=pending)
    would = TargetState.PENDING if work.options.dry_run else TargetState.APPLIED
    return outcome(
        state=would if applied else TargetState.CURRENT,
        from_version=before,
        to_version=after,
        applied=applied,
        seconds=time.monotonic() - began,
    )


def _versions_after(committed: Sequence[str], work: Work, *, pending: Sequence[str] | None = None) -> tuple[str, str]:
    """The versions before and after a run that ended early; without `pending`, all files after those it committed."""
    if pending is None and not committed:
        return "", ""  # what was applied before is not known
    if pending is None:
        names = [one.filename for one in work.migrations]
        pending = names[1 + max((names.index(name) for name in committed if name in names), default=-1) :]
    return outcome_versions(work.migrations, applied=committed, pending=pending)


def _parser(session: Session, work: Work) -> ParseScript:
    """What reads the pending files; it raises SessionApartNeeded for those that may not run in a shared session."""

    def parse(path: Path, name: str, *, keep_bytes: int, ledger: LedgerName) -> Script:
        if work.scripts.contains(path, NEEDS_SESSION_APART):
            raise SessionApartNeeded
        return work.scripts.parse(path, name, keep_bytes=keep_bytes, ledger=ledger)

    return parse if session.runner_settings else work.scripts.parse


def _migrate(target: Target, work: Work, watch: Observer) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Migrate, or plan it; returns the files that are applied, or would be, and those that are still pending then."""
    given = work.options
    with work.open_session(target) as session:
        options = MigrateOptions(
            to=given.to,
            phase=given.phase,
            allow_out_of_order=given.allow_out_of_order,
            waits=given.waits,
            single_connection=True,
            parse=_parser(session, work),
        )
        try:
            if given.dry_run:
                prepared = prepare_migrate(session, work.migrations, options)
                would = tuple(migration.filename for migration in prepared.migrations)
                return would, tuple(one.filename for one in prepared.status.plan.pending if one.filename not in would)
            result = migrate(session, work.migrations, options, watch)
        except DatabaseRefused:
            if not session.connection.closed:
                _refuse_lost_schema(session, target)
            raise
    applied = tuple(one.migration.filename for one in (*result.applied, *result.repeated))
    return applied, tuple(one.filename for one in result.pending)
