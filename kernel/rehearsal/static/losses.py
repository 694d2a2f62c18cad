"""Rules about what is emptied, dropped, renamed, rewritten, handed over: what rows and programs lose."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel.rehearsal.result import Severity
from kernel.rehearsal.static.scene import Hit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from kernel.rehearsal.static.act import Act
    from kernel.rehearsal.static.scene import Scene

    Judge = Callable[[Act, Scene], Iterator[Hit]]


def _on_existing(rule: str, *, unless: str = "") -> Judge:
    """The judge of what is a hazard for every relation that was there before, unless the act has that trait."""

    def judge(act: Act, scene: Scene) -> Iterator[Hit]:
        if scene.existing(act.relation) and not (unless and unless in act.traits):
            yield Hit(rule=rule, act=act, relation=act.relation)

    return judge


def _named(rule: str) -> Judge:
    """The judge of what is a hazard whatever it is about."""

    def judge(act: Act, scene: Scene) -> Iterator[Hit]:
        if act.relation not in scene.created:
            yield Hit(rule=rule, act=act, relation=act.relation or act.name)

    return judge


def _reach_out(act: Act, _scene: Scene) -> Iterator[Hit]:
    yield Hit(rule="egress", act=act, says=f"{act.name}: {_EGRESS}")


_EGRESS = "reaches out of the database, which no rollback undoes"


def _rewrite(act: Act, scene: Scene) -> Iterator[Hit]:
    if act.relation not in scene.created:
        yield Hit(rule="vacuum-full-or-cluster", act=act, relation=act.relation)


def _rename_table(act: Act, scene: Scene) -> Iterator[Hit]:
    if act.relation in scene.created and act.other not in scene.renamed.values():
        return
    if act.other in scene.renamed.values():
        yield Hit(rule="table-swap", act=act, relation=act.other)
    elif act.relation not in scene.later:
        yield Hit(rule="rename-table", act=act, relation=act.relation)


def _drop_constraint(act: Act, scene: Scene) -> Iterator[Hit]:
    # What proved NOT NULL, or the bounds of a partition, has done its work.
    scaffolding = (act.relation, act.name) in scene.knowledge.validated or act.relation in scene.set_not_null
    if scene.existing(act.relation) and not scaffolding and (act.relation, act.name) not in scene.not_valid:
        yield _loosened(act, f"constraint {act.name} is dropped")


def _drop_default(act: Act, scene: Scene) -> Iterator[Hit]:
    if scene.existing(act.relation) and (act.relation, act.name) not in scene.defaults:
        yield _loosened(act, f"the default of column {act.name} is dropped")


def _loosened(act: Act, says: str) -> Hit:
    """Nothing fails at once where a constraint or a default is gone, so it is a warning."""
    return Hit(rule="drop-object", act=act, relation=act.relation, says=says, severity=Severity.WARNING)


def _drop_object(act: Act, scene: Scene) -> Iterator[Hit]:
    if scene.existing(act.name) and act.name not in scene.later:
        yield Hit(rule="drop-object", act=act, relation=act.name)


def _drop_trigger(act: Act, scene: Scene) -> Iterator[Hit]:
    if scene.existing(act.relation) and act.name not in scene.later:
        yield Hit(rule="policy-or-trigger-lock", act=act, relation=act.relation)


def _write(act: Act, scene: Scene) -> Iterator[Hit]:
    if "every row" in act.traits and scene.existing(act.relation):
        yield Hit(rule="write-without-where", act=act, relation=act.relation)


def _attach(act: Act, scene: Scene) -> Iterator[Hit]:
    if scene.existing(act.relation) and not scene.knowledge.bounded(act.relation):
        yield Hit(rule="attach-partition-scans", act=act, relation=act.relation)


def _detach(act: Act, scene: Scene) -> Iterator[Hit]:
    if scene.existing(act.relation) and not act.traits & {"concurrently", "finalize"}:
        yield Hit(rule="detach-partition", act=act, relation=act.relation)


def _create_table(act: Act, scene: Scene) -> Iterator[Hit]:
    rest = scene.knowledge.default_partitions.get(act.other, "")
    if "partition" in act.traits and scene.existing(rest) and not scene.knowledge.bounded(rest):
        says = f"a partition is created beside {rest}, whose rows are all read first"
        yield Hit(rule="partition-beside-default", act=act, relation=act.other, says=says)


def _alter_extension(act: Act, _scene: Scene) -> Iterator[Hit]:
    yield Hit(rule="extension-changed", act=act, says=f"extension {act.name} is dropped or brought to another version")


def _change_owner(act: Act, scene: Scene) -> Iterator[Hit]:
    if act.relation not in scene.created:
        severity = Severity.WARNING
        says = f"{act.name} gets another owner"
        yield Hit(rule="privileges-changed", act=act, relation=act.relation, says=says, severity=severity)


_OBJECTS = ("view", "materialized view", "function", "procedure", "type", "domain", "aggregate", "sequence", "operator")

JUDGES: dict[str, Judge] = {
    **dict.fromkeys((f"drop {kind}" for kind in _OBJECTS), _drop_object),
    "truncate": _on_existing("truncate"),
    "drop table": _on_existing("drop-table"),
    "drop column": _on_existing("drop-column"),
    "drop schema": _named("drop-schema"),
    "drop not null": _on_existing("drop-not-null"),
    "rename table": _rename_table,
    "rename column": _on_existing("rename-column"),
    "rename object": _named("rename-object"),
    "drop constraint": _drop_constraint,
    "drop default": _drop_default,
    "drop trigger": _drop_trigger,
    "drop policy": _drop_trigger,
    "drop rule": _drop_trigger,
    "change storage": _named("storage-change-rewrites"),
    "rewrite table": _rewrite,
    "refresh": _on_existing("refresh-locks-view", unless="concurrently"),
    "update": _write,
    "delete": _write,
    "attach partition": _attach,
    "detach partition": _detach,
    "create table": _create_table,
    "drop extension": _alter_extension,
    "alter extension": _alter_extension,
    "revoke": _named("privileges-changed"),
    "change owner": _change_owner,
    "reach out": _reach_out,
    "create trigger": _on_existing("policy-or-trigger-lock"),
    "create policy": _on_existing("policy-or-trigger-lock"),
    "alter policy": _on_existing("policy-or-trigger-lock"),
    "create rule": _on_existing("policy-or-trigger-lock"),
    "switch trigger": _on_existing("policy-or-trigger-lock"),
    "rename trigger": _on_existing("policy-or-trigger-lock"),
    "switch row security": _on_existing("row-security-switched"),
    "lock table": _on_existing("lock-table"),
}
