"""The migrations once more, among others: under the traffic of an application, and beside its own queries."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kernel.operations.migrate import MigrateOptions
from kernel.rehearsal.queries.corpus import read_queries
from kernel.rehearsal.queries.watch import watch_queries
from kernel.rehearsal.traffic.measure import measure_traffic

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kernel.lint.finding import Finding
    from kernel.migrations.migration import Migration
    from kernel.rehearsal.prod_copy.copy import ProdCopy
    from kernel.rehearsal.queries.corpus import ApplicationQuery
    from kernel.rehearsal.request import RehearsalRequest, Reporter
    from kernel.rehearsal.result import BlockedTime, Standstill


_CLONE_NAME = "traffic"


@dataclass(frozen=True, slots=True, kw_only=True)
class SecondRun:
    """How long others stood still, of each relation, and which queries the migrations broke or made dearer.

    `conditions` are (name, value) pairs of how it was looked at.
    """

    standstills: tuple[Standstill, ...] = ()
    findings: tuple[Finding, ...] = ()
    conditions: tuple[tuple[str, str], ...] = ()


def read_requested_queries(wish: RehearsalRequest) -> tuple[ApplicationQuery, ...]:
    """The application's queries, () when none are asked for. Raises FilesInvalid, UsageError, DatabaseUnreachable."""
    return read_queries(wish.queries, wish.prod_db) if wish.queries else ()


def run_under_traffic(
    copy: ProdCopy,
    found: tuple[Migration, ...],
    wish: RehearsalRequest,
    telling: Reporter,
    *,
    shut: Sequence[BlockedTime],
    asked: Sequence[ApplicationQuery],
) -> SecondRun:
    """Migrate another clone, while probes read and write what the first run had `shut`; nothing without either.

    Raises EnvironmentFailed.
    """
    relations = list({one.relation.oid: one.relation for one in shut}.values())
    if not relations and not asked:
        return SecondRun()
    with (
        copy.clone(_CLONE_NAME) as clone,
        watch_queries(clone.url, asked) if asked else nullcontext() as watch,
    ):
        traffic = measure_traffic(
            clone.url,
            found,
            MigrateOptions(waits=wish.waits),
            relations,
            reader_seconds=wish.reader_seconds,
            **({"observer": watch.wrap_observer(lambda _event: None)} if watch else {}),
        )
    for note in (*traffic.notes, *([f"under traffic: {traffic.failure}"] if traffic.failure else [])):
        telling.print_line(f"note: {note}")
    if watch and watch.stop_reason:
        telling.print_line(f"note: the queries were not looked at to the end: {watch.stop_reason}")
    if watch and watch.refused:
        telling.print_line(
            f"note: {len(watch.refused)} of {len(asked)} queries do not run on the copy as it is; left out"
        )
    return SecondRun(
        standstills=traffic.standstills,
        findings=tuple(watch.findings) if watch else (),
        conditions=(
            ("probe sessions", str(traffic.session_count)),
            ("time between probes", f"{traffic.resolution_seconds * 1000:.0f} ms"),
            ("queries looked at", str(len(asked))),
            *([("reader in front", f"{wish.reader_seconds:.0f} s")] if wish.reader_seconds else []),
        ),
    )
