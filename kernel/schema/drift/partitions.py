"""Partitions that a job makes: tables of the database that no file makes, and that equal the table they belong to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kernel.schema.diff import printable_line
from kernel.units import format_quantity

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from kernel.schema.drift.statements import SchemaParts
    from kernel.schema.snapshot import Fact, SchemaObject


_COLUMN_LABELS = ("type", "collation", "NOT NULL", "default", "generated")
_PART_KINDS = ("constraint", "index", "trigger", "rule", "policy", "statistics")


@dataclass(frozen=True, slots=True)
class JobPartitions:
    """The partitions by the key of the partitioned table of the files; `keys` are those of all of them."""

    by_table: Mapping[str, tuple[SchemaObject, ...]]
    keys: frozenset[str]

    def notes(self, live: SchemaParts) -> Iterator[str]:
        """A line for each partitioned table."""
        for key, partitions in self.by_table.items():
            table = live.by_key[key]
            count = format_quantity(len(partitions), "partition")
            verb, equal = ("is", "equals") if len(partitions) == 1 else ("are", "equal")
            yield printable_line(
                f"{table.kind} {table.name}: {count} that no file makes {verb} there, such as "
                f"{partitions[0].name}; {'it' if verb == 'is' else 'they'} {equal} the table"
            )


def job_partitions(extra: Collection[SchemaObject], live: SchemaParts, common: Collection[str]) -> JobPartitions:
    """The partitions among the extra objects whose table, directly or through another partition, is a common one."""
    tables = {obj.name: obj for obj in live.by_key.values() if obj.kind == "partitioned table"}
    candidates = {obj.key: parent for obj in extra if (parent := tables.get(_parent_name(obj.fact("partition of"))))}
    found: dict[str, list[SchemaObject]] = {}
    keys: set[str] = set()
    for obj in extra:
        root = _root(obj, candidates, live)
        if root is not None and root.key in common:
            found.setdefault(root.key, []).append(obj)
            keys.add(obj.key)
    return JobPartitions({key: tuple(partitions) for key, partitions in found.items()}, frozenset(keys))


def _parent_name(partition_of: Fact) -> str:
    """The name before the bound: "public.events FOR VALUES FROM …" or "public.events DEFAULT"."""
    text = str(partition_of or "")
    return text.removesuffix(" DEFAULT") if text.endswith(" DEFAULT") else text.partition(" FOR VALUES ")[0]


def _root(obj: SchemaObject, candidates: Mapping[str, SchemaObject], live: SchemaParts) -> SchemaObject | None:
    """The table at the top of equal partitions; None for what is no partition, or not equal to its table."""
    current = obj
    while current.key in candidates:
        parent = candidates[current.key]
        if not _equals_parent(current, parent, live):
            return None
        current = parent
    return None if current is obj else current


def _equals_parent(partition: SchemaObject, parent: SchemaObject, live: SchemaParts) -> bool:
    """Whether columns and constraints are those of the parent, and nothing was added to the partition itself."""
    columns, of_parent = (
        {one.bare_name: tuple(one.fact(label) for label in _COLUMN_LABELS) for one in live.parts(table, "column")}
        for table in (partition, parent)
    )
    known = {(one.kind, one.fact("definition")) for one in live.parts(parent, *_PART_KINDS)}
    own = ((one.kind, one.fact("definition")) for one in live.parts(partition, *_PART_KINDS) if not one.origin_key)
    return columns == of_parent and known.issuperset(own)
