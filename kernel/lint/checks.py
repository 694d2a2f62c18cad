"""Check the rules for one file, statement by statement and action by action."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from kernel.lint.action import Action
from kernel.lint.actions import read_actions, read_inner_statements
from kernel.lint.checks_losses import LOSS_CHECKS
from kernel.lint.checks_scans import SCAN_CHECKS
from kernel.lint.finding import Severity, match_rule
from kernel.lint.rules import RULES_BY_ID
from kernel.lint.state import LOCK_MODE_BY_VERB, FileState
from kernel.sql.reader import MAX_NAME_BYTES, QUOTED_KEY, STRING_KEY, contains_words

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kernel.lint.finding import RuleMatch
    from kernel.lint.source import SourceFile, SourceStatement
    from kernel.lint.state import SchemaState
    from kernel.sql.reader import Word


_NAMING_COMMANDS = frozenset({"CREATE", "ALTER"})
_CHECKS = {**SCAN_CHECKS, **LOSS_CHECKS}
_CREATE_RELATION_VERBS = frozenset({"create view", "create table", "create materialized view"})
_RERUNNABLE_TRAITS = ("if exists", "if not exists", "or replace", "temporary")
_CONSTRAINT_VERBS = frozenset({"add check", "add unique", "add primary key", "add foreign key", "add exclusion"})
_CREATE_OTHER_VERBS = _CONSTRAINT_VERBS | {
    *("create function", "create type", "create domain", "create trigger", "create policy", "create rule"),
}
_ROW_VERBS = frozenset({"insert", "copy"})
_VERBS_OF_A_TABLE = frozenset(
    {
        *("drop constraint", "drop trigger", "drop policy", "drop rule", "drop column", "add column"),
        *("create trigger", "create policy", "create rule", *_CONSTRAINT_VERBS),
    }
)
# Verbs of statements that do not run a second time without one of _RERUNNABLE_TRAITS. Several have no such form: what
# they create has to be dropped before, or they stand in a block that looks first.
_RERUNNABLE_VERBS = (
    _VERBS_OF_A_TABLE
    | _ROW_VERBS
    | {
        *("create table", "create index", "create schema", "create sequence", "create materialized view"),
        *("create view", "create function", "create extension", "create type", "create domain", "create role"),
        *("create publication", "create statistics", "create collation"),
        *("drop table", "drop index", "drop view", "drop materialized view", "drop schema", "drop function"),
        *("drop procedure", "drop aggregate", "drop type", "drop domain", "drop sequence", "drop extension"),
        *(
            "drop role",
            "rename table",
            "rename column",
            "rename index",
            "rename object",
            "add enum value",
            "constrain domain",
        ),
        *("attach partition", "detach partition"),
    }
)
_COMMAND_BY_VERB = dict.fromkeys((*_CONSTRAINT_VERBS, "constrain domain"), "ADD CONSTRAINT") | {
    "add enum value": "ADD VALUE",
    "rename table": "RENAME",
    "rename index": "RENAME",
    "rename object": "RENAME",
}
# What an INSERT says where it adds only rows that are not there.
_INSERT_GUARDS = (("ON", "CONFLICT"), ("NOT", "EXISTS"), ("NOT", "IN"), ("EXCEPT",))
_EXCLUSIVE, _SHARE = "ACCESS EXCLUSIVE", "SHARE"
_LONG_VERBS = frozenset({"fill", "call", "validate", "select", "copy"})
_WRITE_VERBS = frozenset({"insert", "update", "delete", "merge"})
# These lock related tables together, or name one table twice.
_SAME_TABLE_VERBS = frozenset({"rename table", "attach partition", "lock table"})
_TIMEOUT_RULES = (("lock_timeout", "no-lock-timeout"), ("statement_timeout", "no-statement-timeout"))


def check_file(
    source: SourceFile, schema: SchemaState, *, pending: bool
) -> tuple[list[tuple[int, RuleMatch]], FileState]:
    """The rules that a file meets, each with the index of the statement, and the state after the file."""
    statements = [(one, tuple(read_actions(one.words))) for one in source.statements]
    actions = [action for _, found in statements for action in found]
    state = FileState(schema, created_anywhere=_created_names(actions))
    state.in_batches = source.in_batches
    if source.no_lock_timeout:
        state.disabled_timeouts.add("lock_timeout")
    matches: list[tuple[int, RuleMatch]] = []
    for index, (one, found) in enumerate(statements):
        state.statement_index, state.transaction = index, one.transaction
        matches += [
            (index, match)
            for match in (*_check_refused(one), *_check_name_lengths(one), *_check_enum_values(one, found, state))
        ]
        for action in found:
            matches += [(index, match) for match in _check_action(action, state)]
    indexes = [index for index, (_, found) in enumerate(statements) for _ in found]
    matches += [(index, match) for index, match in _check_whole_file(list(zip(indexes, actions, strict=True)), state)]
    if pending:
        schema.pending |= state.added_columns | {(relation, "") for relation in state.created}
    return matches, state


def _created_names(actions: Sequence[Action]) -> frozenset[str]:
    """The names of everything that the file creates or renames to."""
    made = {action.relation for action in actions if action.verb in _CREATE_RELATION_VERBS} | {
        action.name for action in actions if action.verb in _CREATE_OTHER_VERBS
    }
    return frozenset(made | {action.other for action in actions if action.verb == "rename table"})


def _check_action(action: Action, state: FileState) -> Iterator[RuleMatch]:
    if action.verb == "do":
        for word in action.words:
            yield from _check_do_block(word, state)
    elif action.verb == "create function":
        yield from _check_function_body(action)
    found = [*_CHECKS[action.verb](action, state)] if action.verb in _CHECKS else []
    yield from found
    yield from _check_held_locks(action, state)
    state.apply(action)


def _check_do_block(word: Word, state: FileState) -> Iterator[RuleMatch]:
    """Check the statements of a DO block, which run now."""
    for inner in read_inner_statements(word):
        if not inner.words:
            begin = inner.execute_begin or 0
            message = "EXECUTE runs a text that is known only when it runs"
            yield match_rule("hidden-ddl", Action(verb="do", begin=begin), message, severity=Severity.WARNING)
            continue
        found = [match for action in read_actions(inner.words) for match in _check_action(action, state)]
        yield from found
        if inner.execute_begin is not None and inner.changes_schema and not any(_is_harmful(match) for match in found):
            action = next(read_actions(inner.words), None)
            if action and state.existed_before(action.relation):
                yield match_rule("hidden-ddl", replace(action, begin=inner.execute_begin), relation=action.relation)


def _is_harmful(match: RuleMatch) -> bool:
    return (match.severity or RULES_BY_ID[match.rule].severity) is not Severity.HARMLESS


def _check_function_body(action: Action) -> Iterator[RuleMatch]:
    """Find DDL in a function, which runs whenever the function is called."""
    for word in action.words:
        for inner in read_inner_statements(word):
            actions = tuple(read_actions(inner.words))
            if inner.changes_schema and not any("temporary" in one.traits for one in actions):
                message = f"function {action.name} changes the schema when it is called"
                yield match_rule("hidden-ddl", action, message, relation="", severity=Severity.WARNING)
                return


def _check_refused(statement: SourceStatement) -> Iterator[RuleMatch]:
    if statement.refused_rule:
        yield match_rule(statement.refused_rule, Action(verb="refused", begin=statement.refused_begin))


def _check_name_lengths(statement: SourceStatement) -> Iterator[RuleMatch]:
    if not statement.words or statement.words[0].key not in _NAMING_COMMANDS:
        return
    for word in statement.words:
        name = statement.part.sql[word.begin : word.end]
        if word.key == QUOTED_KEY:
            name = name[1:-1].replace(b'""', b'"')
        if word.is_name and len(name) > MAX_NAME_BYTES:
            message = f"{name.decode(errors='replace')} is longer than {MAX_NAME_BYTES} bytes and is cut off there"
            yield match_rule("identifier-too-long", Action(verb="name", begin=word.begin), message)
            return


def _check_enum_values(statement: SourceStatement, actions: Sequence[Action], state: FileState) -> Iterator[RuleMatch]:
    if not state.enum_values or any(action.verb == "add enum value" for action in actions):
        return
    for word in statement.words:
        transaction, is_new_type = state.enum_values.get(word.text, (-1, False))
        if word.key == STRING_KEY and transaction == state.transaction:
            message = f"the value {word.text} is used in the transaction that adds it"
            if is_new_type:
                message += ", which PostgreSQL before 17 refuses even for a type created in the same transaction"
            severity = Severity.WARNING if is_new_type else None
            action = Action(verb="use", begin=word.begin)
            yield match_rule("enum-value-used-at-once", action, message, relation="", severity=severity)
            return


def _check_whole_file(actions: Sequence[tuple[int, Action]], state: FileState) -> Iterator[tuple[int, RuleMatch]]:
    """Check what only the whole file shows."""
    bare = list(_not_rerunnable(actions))
    if bare:
        others = f", and {len(bare) - 1} more in the file" if len(bare) > 1 else ""
        index, action = bare[0]
        command = _COMMAND_BY_VERB.get(action.verb, action.verb.upper())
        effect = "adds its rows again, or fails," if action.verb in _ROW_VERBS else "fails"
        yield index, match_rule("not-rerunnable", action, f"{command} {effect} when it is run again{others}")
    added = [action for _, action in actions if action.verb == "add column" and action.relation not in state.created]
    for index, action in actions:
        lasting = action.verb == "create table" and action.traits.isdisjoint({"temporary", "partition"})
        if lasting and added and not _is_related(action.relation, [one for _, one in actions], added):
            message = f"is created in the file that changes {added[0].relation}, which is unrelated"
            yield index, match_rule("unrelated-changes", action, message)
            return


def _not_rerunnable(actions: Sequence[tuple[int, Action]]) -> Iterator[tuple[int, Action]]:
    """The actions that fail or add rows when they run again, unless the file first removes what they create."""
    removed: set[tuple[str, str]] = set()
    for index, action in actions:
        name = action.name or action.relation
        key = (action.relation if action.verb in _VERBS_OF_A_TABLE else name, name)
        rerunnable = (
            not action.traits.isdisjoint({*_RERUNNABLE_TRAITS, "new table"})
            or key in removed
            or (action.verb in _ROW_VERBS and (action.relation, "") in removed)
            or (action.verb == "insert" and any(contains_words(action.words, *one) for one in _INSERT_GUARDS))
        )
        if action.verb in _RERUNNABLE_VERBS and not rerunnable:
            yield index, action
        if action.verb in ("truncate", "delete") or "temporary" in action.traits:
            removed.add((action.relation, ""))
        elif action.verb.startswith("drop "):
            removed.add(key)


def _is_related(table: str, actions: Sequence[Action], added: Sequence[Action]) -> bool:
    """Whether a new table mentions a changed one, as in a foreign key, or a new column is named after it."""
    own = [action for action in actions if action.relation == table]
    mentioned = {action.other for action in own} | {word.text for action in own for word in action.words}
    named = {action.name for action in added} | {word.text for action in added for word in action.words}
    stem = table.rpartition(".")[2].rstrip("s")
    return any(action.relation in mentioned for action in added) or any(stem in name for name in named)


def _check_held_locks(action: Action, state: FileState) -> Iterator[RuleMatch]:
    """Check the action against the locks that earlier statements of the transaction hold."""
    yield from _check_bulk_write(action, state)
    if action.verb in _LONG_VERBS and _may_take_long(action, state):
        if held := state.locked_relations(_EXCLUSIVE):
            message = f"{_describe(action)} runs while {held[0]} is locked ACCESS EXCLUSIVE"
            yield match_rule("work-under-exclusive-lock", action, message, relation=held[0])
        elif held := state.locked_relations(_SHARE):
            message = f"{_describe(action)} runs while {held[0]} cannot be written"
            yield match_rule("work-under-share-lock", action, message, relation=held[0])
    mode = LOCK_MODE_BY_VERB.get(action.verb)
    if mode and state.existed_before(action.relation) and "concurrently" not in action.traits:
        yield from _check_new_lock(action, state, mode)


def _may_take_long(action: Action, state: FileState) -> bool:
    """Whether it may take long. Validating a constraint of the same transaction has a rule of its own."""
    if action.verb == "validate":
        return (action.relation, action.name) not in state.not_valid
    if action.verb == "select":
        called = {word.text for word in action.words}
        return state.existed_before(action.relation) and not called & {"setval", "limit"}
    return action.verb == "call" or state.existed_before(action.relation)


def _check_bulk_write(action: Action, state: FileState) -> Iterator[RuleMatch]:
    if action.verb not in _WRITE_VERBS or "bulk" not in action.traits or not state.existed_before(action.relation):
        return
    if held := state.locked_relations(_SHARE):
        if state.is_first_report("schema-and-data-mixed"):
            message = f"rows are changed in bulk while {held[0]} is locked by a change of its schema"
            yield match_rule("schema-and-data-mixed", action, message)
    elif state.transaction is not None:
        state.bulk_writes[state.transaction] = action


def _check_new_lock(action: Action, state: FileState, mode: str) -> Iterator[RuleMatch]:
    written = state.bulk_writes.get(state.transaction) if state.transaction is not None else None
    if written and state.is_first_report("schema-and-data-mixed"):
        message = f"the table is changed in the transaction that has changed rows of {written.relation} in bulk"
        yield match_rule("schema-and-data-mixed", action, message)
    for setting, rule in _TIMEOUT_RULES:
        if setting in state.disabled_timeouts and state.is_first_report(rule):
            yield match_rule(rule, action)
    if mode == _EXCLUSIVE and action.verb not in _SAME_TABLE_VERBS:
        others = [name for name in state.locked_relations(_EXCLUSIVE) if name != action.relation]
        if others and state.is_first_report("several-tables-locked"):
            message = f"is locked ACCESS EXCLUSIVE while {others[0]} is: both stay locked until the commit"
            yield match_rule("several-tables-locked", action, message)


def _describe(action: Action) -> str:
    return {"validate": f"VALIDATE CONSTRAINT {action.name}", "call": "a procedure", "copy": "COPY"}.get(
        action.verb, f"a query of {action.relation}"
    )
