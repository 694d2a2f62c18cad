"""In which order a dump is loaded: its own, in stretches, some of whose parts may run side by side.

pg_dump writes tables, then rows, then primary keys and indexes, then foreign keys. A stretch ends where something else
comes in between, so that whatever depends on what came before finds it, in dumps of other makers too.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

from kernel import ledger
from kernel.apply import progress
from kernel.rehearsal.dump.index import Rows, Statement
from kernel.rehearsal.dump.shape import Kind

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

# What they are about, and why they are left out, is said by Kind.
LEFT_OUT = frozenset({Kind.SETTING, Kind.AUTHORIZATION, Kind.DATABASE, Kind.REMOTE})
_LAST = frozenset({Kind.RIGHTS, Kind.EVENT_TRIGGER})
_CLEANING = frozenset({Kind.CLEANING, Kind.PLACEHOLDER, Kind.DATA, *LEFT_OUT})
_OF_ROWS = frozenset({Kind.SEQUENCE, Kind.DATA})


class Manner(Enum):
    """How the parts of a stretch go together."""

    IN_ORDER = "one after the other"
    ROWS = "rows of several tables, side by side"
    BUILDS = "indexes, side by side; then what is said of them"
    KEYS = "foreign keys, side by side; then what is said of them"


_MANNERS = {Kind.BUILD: Manner.BUILDS, Kind.FOREIGN_KEY: Manner.KEYS}


@dataclass(slots=True, kw_only=True)
class Stretch:
    """Consecutive items that go together; `after` are those that run in order when the others are done.

    When it is `settled`, neither it nor any stretch behind it fills a table or builds an index.
    """

    manner: Manner
    settled: bool = False
    items: list[Statement | Rows] = field(default_factory=list)
    after: list[Statement] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """The whole of it.

    `first` are schemas (as the loading role) and extensions (as superuser); `rights` and `event_triggers` run last, as
    superuser.
    """

    first: tuple[Statement, ...]
    stretches: tuple[Stretch, ...]
    rights: tuple[Statement, ...]
    event_triggers: tuple[Statement, ...]


_RECORDS = (ledger.TABLE.encode(), progress.TABLE.encode())


def of(items: Sequence[Statement | Rows], *, schema_only: bool) -> Order:
    """The order of a dump's items; with `schema_only`, of those that make no rows but the records of migrations."""
    kept = [item for item in _uncleaned(items) if not (schema_only and _of_rows(item)) and not _left_out(item)]
    first = _first(kept)
    hoisted = set(first)
    last = [item for item in kept if isinstance(item, Statement) and item.kind in _LAST]
    return Order(
        first=tuple(first),
        stretches=tuple(_stretches(item for item in kept if item not in hoisted and not _is(item, *_LAST))),
        rights=tuple(item for item in last if item.kind is Kind.RIGHTS),
        event_triggers=tuple(item for item in last if item.kind is Kind.EVENT_TRIGGER),
    )


def _uncleaned(items: Sequence[Statement | Rows]) -> Sequence[Statement | Rows]:
    """The items without what pg_dump --clean writes at the beginning: a fresh database has nothing to drop."""
    first = next((place for place, item in enumerate(items) if not _is(item, *_CLEANING)), len(items))
    while first and not _is(items[first - 1], Kind.CLEANING):
        first -= 1
    return items[first:]


def _first(items: list[Statement | Rows]) -> list[Statement]:
    """The extensions, and the schemas ahead of the last of them."""
    found = [item for item in items if isinstance(item, Statement) and item.kind in (Kind.SCHEMA, Kind.EXTENSION)]
    while found and found[-1].kind is not Kind.EXTENSION:
        found.pop()
    return found


def _stretches(items: Iterable[Statement | Rows]) -> list[Stretch]:
    found: list[Stretch] = []
    for item in items:
        manner = _manner(item)
        last = found[-1] if found else None
        if last and isinstance(item, Statement) and _joins(item, last):
            last.after.append(item)
        elif last and last.manner is manner:
            last.items.append(item)
        else:
            found.append(Stretch(manner=manner, items=[item]))
    for stretch in reversed(found):
        if stretch.manner in (Manner.ROWS, Manner.BUILDS):
            break
        stretch.settled = True
    return found


def _manner(item: Statement | Rows) -> Manner:
    if isinstance(item, Rows):
        return Manner.ROWS
    return _MANNERS.get(item.kind, Manner.IN_ORDER)


def _joins(item: Statement, stretch: Stretch) -> bool:
    """Whether a statement can wait until what is side by side is done, rather than end it."""
    if stretch.manner is Manner.ROWS:
        return item.kind is Kind.SEQUENCE
    return stretch.manner in (Manner.BUILDS, Manner.KEYS) and item.kind is Kind.FOLLOWER


def _is(item: Statement | Rows, *kinds: Kind) -> bool:
    return isinstance(item, Statement) and item.kind in kinds


def _of_rows(item: Statement | Rows) -> bool:
    if isinstance(item, Rows):
        # Without its records, every migration of the schema would be pending once more.
        return item.table.rpartition(b".")[2] not in _RECORDS
    return item.kind in _OF_ROWS


def _left_out(item: Statement | Rows) -> bool:
    return isinstance(item, Statement) and item.kind in LEFT_OUT
