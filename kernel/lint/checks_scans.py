"""Checks of indexes, columns and constraints: what reads, rewrites or rejects the rows of a table in use."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from kernel.lint.action import find_volatile_function, read_column_definition
from kernel.lint.finding import Severity, match_existing, match_rule
from kernel.lint.type_changes import TypeChangeCost, parse_type, type_change_cost

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kernel.lint.action import Action, ColumnDefinition
    from kernel.lint.finding import Check, RuleMatch
    from kernel.lint.state import FileState


_SERIAL_TYPES = frozenset({"serial", "bigserial", "smallserial", "serial2", "serial4", "serial8"})
_RULES_BY_TYPE = {"char": "char-column", "varchar": "varchar-length", "timestamp": "timestamp-without-zone"}


def _add_column(action: Action, state: FileState) -> Iterator[RuleMatch]:
    column = read_column_definition(action.words)
    yield from _check_column_type(action, column, state)
    if not state.existed_before(action.relation):
        return
    if column.type in _SERIAL_TYPES or column.clauses & {"identity", "stored"}:
        yield match_rule("computed-column-rewrites", action)
    elif function := find_volatile_function(column.default):
        message = (
            f"column {action.name} is added with a default that calls {function}(), which may differ for every row"
        )
        yield match_rule("volatile-default", action, message)
    elif "not null" in column.clauses and "default" not in column.clauses:
        yield match_rule("add-required-column", action)
    if column.clauses & {"primary key", "unique"}:
        yield match_rule("unique-builds-index-under-lock", action)
    if "check" in column.clauses:
        yield match_rule("check-validated-under-lock", action)
    if "references" in column.clauses and state.existed_before(column.parent_table):
        yield match_rule("foreign-key-locks-parent", action)


def _new_column(action: Action, state: FileState) -> Iterator[RuleMatch]:
    column = read_column_definition(action.words)
    yield from _check_column_type(action, column, state)
    if "references" in column.clauses and not state.schema.has_index(action.relation, (action.name,)):
        state.unresolved.append(
            (state.statement_index, replace(action, verb="add foreign key", columns=(action.name,)))
        )


def _check_column_type(action: Action, column: ColumnDefinition, state: FileState) -> Iterator[RuleMatch]:
    """Types that another one serves better, each once for a statement."""
    name, length, _ = parse_type(column.type.partition(" [")[0])
    changed = f"column {action.name} gets the type {column.type}" if action.verb == "change type" else ""
    if "primary key" in column.clauses and name in ("integer", "smallint"):
        yield match_rule("int4-key", action)
    rule = "serial-column" if column.type in _SERIAL_TYPES else _RULES_BY_TYPE.get(name)
    if name == "json":
        in_use = state.existed_before(action.relation)
        message = changed or ("" if in_use else "a column of type json")
        yield match_rule("json-column", action, message, severity=None if in_use else Severity.WARNING)
    if rule and (name != "varchar" or length is not None) and state.is_first_report(rule, of_statement=True):
        yield match_rule(rule, action, changed)


def _change_type(action: Action, state: FileState) -> Iterator[RuleMatch]:
    if not state.existed_before(action.relation):
        return
    column = read_column_definition(action.words)
    new, old = column.type, state.schema.column_types.get((action.relation, action.name))
    if old is None or parse_type(old)[0] != parse_type(new)[0]:
        yield from _check_column_type(action, column, state)
    found = type_change_cost(old, new, using="using" in action.traits)
    known = f"from {old} " if old else ""
    if found is TypeChangeCost.REWRITE:
        message = f"column {action.name} is changed {known}to {new}, whose values are stored or checked again"
        yield match_rule("type-change-rewrites", action, message)
    elif found is TypeChangeCost.UNSURE:
        message = f"column {action.name} is changed to {new}; if that is shorter than before, every row is read"
        yield match_rule("type-change-rewrites", action, message, severity=Severity.WARNING)


def _add_foreign_key(action: Action, state: FileState) -> Iterator[RuleMatch]:
    if "not valid" not in action.traits:
        if state.existed_before(action.relation):
            yield match_rule("foreign-key-validated-under-lock", action)
        if action.columns:
            state.unresolved.append((state.statement_index, action))


def _validate(action: Action, state: FileState) -> Iterator[RuleMatch]:
    key = (action.relation, action.name)
    added = state.not_valid.get(key)
    if state.existed_before(action.relation) and added is not None and added == state.transaction:
        yield match_rule("validate-in-same-transaction", action)


def _set_not_null(action: Action, state: FileState) -> Iterator[RuleMatch]:
    if state.existed_before(action.relation) and not state.schema.is_proven_not_null(action.relation, action.name):
        yield match_rule("set-not-null-scans", action)


def _constrain_domain(action: Action, state: FileState) -> Iterator[RuleMatch]:
    if "not valid" not in action.traits and state.existed_before(action.name):
        yield match_rule("domain-constraint-scans", action, relation=action.name)


def _create_index(action: Action, state: FileState) -> Iterator[RuleMatch]:
    for match in match_existing("create-index-not-concurrently", "concurrently", "only")(action, state):
        remedy = "CREATE INDEX … ON ONLY, then for each partition CREATE INDEX CONCURRENTLY and ATTACH PARTITION"
        yield replace(match, remedy=remedy if action.relation in state.schema.partitioned else "")


def _reindex(action: Action, state: FileState) -> Iterator[RuleMatch]:
    if "concurrently" not in action.traits and action.relation not in state.created:
        # Source: PostgreSQL documentation, "REINDEX".
        catalogs = action.name == "system" or action.relation.startswith(("pg_", "information_schema."))
        remedy = "plan a time without traffic: indexes of system catalogs cannot be rebuilt CONCURRENTLY"
        relation = "" if action.name == "system" else action.relation
        yield match_rule("reindex-not-concurrently", action, relation=relation, remedy=remedy if catalogs else "")


SCAN_CHECKS: dict[str, Check] = {
    "create index": _create_index,
    "drop index": match_existing("drop-index-not-concurrently", "concurrently"),
    "reindex": _reindex,
    "add column": _add_column,
    "new column": _new_column,
    "change type": _change_type,
    "add check": match_existing("check-validated-under-lock", "not valid"),
    "add unique": match_existing("unique-builds-index-under-lock", "using index"),
    "add primary key": match_existing("unique-builds-index-under-lock", "using index"),
    "add exclusion": match_existing("exclusion-constraint", "new table"),
    "add not null": match_existing("set-not-null-scans", "not valid"),
    "add foreign key": _add_foreign_key,
    "validate": _validate,
    "set not null": _set_not_null,
    "set expression": match_existing("computed-column-rewrites"),
    "constrain domain": _constrain_domain,
}
