"""Checks of what is emptied, dropped, renamed, rewritten, detached or given to another owner."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from kernel.lint.finding import Severity, match_existing, match_in_use, match_rule, match_unless_created
from kernel.lint.lock_modes import blocks_reads, blocks_writes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kernel.lint.action import Action
    from kernel.lint.finding import Check, RuleMatch
    from kernel.lint.state import FileState


def _egress(action: Action, _state: FileState) -> Iterator[RuleMatch]:
    message = f"{action.name}: reaches out of the database, which no rollback undoes"
    yield match_rule("egress", action, message, relation="")


def _rewrite_table(action: Action, state: FileState) -> Iterator[RuleMatch]:
    if action.relation not in state.created:
        yield match_rule("vacuum-full-or-cluster", action)


def _rename_table(action: Action, state: FileState) -> Iterator[RuleMatch]:
    if action.relation in state.created and action.other not in state.renamed.values():
        return
    if action.other in state.renamed.values():
        yield match_rule("table-swap", action, relation=action.other)
    elif action.relation not in state.created_anywhere and not state.is_pending(action.relation, ""):
        yield match_rule("rename-table", action)


def _drop_constraint(action: Action, state: FileState) -> Iterator[RuleMatch]:
    # A CHECK that proved NOT NULL, or the bounds of a partition, is no longer needed.
    is_proof = (action.relation, action.name) in state.schema.validated or action.relation in state.set_not_null
    replaced = action.name in state.created_anywhere or (action.relation, action.name) in state.not_valid
    if state.existed_before(action.relation) and not is_proof and not replaced:
        yield _drop_object_warning(action, f"constraint {action.name} is dropped")


def _drop_default(action: Action, state: FileState) -> Iterator[RuleMatch]:
    if state.existed_before(action.relation) and (action.relation, action.name) not in state.added_columns:
        yield _drop_object_warning(action, f"the default of column {action.name} is dropped")


def _drop_object_warning(action: Action, message: str) -> RuleMatch:
    """A warning, because nothing fails at once without the constraint or default."""
    return match_rule("drop-object", action, message, severity=Severity.WARNING)


def _drop_object(action: Action, state: FileState) -> Iterator[RuleMatch]:
    if state.existed_before(action.name) and action.name not in state.created_anywhere:
        yield match_rule("drop-object", action, relation=action.name)


def _drop_trigger(action: Action, state: FileState) -> Iterator[RuleMatch]:
    if state.existed_before(action.relation) and action.name not in state.created_anywhere:
        yield match_rule("policy-or-trigger-lock", action)


def _write_every_row(action: Action, state: FileState) -> Iterator[RuleMatch]:
    in_batches = state.in_batches and action.verb == "update"  # which loses no row, and locks few at a time
    if "every row" in action.traits and state.existed_before(action.relation) and not in_batches:
        yield match_rule("write-without-where", action)


def _attach_partition(action: Action, state: FileState) -> Iterator[RuleMatch]:
    if state.existed_before(action.relation) and not state.schema.has_valid_check(action.relation):
        yield match_rule("attach-partition-scans", action)


def _create_table(action: Action, state: FileState) -> Iterator[RuleMatch]:
    rest = state.schema.default_partitions.get(action.other, "")
    if "partition" in action.traits and state.existed_before(rest) and not state.schema.has_valid_check(rest):
        message = f"a partition is created next to {rest}, whose rows are all read first"
        yield match_rule("partition-beside-default", action, message, relation=action.other)


def _detach_partition(action: Action, state: FileState) -> Iterator[RuleMatch]:
    for match in match_existing("detach-partition", "concurrently", "finalize")(action, state):
        rest = state.schema.default_partitions.get(action.relation)
        remedy = f"a file of its own; CONCURRENTLY is not allowed while there is a default partition ({rest})"
        yield replace(match, remedy=remedy if rest else "")


def _lock_table(action: Action, state: FileState) -> Iterator[RuleMatch]:
    if state.existed_before(action.relation) and (blocks_reads(action.other) or blocks_writes(action.other)):
        yield match_rule("lock-table", action, f"is locked by hand in {action.other} MODE")


def _alter_extension(action: Action, _state: FileState) -> Iterator[RuleMatch]:
    yield match_rule("extension-changed", action, f"extension {action.name} is dropped or updated", relation="")


def _change_owner(action: Action, state: FileState) -> Iterator[RuleMatch]:
    if action.relation not in state.created:
        message = f"{action.name} changes its owner"
        yield match_rule("privileges-changed", action, message, severity=Severity.WARNING)


_OBJECTS = ("view", "materialized view", "function", "procedure", "type", "domain", "aggregate", "sequence", "operator")

LOSS_CHECKS: dict[str, Check] = {
    **dict.fromkeys((f"drop {kind}" for kind in _OBJECTS), _drop_object),
    "truncate": match_existing("truncate"),
    "drop table": match_in_use("drop-table"),
    "drop column": match_in_use("drop-column"),
    "drop schema": match_unless_created("drop-schema"),
    "drop not null": match_in_use("drop-not-null"),
    "rename table": _rename_table,
    "rename column": match_in_use("rename-column"),
    "rename object": match_unless_created("rename-object"),
    "drop constraint": _drop_constraint,
    "drop default": _drop_default,
    "drop trigger": _drop_trigger,
    "drop policy": _drop_trigger,
    "drop rule": _drop_trigger,
    "change storage": match_unless_created("storage-change-rewrites"),
    "rewrite table": _rewrite_table,
    "refresh": match_existing("refresh-locks-view", "concurrently"),
    "update": _write_every_row,
    "delete": _write_every_row,
    "attach partition": _attach_partition,
    "detach partition": _detach_partition,
    "create table": _create_table,
    "drop extension": _alter_extension,
    "alter extension": _alter_extension,
    "revoke": match_unless_created("privileges-changed"),
    "change owner": _change_owner,
    "reach out": _egress,
    "create trigger": match_existing("policy-or-trigger-lock"),
    "create policy": match_existing("policy-or-trigger-lock"),
    "alter policy": match_existing("policy-or-trigger-lock"),
    "create rule": match_existing("policy-or-trigger-lock"),
    "switch trigger": match_existing("policy-or-trigger-lock"),
    "rename trigger": match_existing("policy-or-trigger-lock"),
    "switch row security": match_existing("row-security-switched"),
    "lock table": _lock_table,
}
