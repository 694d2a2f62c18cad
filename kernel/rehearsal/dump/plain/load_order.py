"""The order in which a dump is loaded: the dump's own, in steps, some of which run over several connections.

pg_dump writes tables, then rows, then primary keys and indexes, then foreign keys. A step ends where another kind of
statement follows, so that it finds everything it depends on, in dumps of other programs too.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

from kernel.config.ledger_name import DEFAULT_LEDGER
from kernel.rehearsal.dump.common.model import migration_tables
from kernel.rehearsal.dump.plain.classify import StatementKind
from kernel.rehearsal.dump.plain.contents import DumpStatement, RowBlock, is_migration_table

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from kernel.config.ledger_name import LedgerName


# StatementKind says why each is not loaded.
NOT_LOADED = frozenset(
    {StatementKind.SETTING, StatementKind.AUTHORIZATION, StatementKind.DATABASE, StatementKind.REMOTE}
)
_LAST_KINDS = frozenset({StatementKind.PRIVILEGES, StatementKind.LARGE_OBJECT, StatementKind.EVENT_TRIGGER})
_DROP_KINDS = frozenset({StatementKind.DROP, StatementKind.PLACEHOLDER, StatementKind.DATA, *NOT_LOADED})
_DATA_KINDS = frozenset({StatementKind.SEQUENCE, StatementKind.DATA, StatementKind.LARGE_OBJECT})


class StepMode(Enum):
    """How the items of a step run."""

    IN_ORDER = "one after the other"
    ROWS = "rows of several tables, side by side"
    INDEXES = "indexes, side by side; then their properties"
    FOREIGN_KEYS = "foreign keys, side by side; then their comments"


_MODES = {StatementKind.INDEX: StepMode.INDEXES, StatementKind.FOREIGN_KEY: StepMode.FOREIGN_KEYS}


@dataclass(slots=True, kw_only=True)
class LoadStep:
    """Consecutive items that run together; `after` run in order when the others are done."""

    mode: StepMode
    items: list[DumpStatement | RowBlock] = field(default_factory=list)
    after: list[DumpStatement] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadPlan:
    """All of a load.

    `first` are schemas (as the loading role) and extensions (as superuser); `privileges` and `event_triggers` run
    last, as superuser.
    """

    first: tuple[DumpStatement, ...]
    steps: tuple[LoadStep, ...]
    privileges: tuple[DumpStatement, ...]
    event_triggers: tuple[DumpStatement, ...]


def plan_load(
    items: Sequence[DumpStatement | RowBlock], *, schema_only: bool, ledger: LedgerName = DEFAULT_LEDGER
) -> LoadPlan:
    """The order of a dump's items; with `schema_only`, of those that make no rows but the records of migrations."""
    kept = [
        item
        for item in _without_drops(items)
        if not (schema_only and _makes_rows(item, ledger)) and not _has_kind(item, NOT_LOADED)
    ]
    first = _schemas_and_extensions(kept)
    in_first = set(first)
    last = [item for item in kept if isinstance(item, DumpStatement) and item.kind in _LAST_KINDS]
    return LoadPlan(
        first=tuple(first),
        steps=tuple(_group_steps(item for item in kept if item not in in_first and not _has_kind(item, _LAST_KINDS))),
        privileges=tuple(item for item in last if item.kind is not StatementKind.EVENT_TRIGGER),
        event_triggers=tuple(item for item in last if item.kind is StatementKind.EVENT_TRIGGER),
    )


def _without_drops(items: Sequence[DumpStatement | RowBlock]) -> Sequence[DumpStatement | RowBlock]:
    """The items without those that pg_dump --clean writes at the beginning: a new database has nothing to drop."""
    first = next((place for place, item in enumerate(items) if not _has_kind(item, _DROP_KINDS)), len(items))
    while first and not _has_kind(items[first - 1], {StatementKind.DROP}):
        first -= 1
    return items[first:]


def _schemas_and_extensions(items: list[DumpStatement | RowBlock]) -> list[DumpStatement]:
    """The extensions, and the schemas before the last of them."""
    kinds = (StatementKind.SCHEMA, StatementKind.EXTENSION)
    found = [item for item in items if isinstance(item, DumpStatement) and item.kind in kinds]
    while found and found[-1].kind is not StatementKind.EXTENSION:
        found.pop()
    return found


def _group_steps(items: Iterable[DumpStatement | RowBlock]) -> list[LoadStep]:
    steps: list[LoadStep] = []
    for item in items:
        mode = StepMode.ROWS if isinstance(item, RowBlock) else _MODES.get(item.kind, StepMode.IN_ORDER)
        last = steps[-1] if steps else None
        if last and isinstance(item, DumpStatement) and _can_wait(item, last):
            last.after.append(item)
        elif last and last.mode is mode:
            last.items.append(item)
        else:
            steps.append(LoadStep(mode=mode, items=[item]))
    return steps


def _can_wait(item: DumpStatement, step: LoadStep) -> bool:
    """Whether a statement can wait until the items side by side are done, rather than end the step."""
    if step.mode is StepMode.ROWS:
        return item.kind is StatementKind.SEQUENCE
    return step.mode in (StepMode.INDEXES, StepMode.FOREIGN_KEYS) and item.kind is StatementKind.INDEX_PROPERTY


def _has_kind(item: DumpStatement | RowBlock, kinds: Iterable[StatementKind]) -> bool:
    return isinstance(item, DumpStatement) and item.kind in kinds


def _makes_rows(item: DumpStatement | RowBlock, ledger: LedgerName) -> bool:
    if isinstance(item, RowBlock):
        return not is_migration_table(item.table, ledger, migration_tables(ledger))
    return item.kind in _DATA_KINDS
