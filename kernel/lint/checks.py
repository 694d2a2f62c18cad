"""Rules about what a transaction does while it holds locks: work, bulk changes, second tables, no timeout."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from kernel.lint.action import Action
from kernel.lint.actions import read_actions, read_inner_statements
from kernel.lint.checks_losses import LOSS_CHECKS
from kernel.lint.checks_scans import SCAN_CHECKS
from kernel.lint.finding import Severity
from kernel.lint.rules import RULES_BY_ID
from kernel.lint.state import LOCK_MODE_BY_VERB, FileState, RuleMatch
from kernel.sql.reader import STRING_KEY

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kernel.lint.source import SourceFile, SourceStatement
    from kernel.lint.state import SchemaState
    from kernel.sql.reader import Word


_EXCLUSIVE, _SHARE = "ACCESS EXCLUSIVE", "SHARE"
_LONG_VERBS = frozenset({"fill", "call", "validate", "select", "copy"})
_WRITE_VERBS = frozenset({"insert", "update", "delete", "merge"})
# Two tables of one family, or two names of one table.
_SAME_TABLE_VERBS = frozenset({"rename table", "attach partition", "lock table"})
_TIMEOUT_RULES = (("lock_timeout", "no-lock-timeout"), ("statement_timeout", "no-statement-timeout"))


def check_held_locks(act: Action, scene: FileState) -> Iterator[RuleMatch]:
    """What is wrong with doing this now; the act itself has not been taken into account yet."""
    yield from _check_bulk_write(act, scene)
    if act.verb in _LONG_VERBS and _may_take_long(act, scene):
        if held := scene.locked_relations(_EXCLUSIVE):
            says = f"{_describe(act)} runs while {held[0]} is locked ACCESS EXCLUSIVE"
            yield RuleMatch(rule="work-under-exclusive-lock", action=act, relation=held[0], message=says)
        elif held := scene.locked_relations(_SHARE):
            says = f"{_describe(act)} runs while {held[0]} cannot be written"
            yield RuleMatch(rule="work-under-share-lock", action=act, relation=held[0], message=says)
    mode = LOCK_MODE_BY_VERB.get(act.verb)
    if mode and scene.existed_before(act.relation) and "concurrently" not in act.traits:
        yield from _check_new_lock(act, scene, mode)


def _may_take_long(act: Action, scene: FileState) -> bool:
    """Whether it may take long; what validates a constraint of this transaction is told of elsewhere."""
    if act.verb == "validate":
        return (act.relation, act.name) not in scene.not_valid
    if act.verb == "select":
        called = {word.text for word in act.words}
        return scene.existed_before(act.relation) and not called & {"setval", "limit"}
    return act.verb == "call" or scene.existed_before(act.relation)


def _check_bulk_write(act: Action, scene: FileState) -> Iterator[RuleMatch]:
    if act.verb not in _WRITE_VERBS or "bulk" not in act.traits or not scene.existed_before(act.relation):
        return
    if held := scene.locked_relations(_SHARE):
        if scene.is_first_report("schema-and-data-mixed"):
            says = f"rows are changed in bulk while {held[0]} is locked by a change of its schema"
            yield RuleMatch(rule="schema-and-data-mixed", action=act, relation=act.relation, message=says)
    elif scene.transaction is not None:
        scene.bulk_writes[scene.transaction] = act


def _check_new_lock(act: Action, scene: FileState, mode: str) -> Iterator[RuleMatch]:
    written = scene.bulk_writes.get(scene.transaction) if scene.transaction is not None else None
    if written and scene.is_first_report("schema-and-data-mixed"):
        says = f"the table is changed in the transaction that has changed rows of {written.relation} in bulk"
        yield RuleMatch(rule="schema-and-data-mixed", action=act, relation=act.relation, message=says)
    for setting, rule in _TIMEOUT_RULES:
        if setting in scene.disabled_timeouts and scene.is_first_report(rule):
            yield RuleMatch(rule=rule, action=act, relation=act.relation)
    if mode == _EXCLUSIVE and act.verb not in _SAME_TABLE_VERBS:
        others = [name for name in scene.locked_relations(_EXCLUSIVE) if name != act.relation]
        if others and scene.is_first_report("several-tables-locked"):
            says = f"is locked ACCESS EXCLUSIVE while {others[0]} is: both stay shut until the commit"
            yield RuleMatch(rule="several-tables-locked", action=act, relation=act.relation, message=says)


def _describe(act: Action) -> str:
    return {"validate": f"VALIDATE CONSTRAINT {act.name}", "call": "a procedure", "copy": "COPY"}.get(
        act.verb, f"a query of {act.relation}"
    )


# The rules put to one file, statement by statement, and act by act.


_NAME_BYTES = 63  # NAMEDATALEN - 1
_NAMING_COMMANDS = frozenset({"CREATE", "ALTER"})
_CHECKS = {**SCAN_CHECKS, **LOSS_CHECKS}
_CREATE_RELATION_VERBS = frozenset({"create view", "create table", "create materialized view"})
_CREATE_OTHER_VERBS = frozenset({"create function", "create type", "create trigger", "create policy", "create rule"})
_RERUNNABLE_TRAITS = ("if exists", "if not exists", "or replace", "temporary")
# Verbs that have a form that can be run again, unless one of _EXISTS is there.
_RERUNNABLE_VERBS = frozenset(
    {
        *("create table", "create index", "create schema", "create sequence", "create materialized view"),
        *("create view", "create function", "create extension", "add column"),
        *("drop table", "drop column", "drop index", "drop view", "drop materialized view", "drop schema"),
        *("drop function", "drop type", "drop sequence", "drop extension", "drop trigger", "drop policy"),
    }
)


def check_file(text: SourceFile, knowledge: SchemaState) -> tuple[list[tuple[int, RuleMatch]], FileState]:
    """What rules are met by which statement of a file, by its index; and the scene as the file leaves it."""
    statements = [(one, tuple(read_actions(one.words))) for one in text.statements]
    acts = [act for _, found in statements for act in found]
    scene = FileState(knowledge, created_anywhere=_created_names(acts))
    if text.no_lock_timeout:
        scene.disabled_timeouts.add("lock_timeout")
    met: list[tuple[int, RuleMatch]] = []
    for index, (one, found) in enumerate(statements):
        scene.statement_index, scene.transaction = index, one.transaction
        met += [
            (index, hit)
            for hit in (*_check_refused(one), *_check_name_lengths(one), *_check_enum_values(one, found, scene))
        ]
        for act in found:
            met += [(index, hit) for hit in _check_action(act, scene)]
    indexes = [index for index, (_, found) in enumerate(statements) for _ in found]
    met += [(index, hit) for index, hit in _check_whole_file(list(zip(indexes, acts, strict=True)), scene)]
    return met, scene


def _created_names(acts: Sequence[Action]) -> frozenset[str]:
    """Names under which the file makes something."""
    made = {act.relation for act in acts if act.verb in _CREATE_RELATION_VERBS} | {
        act.name for act in acts if act.verb in _CREATE_OTHER_VERBS
    }
    return frozenset(made | {act.other for act in acts if act.verb == "rename table"})


def _check_action(act: Action, scene: FileState) -> Iterator[RuleMatch]:
    if act.verb == "do":
        for word in act.words:
            yield from _check_do_block(word, scene)
    elif act.verb == "create function":
        yield from _check_function_body(act)
    found = [*_CHECKS[act.verb](act, scene)] if act.verb in _CHECKS else []
    yield from found
    yield from check_held_locks(act, scene)
    scene.apply(act)


def _check_do_block(word: Word, scene: FileState) -> Iterator[RuleMatch]:
    """What a DO block runs."""
    for inner in read_inner_statements(word):
        if not inner.words:
            begin = inner.execute_begin or 0
            says = "EXECUTE runs a text that only the run knows"
            yield RuleMatch(
                rule="hidden-ddl", action=Action(verb="do", begin=begin), severity=Severity.WARNING, message=says
            )
            continue
        found = [hit for act in read_actions(inner.words) for hit in _check_action(act, scene)]
        yield from found
        if inner.execute_begin is not None and inner.changes_schema and not any(_is_harmful(hit) for hit in found):
            act = next(read_actions(inner.words), None)
            if act and scene.existed_before(act.relation):
                yield RuleMatch(
                    rule="hidden-ddl", action=replace(act, begin=inner.execute_begin), relation=act.relation
                )


def _is_harmful(hit: RuleMatch) -> bool:
    return (hit.severity or RULES_BY_ID[hit.rule].severity) is not Severity.HARMLESS


def _check_function_body(act: Action) -> Iterator[RuleMatch]:
    """DDL in a function, which runs whenever somebody calls it."""
    for word in act.words:
        for inner in read_inner_statements(word):
            acts = tuple(read_actions(inner.words))
            if inner.changes_schema and not any("temporary" in one.traits for one in acts):
                says = f"function {act.name} changes the schema when it is called"
                yield RuleMatch(rule="hidden-ddl", action=act, severity=Severity.WARNING, message=says)
                return


def _check_refused(one: SourceStatement) -> Iterator[RuleMatch]:
    if one.refused_rule and one.words:
        yield RuleMatch(rule=one.refused_rule, action=Action(verb="refused", begin=one.words[0].begin))


def _check_name_lengths(one: SourceStatement) -> Iterator[RuleMatch]:
    if not one.words or one.words[0].key not in _NAMING_COMMANDS:
        return
    for word in one.words:
        if word.is_name and len(word.text.encode()) > _NAME_BYTES:
            says = f"{word.text} is longer than {_NAME_BYTES} bytes and is cut off there"
            yield RuleMatch(rule="identifier-too-long", action=Action(verb="name", begin=word.begin), message=says)
            return


def _check_enum_values(one: SourceStatement, acts: Sequence[Action], scene: FileState) -> Iterator[RuleMatch]:
    if not scene.enum_values or any(act.verb == "add enum value" for act in acts):
        return
    for word in one.words:
        transaction, fresh = scene.enum_values.get(word.text, (-1, False))
        if word.key == STRING_KEY and transaction == scene.transaction:
            says = f"the value {word.text} is used in the transaction that adds it"
            if fresh:
                says += ", which PostgreSQL before 17 refuses even for a type that is as new"
            severity = Severity.WARNING if fresh else None
            act = Action(verb="use", begin=word.begin)
            yield RuleMatch(rule="enum-value-used-at-once", action=act, message=says, severity=severity)
            return


def _check_whole_file(acts: Sequence[tuple[int, Action]], scene: FileState) -> Iterator[tuple[int, RuleMatch]]:
    """What only the whole file shows."""
    bare = [
        (index, act)
        for index, act in acts
        if act.verb in _RERUNNABLE_VERBS and act.traits.isdisjoint(_RERUNNABLE_TRAITS)
    ]
    if bare:
        others = f", and {len(bare) - 1} more of the file" if len(bare) > 1 else ""
        index, act = bare[0]
        says = f"{act.verb.upper()} fails when it is run again{others}"
        yield index, RuleMatch(rule="not-rerunnable", action=act, relation=act.relation, message=says)
    added = [act for _, act in acts if act.verb == "add column" and act.relation not in scene.created]
    for index, act in acts:
        lasting = act.verb == "create table" and act.traits.isdisjoint({"temporary", "partition"})
        if lasting and added and not _is_related(act.relation, [one for _, one in acts], added):
            says = f"is created in the file that changes {added[0].relation}, with which it has nothing to do"
            yield index, RuleMatch(rule="unrelated-changes", action=act, relation=act.relation, message=says)
            return


def _is_related(table: str, acts: Sequence[Action], added: Sequence[Action]) -> bool:
    """Whether a new table mentions a changed one, as by a foreign key, or a new column there is named after it."""
    own = [act for act in acts if act.relation == table]
    mentioned = {act.other for act in own} | {word.text for act in own for word in act.words}
    named = {act.name for act in added} | {word.text for act in added for word in act.words}
    stem = table.rpartition(".")[2].rstrip("s")
    return any(act.relation in mentioned for act in added) or any(stem in name for name in named)
