"""The migrations once more, among others: under the traffic of an application, and beside its own queries."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kernel import migrate
from kernel.rehearsal.queries import corpus
from kernel.rehearsal.queries.watch import watched
from kernel.rehearsal.traffic.measure import measure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kernel.files.migration import Migration
    from kernel.rehearsal.golden import Copy
    from kernel.rehearsal.queries.query import Query
    from kernel.rehearsal.result import Finding, Shut, Standstill
    from kernel.rehearsal.wish import Telling, Wish

_CLONE = "traffic"


@dataclass(frozen=True, slots=True, kw_only=True)
class Among:
    """How long others stood still, of each relation, and which queries the migrations broke or made dearer.

    `conditions` are (name, value) pairs of how it was looked at.
    """

    standstills: tuple[Standstill, ...] = ()
    findings: tuple[Finding, ...] = ()
    conditions: tuple[tuple[str, str], ...] = ()


def queries(wish: Wish) -> tuple[Query, ...]:
    """The application's queries, () when none are asked for. Raises FilesInvalid, UsageError, DatabaseUnreachable."""
    return corpus.read(wish.queries, wish.prod_db) if wish.queries else ()


def others(
    copy: Copy,
    found: tuple[Migration, ...],
    wish: Wish,
    telling: Telling,
    *,
    shut: Sequence[Shut],
    asked: Sequence[Query],
) -> Among:
    """Migrate another clone, while probes read and write what the first run had `shut`; nothing without either.

    Raises EnvironmentFailed.
    """
    relations = list({one.relation.oid: one.relation for one in shut}.values())
    if not relations and not asked:
        return Among()
    with (
        copy.clone(_CLONE) as clone,
        watched(clone.url, asked) if asked else nullcontext() as watch,
    ):
        traffic = measure(
            clone.url,
            found,
            migrate.Wish(patience=wish.patience),
            relations,
            reader_seconds=wish.reader_seconds,
            **({"observer": watch.following(lambda _event: None)} if watch else {}),
        )
    for note in (*traffic.notes, *([f"under traffic: {traffic.failed}"] if traffic.failed else [])):
        telling.say(f"note: {note}")
    if watch and watch.lost:
        telling.say(f"note: the queries were not looked at to the end: {watch.lost}")
    if watch and watch.left_out:
        telling.say(f"note: {len(watch.left_out)} of {len(asked)} queries do not run on the copy as it is; left out")
    return Among(
        standstills=traffic.standstills,
        findings=tuple(watch.findings) if watch else (),
        conditions=(
            ("probe sessions", str(traffic.sessions)),
            ("time between probes", f"{traffic.resolution_seconds * 1000:.0f} ms"),
            ("queries looked at", str(len(asked))),
            *([("reader in front", f"{wish.reader_seconds:.0f} s")] if wish.reader_seconds else []),
        ),
    )
