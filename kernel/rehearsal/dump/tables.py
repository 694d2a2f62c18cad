"""The rows of many tables, dealt out to the connections; of one table that outweighs the others, in parts."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING

from kernel.rehearsal.dump import rows, split, unlogged
from kernel.rehearsal.dump.crew import Job, Stopped
from kernel.rehearsal.dump.rows import Target

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kernel.rehearsal.dump.hand import Hand
    from kernel.rehearsal.dump.index import Rows
    from kernel.rehearsal.dump.site import Site


def fill(site: Site, items: Iterable[Rows]) -> None:
    """Load rows side by side; those that fire triggers, or of a COPY of an unknown shape, one after the other."""
    of_table: dict[bytes, list[Rows]] = {}
    for item in items:
        of_table.setdefault(item.table, []).append(item)
    site.settle(site.main, next(iter(of_table.values()))[0].settings)
    known = rows.targets(site.main, [table for table in of_table if table])
    together: list[tuple[list[Rows], Target]] = []
    in_order: list[tuple[list[Rows], Target]] = []
    for table, blocks in of_table.items():
        target = known.get(table, Target())
        (in_order if target.triggered or not table else together).append((blocks, target))
    total = sum(block.length for blocks, _target in together for block in blocks)
    shared: list[tuple[list[Rows], Target]] = []
    divided: list[bytes] = []
    for blocks, target in together:
        parts = _parts(site, blocks, target, total)
        if len(parts) > 1:
            divided.append(blocks[0].table)
        shared += [(part, target if len(parts) == 1 else Target()) for part in parts]
    jobs = [_job(site, blocks, target) for blocks, target in shared]
    superuser, role = site.assistant.connection, site.loading.role
    with unlogged.filling(superuser, divided, role) if divided and site.ours else nullcontext():
        site.crew.work(jobs)
    for blocks, target in in_order:
        fill_one(site, site.main, blocks, target)


def fill_one(site: Site, one: Hand, blocks: list[Rows], target: Target) -> None:
    """Load the rows of one table."""
    if target.extension and site.loading.assisted:
        with site.assisting:
            _fill(site, site.assistant, blocks, target)
    else:
        _fill(site, one, blocks, target)


def _parts(site: Site, blocks: list[Rows], target: Target, total_bytes: int) -> list[list[Rows]]:
    """The blocks of one table, in parts for all hands where it is most of what there is."""
    hands = site.crew.size
    if target.fresh and split.dominant(blocks, total_bytes, hands):
        return [[piece] for piece in split.pieces(site.index.text, blocks[0], hands)]
    return [blocks]


def _job(site: Site, blocks: list[Rows], target: Target) -> Job:
    cost = sum(block.length for block in blocks)
    return Job(cost=cost, run=lambda one: fill_one(site, one, blocks, target))


def _fill(site: Site, one: Hand, blocks: list[Rows], target: Target) -> None:
    site.settle(one, blocks[0].settings)
    name = blocks[0].table.decode(errors="replace")

    def told(length: int) -> None:
        if site.crew.stopped:
            raise Stopped
        site.tell(name, length)

    for offset, refused in rows.fill(one, site.index.text, blocks, target, told):
        site.losses.rows(blocks[0], offset, refused)
