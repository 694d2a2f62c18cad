"""The second run of the migrations, under the traffic of an application and with its own queries prepared."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kernel.operations.migrate import MigrateOptions
from kernel.rehearsal.queries.watch import watch_queries
from kernel.rehearsal.traffic.measure import measure_traffic
from kernel.units import format_quantity

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kernel.lint.finding import Finding
    from kernel.migrations.migration import Migration
    from kernel.rehearsal.prod_copy import ProdCopy
    from kernel.rehearsal.queries.corpus import ApplicationQuery
    from kernel.rehearsal.request import RehearsalRequest, Reporter
    from kernel.rehearsal.result import BlockedTime, Standstill


@dataclass(frozen=True, slots=True, kw_only=True)
class SecondRun:
    """How long reads and writes of each relation waited, and which queries broke or became more expensive.

    `environment` holds (name, value) pairs: how the traffic was measured.
    """

    standstills: tuple[Standstill, ...] = ()
    query_findings: tuple[Finding, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()


def run_under_traffic(
    copy: ProdCopy,
    migrations: tuple[Migration, ...],
    request: RehearsalRequest,
    reporter: Reporter,
    *,
    blocking: Sequence[BlockedTime],
    queries: Sequence[ApplicationQuery],
    later_queries: Sequence[ApplicationQuery] = (),
) -> SecondRun:
    """Migrate another clone, while sessions read and write the relations that were blocked in the first run.

    `later_queries` are those of the version that is deployed between the phases.
    Does nothing without such relations and without queries. Raises EnvironmentFailed.
    """
    relations = list({one.relation.oid: one.relation for one in blocking}.values())
    watched = (*queries, *later_queries)
    if not relations and not watched:
        return SecondRun()
    with (
        copy.clone("traffic") as clone,
        watch_queries(clone.url, queries, later_queries) if watched else nullcontext() as watch,
    ):
        traffic = measure_traffic(
            clone.url,
            migrations,
            MigrateOptions(waits=request.waits, by_phase=True),
            relations,
            reader_seconds=request.reader_seconds,
            migrations_table=request.migrations_table,
            role=request.role,
            observer=watch.observe if watch else lambda _event: None,
        )
        if watch and not traffic.failure:
            watch.begin_later_version()
    for note in (*traffic.notes, *([f"under traffic: {traffic.failure}"] if traffic.failure else [])):
        reporter.print_line(f"note: {note}")
    if watch and watch.stop_reason:
        reporter.print_line(f"note: the queries were not checked to the end: {watch.stop_reason}")
    if watch and watch.refused:
        reporter.print_line(
            f"note: left out of {format_quantity(len(watched), 'query', 'queries')}: {len(watch.refused)}, "
            "which the copy refuses before the migrations"
        )
    return SecondRun(
        standstills=traffic.standstills,
        query_findings=tuple(watch.findings) if watch else (),
        environment=(
            ("probe sessions", str(traffic.session_count)),
            ("time between probes", f"{traffic.resolution_seconds * 1000:.0f} ms"),
            ("queries looked at", str(len(watched))),
            *([("reader in front", f"{request.reader_seconds:.0f} s")] if request.reader_seconds else []),
        ),
    )
