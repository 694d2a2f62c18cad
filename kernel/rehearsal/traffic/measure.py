"""Apply the pending migrations with the code of db.migrate, under the traffic of an application."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kernel.config.ledger_name import DEFAULT_LEDGER
from kernel.db.connection import open_session
from kernel.errors import MigrationFailed
from kernel.operations.migrate import MigrateOptions, migrate
from kernel.rehearsal.traffic.load import TrafficLoad
from kernel.rehearsal.traffic.probe import create_probes, summarize_standstills
from kernel.rehearsal.traffic.session import hold_long_transaction

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kernel.apply.events import Observer
    from kernel.config.ledger_name import LedgerName
    from kernel.migrations.migration import Migration
    from kernel.rehearsal.result import Relation, Standstill
    from kernel.rehearsal.traffic.probe import Probe


@dataclass(frozen=True, slots=True, kw_only=True)
class TrafficResult:
    """How long an application's reads and writes of each relation waited, the longest first.

    `resolution_seconds` is the time between two reads, or two writes, of one relation: a shorter standstill may have
    been missed. `session_count` sessions sent them. `failure` is the error that ended the migrations, "" when all were
    applied. `notes` are sentences about what was not measured to the end.
    """

    standstills: tuple[Standstill, ...]
    resolution_seconds: float
    session_count: int
    failure: str
    notes: tuple[str, ...]


def measure_traffic(
    url: str,
    migrations: tuple[Migration, ...],
    options: MigrateOptions,
    relations: Sequence[Relation],
    *,
    reader_seconds: float = 0.0,
    observer: Observer = lambda _event: None,
    migrations_table: LedgerName = DEFAULT_LEDGER,
    role: str = "",
) -> TrafficResult:
    """Apply the pending migrations to the clone at `url`, while sessions read and write `relations`.

    `relations` are those that the first run locked, with their OIDs and names before it; relations other than tables
    and views, and those that the migrations create, are left out. With `reader_seconds` a transaction that has read all
    of them is open for that long. Lock timeouts and retries are those of db.migrate; a migration that fails ends the
    run.

    Raises what migrate raises except MigrationFailed; DatabaseUnreachable. Every session is closed.
    """
    failure = ""
    with open_session(url, role=role, migrations_table=migrations_table) as session:
        probes = create_probes(session.connection, [one for one in dict.fromkeys(relations) if not one.created])
        with TrafficLoad(url, probes) as load:
            load.start_counting()
            with hold_long_transaction(url, probes, seconds=reader_seconds):
                try:
                    migrate(session, migrations, options, observer)
                except MigrationFailed as error:
                    failure = f"{error.failure.file}: {error}"
    return TrafficResult(
        standstills=summarize_standstills(dict.fromkeys(probe.relation for probe in probes), load.waits),
        resolution_seconds=load.interval_seconds,
        session_count=load.session_count,
        failure=failure,
        notes=tuple(_traffic_notes(load.vanished_probes, load.stop_reason)),
    )


def _traffic_notes(vanished_probes: Sequence[Probe], stop_reason: str) -> list[str]:
    kinds: dict[str, set[str]] = {}
    for probe in vanished_probes:
        kinds.setdefault(probe.relation.name, set()).add(f"{probe.kind.value}s")
    notes = [f"{name}: {' and '.join(sorted(kinds[name]))} were sent until it was dropped" for name in kinds]
    return [*notes, f"traffic ended early: {stop_reason}"] if stop_reason else notes
