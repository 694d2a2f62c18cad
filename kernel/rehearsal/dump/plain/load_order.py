"""In which order a dump is loaded: its own, in stretches, some of whose parts may run side by side.

pg_dump writes tables, then rows, then primary keys and indexes, then foreign keys. A stretch ends where something else
comes in between, so that whatever depends on what came before finds it, in dumps of other makers too.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

from kernel.db.ledger import LEDGER_TABLE, PROGRESS_TABLE
from kernel.rehearsal.dump.plain.classify import StatementKind
from kernel.rehearsal.dump.plain.contents import DumpStatement, RowBlock

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


# What they are about, and why they are left out, is said by Kind.
NOT_LOADED = frozenset(
    {StatementKind.SETTING, StatementKind.AUTHORIZATION, StatementKind.DATABASE, StatementKind.REMOTE}
)
_LAST_KINDS = frozenset({StatementKind.PRIVILEGES, StatementKind.EVENT_TRIGGER})
_DROP_KINDS = frozenset({StatementKind.DROP, StatementKind.PLACEHOLDER, StatementKind.DATA, *NOT_LOADED})
_DATA_KINDS = frozenset({StatementKind.SEQUENCE, StatementKind.DATA})


class StepMode(Enum):
    """How the parts of a stretch go together."""

    IN_ORDER = "one after the other"
    ROWS = "rows of several tables, side by side"
    INDEXES = "indexes, side by side; then what is said of them"
    FOREIGN_KEYS = "foreign keys, side by side; then what is said of them"


_MODES = {StatementKind.INDEX: StepMode.INDEXES, StatementKind.FOREIGN_KEY: StepMode.FOREIGN_KEYS}


@dataclass(slots=True, kw_only=True)
class LoadStep:
    """Consecutive items that go together; `after` are those that run in order when the others are done.

    When it is `settled`, neither it nor any stretch behind it fills a table or builds an index.
    """

    mode: StepMode
    data_complete: bool = False
    items: list[DumpStatement | RowBlock] = field(default_factory=list)
    after: list[DumpStatement] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadPlan:
    """The whole of it.

    `first` are schemas (as the loading role) and extensions (as superuser); `rights` and `event_triggers` run last, as
    superuser.
    """

    first: tuple[DumpStatement, ...]
    steps: tuple[LoadStep, ...]
    privileges: tuple[DumpStatement, ...]
    event_triggers: tuple[DumpStatement, ...]


_MIGRATION_TABLES = (LEDGER_TABLE.encode(), PROGRESS_TABLE.encode())


def plan_load(items: Sequence[DumpStatement | RowBlock], *, schema_only: bool) -> LoadPlan:
    """The order of a dump's items; with `schema_only`, of those that make no rows but the records of migrations."""
    kept = [
        item for item in _without_drops(items) if not (schema_only and _makes_rows(item)) and not _is_not_loaded(item)
    ]
    first = _schemas_and_extensions(kept)
    hoisted = set(first)
    last = [item for item in kept if isinstance(item, DumpStatement) and item.kind in _LAST_KINDS]
    return LoadPlan(
        first=tuple(first),
        steps=tuple(_group_steps(item for item in kept if item not in hoisted and not _has_kind(item, *_LAST_KINDS))),
        privileges=tuple(item for item in last if item.kind is StatementKind.PRIVILEGES),
        event_triggers=tuple(item for item in last if item.kind is StatementKind.EVENT_TRIGGER),
    )


def _without_drops(items: Sequence[DumpStatement | RowBlock]) -> Sequence[DumpStatement | RowBlock]:
    """The items without what pg_dump --clean writes at the beginning: a fresh database has nothing to drop."""
    first = next((place for place, item in enumerate(items) if not _has_kind(item, *_DROP_KINDS)), len(items))
    while first and not _has_kind(items[first - 1], StatementKind.DROP):
        first -= 1
    return items[first:]


def _schemas_and_extensions(items: list[DumpStatement | RowBlock]) -> list[DumpStatement]:
    """The extensions, and the schemas ahead of the last of them."""
    found = [
        item
        for item in items
        if isinstance(item, DumpStatement) and item.kind in (StatementKind.SCHEMA, StatementKind.EXTENSION)
    ]
    while found and found[-1].kind is not StatementKind.EXTENSION:
        found.pop()
    return found


def _group_steps(items: Iterable[DumpStatement | RowBlock]) -> list[LoadStep]:
    found: list[LoadStep] = []
    for item in items:
        manner = _step_mode(item)
        last = found[-1] if found else None
        if last and isinstance(item, DumpStatement) and _can_wait(item, last):
            last.after.append(item)
        elif last and last.mode is manner:
            last.items.append(item)
        else:
            found.append(LoadStep(mode=manner, items=[item]))
    for stretch in reversed(found):
        if stretch.mode in (StepMode.ROWS, StepMode.INDEXES):
            break
        stretch.data_complete = True
    return found


def _step_mode(item: DumpStatement | RowBlock) -> StepMode:
    if isinstance(item, RowBlock):
        return StepMode.ROWS
    return _MODES.get(item.kind, StepMode.IN_ORDER)


def _can_wait(item: DumpStatement, stretch: LoadStep) -> bool:
    """Whether a statement can wait until what is side by side is done, rather than end it."""
    if stretch.mode is StepMode.ROWS:
        return item.kind is StatementKind.SEQUENCE
    return stretch.mode in (StepMode.INDEXES, StepMode.FOREIGN_KEYS) and item.kind is StatementKind.INDEX_PROPERTY


def _has_kind(item: DumpStatement | RowBlock, *kinds: StatementKind) -> bool:
    return isinstance(item, DumpStatement) and item.kind in kinds


def _makes_rows(item: DumpStatement | RowBlock) -> bool:
    if isinstance(item, RowBlock):
        # Without its records, every migration of the schema would be pending once more.
        return item.table.rpartition(b".")[2] not in _MIGRATION_TABLES
    return item.kind in _DATA_KINDS


def _is_not_loaded(item: DumpStatement | RowBlock) -> bool:
    return isinstance(item, DumpStatement) and item.kind in NOT_LOADED
