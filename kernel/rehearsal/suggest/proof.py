"""The proof: what was suggested comes to the same end as the originals, in schema and in rows.

Where rows differ, the originals run once more on another clone, for what differs between two runs of them is no fault
of the suggestion.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from kernel import database, ledger, migrate, units
from kernel.errors import MigrationFailed
from kernel.rehearsal.practice.fault import unheard
from kernel.rehearsal.schema import snapshot
from kernel.rehearsal.suggest import fresh, same

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from kernel.files.migration import Migration
    from kernel.rehearsal.golden import Copy
    from kernel.rehearsal.suggest.same import Apart
    from kernel.rehearsal.suggest.suggested import Suggested
    from kernel.rehearsal.wish import Wish

CLONE = "once_more"
_NO_TELLING = "; two runs of the originals differ so too, and nobody can tell which rows belong together"


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """Lines about what differs, and about values that are others in every run, of which only the number is compared."""

    differences: tuple[str, ...] = ()
    fresh: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ends:
    """Where the `originals` of a `copy`, the `last` of them included, have come to, and where the suggestion has: URLs.

    Both clones are there, and nobody is connected to them.
    """

    copy: Copy
    found: tuple[Migration, ...]
    last: str
    originals: str = field(repr=False)
    reached: str = field(repr=False)


def of(ends: Ends, suggested: Sequence[Suggested], wish: Wish) -> Proof:
    """Compare the ends, but for what is left on purpose. Raises EnvironmentFailed."""
    leaves = [leftover for one in suggested for leftover in one.leaves]
    expected = {column for one in suggested for column in one.fresh}
    without = {(one.table, one.column) for one in leaves} | expected
    with database.session(ends.originals) as session:
        aim, ours = snapshot.read(session), ledger.find(session).schema
    with database.session(ends.reached) as session:
        end = snapshot.read(session)
    rows = _Rows(ours=ours, jobs=wish.jobs)
    apart = rows.apart(ends.originals, ends.reached, without)
    found: fresh.Counts = {}
    again: tuple[Apart, ...] = ()
    if apart:
        again, found = _in_every_run(ends, rows, apart, without, wish)
    if found:
        apart = rows.apart(ends.originals, ends.reached, without | found.keys(), only={one.table for one in apart})
    return Proof(
        differences=(
            *same.schema(aim, end, leaves),
            *(f"{one}{_NO_TELLING if fresh.inserted(one, again) else ''}" for one in apart),
            *same.unfilled(ends.originals, ends.reached, expected | found.keys(), jobs=wish.jobs),
        ),
        fresh=tuple(
            f"{table}: {units.several(count, 'value')} of {column}" for (table, column), count in sorted(found.items())
        ),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rows:
    """How rows are compared here: not those of our tables, which are in the schema `ours`."""

    ours: str
    jobs: int

    def apart(
        self,
        wanted: str,
        reached: str,
        without: Collection[tuple[str, str]],
        *,
        only: Collection[str] | None = None,
    ) -> tuple[Apart, ...]:
        return same.rows(wanted, reached, self.ours, without=without, jobs=self.jobs, only=only)


def _in_every_run(
    ends: Ends, rows: _Rows, apart: Sequence[Apart], without: Collection[tuple[str, str]], wish: Wish
) -> tuple[tuple[Apart, ...], fresh.Counts]:
    """How a second run of the originals differs from the first, and which columns of `apart` that explains."""
    tables = {one.table for one in apart}
    with ends.copy.clone(CLONE) as clone:
        try:
            with database.session(clone.url) as session:
                migrate.migrate(session, ends.found, migrate.Wish(to=ends.last, patience=wish.patience), unheard)
        except MigrationFailed:
            return (), {}  # what cannot be had twice on one server, a role, explains nothing
        again = rows.apart(ends.originals, clone.url, without, only=tables)
    golden = ends.copy.url
    changes, suggested = (rows.apart(golden, url, without, only=tables) for url in (ends.originals, ends.reached))
    return again, fresh.columns(apart, again, changes, suggested)
