"""Rules about indexes, columns and constraints: what reads, rewrites or refuses the rows of a table in use."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from kernel.rehearsal.result import Severity
from kernel.rehearsal.static import columns, types
from kernel.rehearsal.static.scene import Hit
from kernel.rehearsal.static.types import Change

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from kernel.rehearsal.static.act import Act
    from kernel.rehearsal.static.scene import Scene

_SERIAL = frozenset({"serial", "bigserial", "smallserial", "serial2", "serial4", "serial8"})


def _create_index(act: Act, scene: Scene) -> Iterator[Hit]:
    if "concurrently" not in act.traits and "only" not in act.traits and scene.existing(act.relation):
        yield Hit(rule="create-index-not-concurrently", act=act, relation=act.relation)


def _drop_index(act: Act, scene: Scene) -> Iterator[Hit]:
    if "concurrently" not in act.traits and scene.existing(act.name):
        yield Hit(rule="drop-index-not-concurrently", act=act, relation=act.name)


def _reindex(act: Act, scene: Scene) -> Iterator[Hit]:
    if "concurrently" not in act.traits and act.relation not in scene.created:
        yield Hit(rule="reindex-not-concurrently", act=act, relation=act.relation)


def _add_column(act: Act, scene: Scene) -> Iterator[Hit]:
    yield from _choices(act)
    if not scene.existing(act.relation):
        return
    column = columns.column(act.words)
    if column.type in _SERIAL or column.clauses & {"identity", "stored"}:
        yield Hit(rule="computed-column-rewrites", act=act, relation=act.relation)
    elif function := columns.volatile(column.default):
        says = f"column {act.name} is added with a default that calls {function}(), which may differ for every row"
        yield Hit(rule="volatile-default", act=act, relation=act.relation, says=says)
    elif "not null" in column.clauses and "default" not in column.clauses:
        yield Hit(rule="add-required-column", act=act, relation=act.relation)
    if column.clauses & {"primary key", "unique"}:
        yield Hit(rule="unique-builds-index-under-lock", act=act, relation=act.relation)
    if "check" in column.clauses:
        yield Hit(rule="check-validated-under-lock", act=act, relation=act.relation)
    if "references" in column.clauses and scene.existing(column.parent):
        yield Hit(rule="foreign-key-locks-parent", act=act, relation=act.relation)
    if column.type == "json":
        yield Hit(rule="json-column", act=act, relation=act.relation)


def _new_column(act: Act, scene: Scene) -> Iterator[Hit]:
    yield from _choices(act)
    column = columns.column(act.words)
    if "references" in column.clauses and not scene.knowledge.indexed(act.relation, (act.name,)):
        scene.open_ends.append((scene.statement, replace(act, verb="add foreign key", columns=(act.name,))))


def _choices(act: Act) -> Iterator[Hit]:
    column = columns.column(act.words)
    if "primary key" in column.clauses and types.parsed(column.type)[0] in ("integer", "smallint"):
        yield Hit(rule="int4-key", act=act, relation=act.relation)


def _change_type(act: Act, scene: Scene) -> Iterator[Hit]:
    if not scene.existing(act.relation):
        return
    new = columns.column(act.words).type
    old = scene.knowledge.types.get((act.relation, act.name))
    found = types.change(old, new, using="using" in act.traits)
    known = f"from {old} " if old else ""
    if found is Change.REWRITE:
        says = f"column {act.name} is changed {known}to {new}, whose values are stored or checked anew"
        yield Hit(rule="type-change-rewrites", act=act, relation=act.relation, says=says)
    elif found is Change.UNSURE:
        says = f"column {act.name} is changed to {new}; if that is less than before, every row is read"
        yield Hit(rule="type-change-rewrites", act=act, relation=act.relation, says=says, severity=Severity.WARNING)


def _added(rule: str, *, unless: str) -> Callable[[Act, Scene], Iterator[Hit]]:
    """The judge of a constraint that is no hazard on a new table, or with the trait `unless`."""

    def judge(act: Act, scene: Scene) -> Iterator[Hit]:
        if unless not in act.traits and scene.existing(act.relation):
            yield Hit(rule=rule, act=act, relation=act.relation)

    return judge


def _add_foreign_key(act: Act, scene: Scene) -> Iterator[Hit]:
    if "not valid" not in act.traits and scene.existing(act.relation):
        yield Hit(rule="foreign-key-validated-under-lock", act=act, relation=act.relation)
    elif act.columns and "not valid" not in act.traits:
        scene.open_ends.append((scene.statement, act))


def _validate(act: Act, scene: Scene) -> Iterator[Hit]:
    key = (act.relation, act.name)
    added = scene.not_valid.get(key)
    if scene.existing(act.relation) and added is not None and added == scene.transaction:
        yield Hit(rule="validate-in-same-transaction", act=act, relation=act.relation)


def _set_not_null(act: Act, scene: Scene) -> Iterator[Hit]:
    if scene.existing(act.relation) and not scene.knowledge.proven(act.relation, act.name):
        yield Hit(rule="set-not-null-scans", act=act, relation=act.relation)


def _set_expression(act: Act, scene: Scene) -> Iterator[Hit]:
    if scene.existing(act.relation):
        yield Hit(rule="computed-column-rewrites", act=act, relation=act.relation)


def _constrain_domain(act: Act, scene: Scene) -> Iterator[Hit]:
    if "not valid" not in act.traits and scene.existing(act.name):
        yield Hit(rule="domain-constraint-scans", act=act, relation=act.name)


JUDGES: dict[str, Callable[[Act, Scene], Iterator[Hit]]] = {
    "create index": _create_index,
    "drop index": _drop_index,
    "reindex": _reindex,
    "add column": _add_column,
    "new column": _new_column,
    "change type": _change_type,
    "add check": _added("check-validated-under-lock", unless="not valid"),
    "add unique": _added("unique-builds-index-under-lock", unless="using index"),
    "add primary key": _added("unique-builds-index-under-lock", unless="using index"),
    "add exclusion": _added("exclusion-constraint", unless="new table"),
    "add not null": _added("set-not-null-scans", unless="not valid"),
    "add foreign key": _add_foreign_key,
    "validate": _validate,
    "set not null": _set_not_null,
    "set expression": _set_expression,
    "constrain domain": _constrain_domain,
}
