"""What is wrong in the clone whatever the rows are: sequences, indexes, constraints, keys near their end."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from kernel.rehearsal.data import catalog, counters, safeguards, sides, touched, violators
from kernel.rehearsal.data.counters import Behind, NearEnd

if TYPE_CHECKING:
    from kernel.database import Connection
    from kernel.rehearsal.data.safeguards import Gone
    from kernel.rehearsal.result import Violation

_INVALID = """
SELECT i.indexrelid::bigint, i.indexrelid::regclass::text, i.indrelid::regclass::text FROM pg_index i
WHERE NOT i.indisvalid ORDER BY 2
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Invalid:
    """An index that no query uses and that every write pays for."""

    index: str
    table: str
    before: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Unvalidated:
    """A constraint that is NOT VALID, and the rows that violate it, 0 of them if it could be validated."""

    violation: Violation
    before: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Sanity:
    """All of it, each in the order of names; `before` tells of each that production has the fault already."""

    behind: tuple[Behind, ...]
    near_end: tuple[NearEnd, ...]
    invalid: tuple[Invalid, ...]
    unvalidated: tuple[Unvalidated, ...]
    gone: tuple[Gone, ...]


def look(golden: str, clone: str, *, jobs: int = 2) -> Sanity:
    """Look at the clone, given by its URL as the golden copy is. Raises as check.check."""
    with sides.opened(golden, clone, jobs=jobs) as both:
        tables = touched.tables(catalog.read(both.golden), catalog.read(both.clone))
        old = list(counters.troubled(both.golden))
        old_behind = {one.sequence for one in old if isinstance(one, Behind)}
        old_near_end = {one.column for one in old if isinstance(one, NearEnd)}
        troubled = list(counters.troubled(both.clone))
        old_invalid = {row[0] for row in _rows(both.golden, _INVALID)}
        old_unvalidated = {one.oid for one in violators.unvalidated(both.golden)}
        return Sanity(
            behind=tuple(
                replace(one, before=one.sequence in old_behind) for one in troubled if isinstance(one, Behind)
            ),
            near_end=tuple(
                replace(one, before=one.column in old_near_end) for one in troubled if isinstance(one, NearEnd)
            ),
            invalid=tuple(
                Invalid(index=index, table=table, before=oid in old_invalid)
                for oid, index, table in _rows(both.clone, _INVALID)
            ),
            unvalidated=tuple(
                Unvalidated(violation=violators.of_constraint(both.clone, one), before=one.oid in old_unvalidated)
                for one in violators.unvalidated(both.clone)
            ),
            gone=tuple(safeguards.gone(tables, safeguards.read(both.golden), safeguards.read(both.clone))),
        )


def _rows(connection: Connection, query: str) -> list[sides.Row]:
    return connection.execute(query.encode()).fetchall()
