"""Rules about what is emptied, dropped, renamed, rewritten, handed over: what rows and programs lose."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel.lint.finding import Severity
from kernel.lint.state import RuleMatch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from kernel.lint.action import Action
    from kernel.lint.state import FileState

    Check = Callable[[Action, FileState], Iterator[RuleMatch]]


def _on_existing(rule: str, *, unless: str = "") -> Check:
    """The judge of what is a hazard for every relation that was there before, unless the act has that trait."""

    def judge(act: Action, scene: FileState) -> Iterator[RuleMatch]:
        if scene.existed_before(act.relation) and not (unless and unless in act.traits):
            yield RuleMatch(rule=rule, action=act, relation=act.relation)

    return judge


def _unless_created(rule: str) -> Check:
    """The judge of what is a hazard whatever it is about."""

    def judge(act: Action, scene: FileState) -> Iterator[RuleMatch]:
        if act.relation not in scene.created:
            yield RuleMatch(rule=rule, action=act, relation=act.relation or act.name)

    return judge


def _egress(act: Action, _scene: FileState) -> Iterator[RuleMatch]:
    yield RuleMatch(rule="egress", action=act, message=f"{act.name}: {_EGRESS_MESSAGE}")


_EGRESS_MESSAGE = "reaches out of the database, which no rollback undoes"


def _rewrite_table(act: Action, scene: FileState) -> Iterator[RuleMatch]:
    if act.relation not in scene.created:
        yield RuleMatch(rule="vacuum-full-or-cluster", action=act, relation=act.relation)


def _rename_table(act: Action, scene: FileState) -> Iterator[RuleMatch]:
    if act.relation in scene.created and act.other not in scene.renamed.values():
        return
    if act.other in scene.renamed.values():
        yield RuleMatch(rule="table-swap", action=act, relation=act.other)
    elif act.relation not in scene.created_anywhere:
        yield RuleMatch(rule="rename-table", action=act, relation=act.relation)


def _drop_constraint(act: Action, scene: FileState) -> Iterator[RuleMatch]:
    # What proved NOT NULL, or the bounds of a partition, has done its work.
    scaffolding = (act.relation, act.name) in scene.schema.validated or act.relation in scene.set_not_null
    if scene.existed_before(act.relation) and not scaffolding and (act.relation, act.name) not in scene.not_valid:
        yield _drop_object_warning(act, f"constraint {act.name} is dropped")


def _drop_default(act: Action, scene: FileState) -> Iterator[RuleMatch]:
    if scene.existed_before(act.relation) and (act.relation, act.name) not in scene.added_columns:
        yield _drop_object_warning(act, f"the default of column {act.name} is dropped")


def _drop_object_warning(act: Action, says: str) -> RuleMatch:
    """Nothing fails at once where a constraint or a default is gone, so it is a warning."""
    return RuleMatch(rule="drop-object", action=act, relation=act.relation, message=says, severity=Severity.WARNING)


def _drop_object(act: Action, scene: FileState) -> Iterator[RuleMatch]:
    if scene.existed_before(act.name) and act.name not in scene.created_anywhere:
        yield RuleMatch(rule="drop-object", action=act, relation=act.name)


def _drop_trigger(act: Action, scene: FileState) -> Iterator[RuleMatch]:
    if scene.existed_before(act.relation) and act.name not in scene.created_anywhere:
        yield RuleMatch(rule="policy-or-trigger-lock", action=act, relation=act.relation)


def _write_every_row(act: Action, scene: FileState) -> Iterator[RuleMatch]:
    if "every row" in act.traits and scene.existed_before(act.relation):
        yield RuleMatch(rule="write-without-where", action=act, relation=act.relation)


def _attach_partition(act: Action, scene: FileState) -> Iterator[RuleMatch]:
    if scene.existed_before(act.relation) and not scene.schema.has_valid_check(act.relation):
        yield RuleMatch(rule="attach-partition-scans", action=act, relation=act.relation)


def _detach_partition(act: Action, scene: FileState) -> Iterator[RuleMatch]:
    if scene.existed_before(act.relation) and not act.traits & {"concurrently", "finalize"}:
        yield RuleMatch(rule="detach-partition", action=act, relation=act.relation)


def _create_table(act: Action, scene: FileState) -> Iterator[RuleMatch]:
    rest = scene.schema.default_partitions.get(act.other, "")
    if "partition" in act.traits and scene.existed_before(rest) and not scene.schema.has_valid_check(rest):
        says = f"a partition is created beside {rest}, whose rows are all read first"
        yield RuleMatch(rule="partition-beside-default", action=act, relation=act.other, message=says)


def _alter_extension(act: Action, _scene: FileState) -> Iterator[RuleMatch]:
    yield RuleMatch(
        rule="extension-changed", action=act, message=f"extension {act.name} is dropped or brought to another version"
    )


def _change_owner(act: Action, scene: FileState) -> Iterator[RuleMatch]:
    if act.relation not in scene.created:
        severity = Severity.WARNING
        says = f"{act.name} gets another owner"
        yield RuleMatch(rule="privileges-changed", action=act, relation=act.relation, message=says, severity=severity)


_OBJECTS = ("view", "materialized view", "function", "procedure", "type", "domain", "aggregate", "sequence", "operator")

LOSS_CHECKS: dict[str, Check] = {
    **dict.fromkeys((f"drop {kind}" for kind in _OBJECTS), _drop_object),
    "truncate": _on_existing("truncate"),
    "drop table": _on_existing("drop-table"),
    "drop column": _on_existing("drop-column"),
    "drop schema": _unless_created("drop-schema"),
    "drop not null": _on_existing("drop-not-null"),
    "rename table": _rename_table,
    "rename column": _on_existing("rename-column"),
    "rename object": _unless_created("rename-object"),
    "drop constraint": _drop_constraint,
    "drop default": _drop_default,
    "drop trigger": _drop_trigger,
    "drop policy": _drop_trigger,
    "drop rule": _drop_trigger,
    "change storage": _unless_created("storage-change-rewrites"),
    "rewrite table": _rewrite_table,
    "refresh": _on_existing("refresh-locks-view", unless="concurrently"),
    "update": _write_every_row,
    "delete": _write_every_row,
    "attach partition": _attach_partition,
    "detach partition": _detach_partition,
    "create table": _create_table,
    "drop extension": _alter_extension,
    "alter extension": _alter_extension,
    "revoke": _unless_created("privileges-changed"),
    "change owner": _change_owner,
    "reach out": _egress,
    "create trigger": _on_existing("policy-or-trigger-lock"),
    "create policy": _on_existing("policy-or-trigger-lock"),
    "alter policy": _on_existing("policy-or-trigger-lock"),
    "create rule": _on_existing("policy-or-trigger-lock"),
    "switch trigger": _on_existing("policy-or-trigger-lock"),
    "rename trigger": _on_existing("policy-or-trigger-lock"),
    "switch row security": _on_existing("row-security-switched"),
    "lock table": _on_existing("lock-table"),
}
