"""Whether two databases, cloned from one golden copy and migrated in two ways, have come to the same end.

Schemas are compared by name. So are columns: one that was swapped has another number than one whose type was changed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from psycopg import sql

from kernel import ledger, units
from kernel.apply import progress
from kernel.rehearsal.data import catalog, compare, sides, statistics, touched
from kernel.rehearsal.schema.difference import difference
from kernel.rehearsal.schema.value import Schema

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from kernel.rehearsal.data.catalog import Relation
    from kernel.rehearsal.data.sides import Sides
    from kernel.rehearsal.schema.value import Thing
    from kernel.rehearsal.suggest.suggested import Leftover


def schema(wanted: Schema, reached: Schema, leaves: Sequence[Leftover]) -> tuple[str, ...]:
    """What makes the schema that was reached another one than what was wanted, but for what is left on purpose."""
    columns = {(one.table, one.column) for one in leaves if one.column}
    ordered = {one.table for one in leaves if not one.column}
    places = {thing.name: thing.place for thing in wanted.things if thing.place}
    kept = (thing for thing in reached.things if (_table(thing), thing.bare) not in columns)
    things = (
        thing._replace(place=places.get(thing.name, thing.place)) if _table(thing) in ordered else thing
        for thing in kept
    )
    return difference(wanted, Schema(things=tuple(things)), oids=False)


def _table(column: Thing) -> str:
    """The table of a column as its name says it, "" for everything else."""
    for end in (f".{column.bare}", _quoted(column.bare)) if column.place else ():
        if column.name.endswith(end):
            return column.name.removesuffix(end)
    return ""


def _quoted(bare: str) -> str:
    return '."' + bare.replace('"', '""') + '"'


@dataclass(frozen=True, slots=True, kw_only=True)
class Apart:
    """How the rows of a table differ; `columns` are (name, number of rows that have another value there)."""

    table: str
    added: int = 0
    removed: int = 0
    changed: int = 0
    columns: tuple[tuple[str, int], ...] = ()

    def __str__(self) -> str:
        counts = ((self.added, "too many"), (self.removed, "missing"), (self.changed, "different"))
        told = ", ".join(f"{units.several(count, 'row')} {what}" for count, what in counts if count)
        columns = ", ".join(name for name, _ in self.columns)
        return f"{self.table}: {told}{f' in {columns}' if columns else ''}"


def rows(
    wanted: str,
    reached: str,
    ours: str,
    *,
    without: Collection[tuple[str, str]],
    jobs: int,
    only: Collection[str] | None = None,
) -> tuple[Apart, ...]:
    """The tables whose rows differ, `without` these columns of them (table, column); `only` these tables, if told.

    `wanted` and `reached` are URLs, `ours` is the schema of the ledger, which is not compared. Raises
    EnvironmentFailed.
    """
    with sides.opened(wanted, reached, jobs=jobs) as both:
        for connection in (both.golden, both.clone):
            statistics.complete(connection)
        before, after = catalog.read(both.golden), catalog.read(both.clone)
        written = {oid for oid, one in before.items() if one.written}
        names = {one.quoted: one for one in before.values()}
        before = {oid: _as_before(one, one, without) for oid, one in before.items() if not _is_ours(one, ours)}
        after = {
            oid: _as_before(one, names.get(one.quoted), without)
            for oid, one in after.items()
            if not _is_ours(one, ours)
        }
        return tuple(_differing(both, before, after, written, only))


def unfilled(wanted: str, reached: str, columns: Collection[tuple[str, str]], *, jobs: int) -> tuple[str, ...]:
    """Lines about columns (table, column) that have a value in more rows there, or in fewer; both sides have them."""
    with sides.opened(wanted, reached, jobs=jobs) as both:
        there = [
            {(one.quoted, column.name) for one in catalog.read(side).values() for column in one.columns}
            for side in (both.golden, both.clone)
        ]
        return tuple(_unfilled(both, there[0] & there[1] & set(columns)))


def _is_ours(one: Relation, schema_name: str) -> bool:
    return one.schema == schema_name and one.name in (ledger.TABLE, progress.TABLE)


def _as_before(one: Relation, before: Relation | None, without: Collection[tuple[str, str]]) -> Relation:
    """A relation whose columns have the numbers of those of the same name there, and not those that are left out."""
    numbers = {column.name: column.number for column in before.columns} if before else {}
    new = {column.number: numbers.get(column.name, -column.number) for column in one.columns}
    return replace(
        one,
        columns=tuple(
            replace(column, number=new[column.number])
            for column in one.columns
            if (one.quoted, column.name) not in without
        ),
        keys=tuple(tuple(new[number] for number in key) for key in one.keys),
    )


def _differing(
    both: Sides,
    before: Mapping[int, Relation],
    after: Mapping[int, Relation],
    written: Collection[int],
    only: Collection[str] | None,
) -> Iterator[Apart]:
    for table in touched.tables(before, after, written=written):
        if table.before is None or table.after is None or not table.touched:
            continue  # a table that only one side has is the schema's affair
        if only is not None and table.head.quoted not in only:
            continue
        found = compare.difference(both, table, table.before, table.after)
        if found.added or found.removed or found.changed or found.rows_before != found.rows_after:
            yield Apart(
                table=table.head.quoted,
                added=found.added,
                removed=found.removed,
                changed=found.changed,
                columns=tuple((one.column.name, one.rows) for one in found.columns),
            )


def _unfilled(both: Sides, fresh: Collection[tuple[str, str]]) -> Iterator[str]:
    for table, column in sorted(fresh):
        # The table's name comes from the server, quoted.
        counted = sql.SQL("SELECT count({}) FROM {}").format(sql.Identifier(column), sql.SQL(table))
        ((ours,),), ((theirs,),) = both.both(counted, counted)
        if ours != theirs:
            yield f"{table}: {units.several(theirs, 'row')} with a value in {column}, and not {units.count(ours)}"
