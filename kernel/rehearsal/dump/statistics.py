"""ANALYZE, table by table: what the planner knows of production, it is to know of the copy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel.rehearsal.dump.crew import Job

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kernel.rehearsal.dump.hand import Hand

# A partitioned table brings its partitions along. What belongs to somebody else is an extension's.
_TABLES = """
SELECT quote_ident(nspname) || '.' || quote_ident(relname), pg_relation_size(c.oid)
FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
WHERE relkind = ANY(%s::"char"[]) AND NOT relispartition AND relpersistence <> 't'
  AND nspname <> 'information_schema' AND nspname NOT LIKE 'pg\\_%%' AND pg_has_role(relowner, 'USAGE')
"""
_TABLE_KINDS, _VIEW_KINDS = "rp", "m"


class Statistics:
    """Which tables are analyzed already."""

    def __init__(self) -> None:
        self._done: set[str] = set()

    def of_tables(self, hand: Hand) -> Sequence[Job]:
        """Jobs for the tables as they are now, which go beside others: they lock as names in the dump would."""
        return self._jobs(hand, _TABLE_KINDS)

    def of_all(self, hand: Hand) -> Sequence[Job]:
        """Jobs for every table that has none yet, materialized views included."""
        return self._jobs(hand, _TABLE_KINDS + _VIEW_KINDS)

    def _jobs(self, hand: Hand, kinds: str) -> Sequence[Job]:
        found = hand.connection.execute(_TABLES, (list(kinds),)).fetchall()
        return [self._job(name, size_bytes) for name, size_bytes in found if name not in self._done]

    def _job(self, table: str, size_bytes: int) -> Job:
        def run(one: Hand) -> None:
            # As the table's owner, so that the worst it meets is a missing statistic. An index's expressions are
            # evaluated, and may call what is still to be made: then it is tried once more at the end.
            if one.run(f"ANALYZE {table}".encode()) is None:
                self._done.add(table)

        return Job(cost=size_bytes, run=run, exclusive=frozenset({table.encode()}))
