"""The pending migrations once more, by the very code of db.migrate, under the traffic of an application."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kernel.apply.events import MigrationRetrying
from kernel.db.connection import open_session
from kernel.errors import MigrationFailed
from kernel.operations.migrate import MigrateOptions, migrate
from kernel.rehearsal.traffic.load import TrafficLoad
from kernel.rehearsal.traffic.probe import create_probes, summarize_standstills
from kernel.rehearsal.traffic.session import hold_long_transaction

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kernel.apply.events import Event, Observer
    from kernel.migrations.migration import Migration
    from kernel.rehearsal.result import Relation, Standstill
    from kernel.rehearsal.traffic.probe import Probe


@dataclass(frozen=True, slots=True, kw_only=True)
class TrafficResult:
    """What an application would have felt of each relation, the worst first, and how closely that was looked at.

    `resolution_seconds` is the time between two reads, or two writes, of one relation by the `sessions`: a standstill
    shorter than that may have been missed. `retries` counts how often a file was rolled back because of others, and ran
    again. `failed` is why the migrations ended early, "" when all were applied. `notes` are sentences about what was
    not measured to the end.
    """

    standstills: tuple[Standstill, ...]
    seconds: float
    resolution_seconds: float
    session_count: int
    probe_count: int
    retries: int = 0
    failure: str = ""
    notes: tuple[str, ...] = ()


def measure_traffic(
    url: str,
    found: tuple[Migration, ...],
    wish: MigrateOptions,
    tables: Sequence[Relation],
    *,
    reader_seconds: float = 0.0,
    observer: Observer = lambda _event: None,
) -> TrafficResult:
    """Apply what is pending on the clone at `url`, while sessions read and write the `tables` many times a second.

    `tables` are those that a first run locked, with their OIDs and names in a clone like this one; what is no table and
    no view, and what the migrations made themselves, is left out. With `reader_seconds` a transaction that has read all
    of them stands in front for so long. The run waits, gives up and tries again as db.migrate does; a migration that
    fails ends it, and is told.

    Raises what migrate.migrate raises but MigrationFailed; DatabaseUnreachable. No session is left behind.
    """
    retries: list[MigrationRetrying] = []

    def told(event: Event) -> None:
        if isinstance(event, MigrationRetrying):
            retries.append(event)
        observer(event)

    failed = ""
    with open_session(url) as session:
        probes = create_probes(session.connection, [one for one in dict.fromkeys(tables) if not one.created])
        with TrafficLoad(url, probes) as load:
            load.start_counting()
            with hold_long_transaction(url, probes, seconds=reader_seconds):
                began = time.monotonic()
                try:
                    migrate(session, found, wish, told)
                except MigrationFailed as error:
                    failed = f"{error.failure.file}: {error}"
                seconds = time.monotonic() - began
    return TrafficResult(
        standstills=summarize_standstills(dict.fromkeys(one.relation for one in probes), load.waits),
        seconds=seconds,
        resolution_seconds=load.interval_seconds,
        session_count=load.session_count,
        probe_count=load.probe_count,
        retries=len(retries),
        failure=failed,
        notes=tuple(_traffic_notes(load.vanished_probes, load.stop_reason)),
    )


def _traffic_notes(gone: Sequence[Probe], lost: str) -> list[str]:
    kinds: dict[str, set[str]] = {}
    for one in gone:
        kinds.setdefault(one.relation.name, set()).add(f"{one.kind.value}s")
    notes = [f"{name}: {' and '.join(sorted(kinds[name]))} were asked for until it was gone" for name in kinds]
    return [*notes, f"traffic ended early: {lost}"] if lost else notes
