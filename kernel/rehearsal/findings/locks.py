"""Findings about locks, scans and rewrites: the linter's are measured, and those that no text shows are added.

A lock that lasts a moment and under which nothing was read is harmless, whatever its mode: every ALTER TABLE takes one.
A statement that reads or rewrites a table under a lock is a finding; the limit decides whether it is an error.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from kernel.lint.finding import Severity
from kernel.lint.rules import RULES_BY_ID
from kernel.rehearsal.findings.evidence import (
    SAFE_AS_IS,
    add_measurement,
    make_finding,
)
from kernel.rehearsal.findings.lock_impact import locked_table, locks_held_before, measure_impact
from kernel.rehearsal.findings.statements import (
    failed_at_statement,
    first_words,
    names_in_statement,
    runs_opaque_code,
    statement_actions,
    statement_verbs,
    unqualified_name,
)
from kernel.sql.reader import contains_words
from kernel.units import format_quantity, format_seconds

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from kernel.lint.action import Action
    from kernel.lint.finding import Finding
    from kernel.rehearsal.data.integrity import UnindexedForeignKey
    from kernel.rehearsal.findings.lock_impact import LockImpact
    from kernel.rehearsal.result import Limits, Run, TracedStatement


# The rule of a statement that reads or rewrites a table under a lock, by what it does.
_RULE_BY_VERB = {
    "create index": "create-index-not-concurrently",
    "reindex": "reindex-not-concurrently",
    "add check": "check-validated-under-lock",
    "add foreign key": "foreign-key-validated-under-lock",
    "add unique": "unique-builds-index-under-lock",
    "add primary key": "unique-builds-index-under-lock",
    "add exclusion": "exclusion-constraint",
    "set not null": "set-not-null-scans",
    "attach partition": "attach-partition-scans",
    "detach partition": "detach-partition",
    "change storage": "storage-change-rewrites",
    "rewrite table": "vacuum-full-or-cluster",
    "refresh": "refresh-locks-view",
    "constrain domain": "domain-constraint-scans",
    "validate": "validate-in-same-transaction",
    **dict.fromkeys(("insert", "update", "delete", "merge", "copy"), "schema-and-data-mixed"),
}
# The same for what the text does not show, by the commands that the event triggers reported.
_RULE_BY_COMMAND = {
    "CREATE INDEX": "create-index-not-concurrently",
    "REINDEX": "reindex-not-concurrently",
    "REFRESH MATERIALIZED VIEW": "refresh-locks-view",
    "ALTER TABLE": "hidden-ddl",
}
# These remove rows; the receipts say which.
_INTENDED_VERBS = frozenset({"truncate", "drop table", "drop column", "lock table"})


def rule_for_impact(statement: TracedStatement, impact: LockImpact) -> str | None:
    """The id of the rule, None where the impact is what the statement is for."""
    actions = statement_actions(statement)
    if any(action.verb in _INTENDED_VERBS for action in actions):
        return None
    for action in actions:
        if rule := _rule_for_action(action, impact):
            return rule
    if first_words(statement) == ("ALTER", "DOMAIN"):
        return "domain-constraint-scans"
    for command in statement.commands:
        if rule := next(
            (_RULE_BY_COMMAND[known] for known in _RULE_BY_COMMAND if command.startswith(f"{known} ")), None
        ):
            return rule
    exclusive = impact.rewrites or any(scan.held_lock_mode == "ACCESS EXCLUSIVE" for scan in impact.scans)
    return "work-under-exclusive-lock" if exclusive else "work-under-share-lock"


def rule_for_type_change(impact: LockImpact) -> str:
    """The id of the rule of a change of type, by what it did to the table."""
    if impact.rewrites:
        return "type-change-rewrites"
    if impact.index_rebuilds:
        return "type-change-rebuilds-indexes"
    return "type-change-rewrites" if impact.scans else "type-change-harmless"


def _rule_for_action(action: Action, impact: LockImpact) -> str | None:
    match action.verb:
        case "change type":
            return rule_for_type_change(impact)
        case "add column":
            return _rule_for_added_column(action, impact)
        case "create table" if "partition" in action.traits:
            return "partition-beside-default"
        case "add primary key" if "using index" in action.traits:
            return "primary-key-sets-not-null"
    return _RULE_BY_VERB.get(action.verb)


def _rule_for_added_column(action: Action, impact: LockImpact) -> str | None:
    """The rule by the reason that rows were read or written for a new column: default, REFERENCES or CHECK."""
    if impact.rewrites:
        return "volatile-default"
    if contains_words(action.words, "REFERENCES"):
        return "foreign-key-locks-parent"
    return "check-validated-under-lock" if contains_words(action.words, "CHECK") else None


# Rules about a lock that may last long: it is measured whether it did.
RULES_OF_ONE_STATEMENT = frozenset(
    {
        "create-index-not-concurrently", "drop-index-not-concurrently", "reindex-not-concurrently",
        "check-validated-under-lock", "foreign-key-validated-under-lock", "foreign-key-locks-parent",
        "unique-builds-index-under-lock", "exclusion-constraint", "set-not-null-scans", "domain-constraint-scans",
        "primary-key-sets-not-null", "volatile-default", "computed-column-rewrites", "type-change-rewrites",
        "storage-change-rewrites", "vacuum-full-or-cluster", "refresh-locks-view", "attach-partition-scans",
        "partition-beside-default", "detach-partition", "policy-or-trigger-lock", "hidden-ddl",
    }
)  # fmt: skip
# Rules about a long statement after one that locks.
RULES_OF_FOLLOWING_WORK = frozenset(
    {
        "work-under-exclusive-lock", "work-under-share-lock", "several-tables-locked", "lock-table",
        "validate-in-same-transaction", "schema-and-data-mixed",
    }
)  # fmt: skip
LOCK_RULES = (
    RULES_OF_ONE_STATEMENT
    | RULES_OF_FOLLOWING_WORK
    | {"type-change-rebuilds-indexes", "type-change-harmless", "standstill"}
)
_RULES_OF_REWRITES = frozenset(
    {
        *("volatile-default", "computed-column-rewrites", "type-change-rewrites", "storage-change-rewrites"),
        *("vacuum-full-or-cluster", "refresh-locks-view", "hidden-ddl"),
    }
)
# Dropping these locks the tables that they refer to.
_DROPS_OF_REFERRING = ("DROP TABLE ", "DROP TABLE CONSTRAINT ", "DROP FOREIGN TABLE ")
# A statement with a smaller share of the blocked time than this is not its cause.
_MIN_SHARE_OF_BLOCKING = 0.1


def measure_finding(run: Run, finding: Finding, limits: Limits) -> Finding:
    """A finding of the linter with what was measured and the severity that follows; other findings are unchanged.

    A statement that did not run to its end leaves the finding as it is.
    """
    statement = run.statement_at(finding.offset)
    if statement is None or failed_at_statement(run, statement):
        return finding
    if finding.rule == "hidden-ddl" and not runs_opaque_code(statement):
        return finding  # a function, which other sessions may call
    if finding.rule in RULES_OF_ONE_STATEMENT:
        impact = measure_impact(statement)
        if finding.rule == "type-change-rewrites" and (rule := rule_for_type_change(impact)) != finding.rule:
            about = f"{finding.relation}: " if finding.relation else ""
            known = RULES_BY_ID[rule]
            finding = replace(finding, rule=rule, message=f"{about}{known.condition}", remedy=known.workaround)
        return add_measurement(finding, impact.describe(finding.relation), severity_of_impact(impact, limits))
    if finding.rule in RULES_OF_FOLLOWING_WORK:
        return _measure_following_work(run, statement, finding, limits)
    return finding


def severity_of_impact(impact: LockImpact, limits: Limits) -> Severity:
    """An error when other sessions were blocked for longer than the limit, a warning when it grows with the rows."""
    if impact.blocked_seconds > limits.block_seconds:
        return Severity.ERROR
    return Severity.WARNING if impact.grows_with_rows else Severity.HARMLESS


def _measure_following_work(run: Run, statement: TracedStatement, finding: Finding, limits: Limits) -> Finding:
    """A statement after others that lock, by how long it took under their locks."""
    held = locks_held_before(run, statement) or measure_impact(statement).locks
    if not held:
        return add_measurement(finding, "nothing locked", Severity.HARMLESS)
    longest = max(held, key=lambda lock: lock.held_seconds)
    took = min(statement.seconds, longest.held_seconds)
    found = Severity.HARMLESS
    if longest.held_seconds > limits.block_seconds and took >= _MIN_SHARE_OF_BLOCKING * longest.held_seconds:
        found = Severity.ERROR
    elif any(scan.rows for scan in statement.scans) or statement.written or statement.rewrites:
        found = Severity.WARNING
    others = len({locked_table(lock) for lock in held}) - 1
    more = f" and {format_quantity(others, 'more table')}" if others else ""
    measured = f"{format_seconds(took)} while {locked_table(longest)}{more} was locked"
    return add_measurement(finding, measured, found)


def findings_for_unforeseen_locks(run: Run, known: Sequence[Finding], limits: Limits) -> Iterator[Finding]:
    """Findings of statements that read, rewrote or rebuilt under a lock and that no lint finding covers."""
    for statement in run.statements:
        if failed_at_statement(run, statement):
            continue
        impact = measure_impact(statement)
        rules = {one.rule for one in known if one.rule in LOCK_RULES and run.statement_at(one.offset) is statement}
        rule = _unforeseen_rule(statement, impact, rules)
        if rule is None:
            continue
        about = impact.main_relation
        yield make_finding(
            rule,
            f"{about}: {RULES_BY_ID[rule].condition}; measured: {impact.describe(about)}",
            severity=severity_of_impact(impact, limits),
            run=run,
            statement=statement,
            relation=about,
            remedy="" if impact.grows_with_rows else SAFE_AS_IS,
        )


def _unforeseen_rule(statement: TracedStatement, impact: LockImpact, known: set[str]) -> str | None:
    """The rule that the impact shows and that is not known; of a statement with known ones, only that of a rewrite."""
    if known:
        rules = [_rule_for_action(action, impact) for action in statement_actions(statement)]
        is_new = bool(impact.rewrites) and known.isdisjoint(_RULES_OF_REWRITES)
        return next((rule for rule in rules if is_new and rule in _RULES_OF_REWRITES), None)
    if impact.grows_with_rows:
        return rule_for_impact(statement, impact)
    return "type-change-harmless" if impact.locks and "change type" in statement_verbs(statement) else None


def findings_for_locked_parents(run: Run, limits: Limits) -> Iterator[Finding]:
    """Tables locked because a table or constraint that refers to them was dropped; no statement names them."""
    for statement in run.statements:
        if not any(command.startswith(_DROPS_OF_REFERRING) for command in statement.commands):
            continue
        named = names_in_statement(statement)
        for lock in measure_impact(statement).locks:
            one = lock.relation
            known = unqualified_name(one.name) in named or (one.root and unqualified_name(one.root) in named)
            dropped = any(command == f"DROP TABLE {one.name}" for command in statement.commands)
            if one.kind not in ("table", "partitioned table") or known or dropped or lock.mode != "ACCESS EXCLUSIVE":
                continue
            too_long = lock.held_seconds > limits.block_seconds
            yield make_finding(
                "drop-locks-parent",
                f"{one.name}: locked because what refers to it is dropped; measured: reads and writes blocked for "
                f"{format_seconds(lock.held_seconds)}",
                severity=Severity.ERROR if too_long else Severity.HARMLESS,
                run=run,
                statement=statement,
                relation=one.name,
                remedy="" if too_long else SAFE_AS_IS,
            )


_NEGLIGIBLE_ROWS = 1000  # an index is not faster in a smaller table


def findings_for_unindexed_foreign_keys(runs: Iterable[Run], keys: Iterable[UnindexedForeignKey]) -> Iterator[Finding]:
    """Tables that were read because rows of their parent were deleted or changed; no statement names them."""
    keys = tuple(keys)
    for run in runs:
        for statement in run.statements:
            changed = {name: rows for rows in statement.written for name in (rows.relation.name, rows.relation.root)}
            for key in keys:
                rows = changed.get(key.parent)
                read = sum(scan.rows for scan in statement.scans if scan.relation.name == key.table)
                if (
                    rows is None
                    or not rows.deleted + rows.updated
                    or read < _NEGLIGIBLE_ROWS
                    or unqualified_name(key.table) in names_in_statement(statement)
                ):
                    continue
                done = f"{format_quantity(rows.deleted or rows.updated, 'row')} of {key.parent}"
                yield make_finding(
                    "foreign-key-without-index",
                    f"{key.table}: no index begins with {key.columns} of {key.name}; measured: "
                    f"{format_quantity(read, 'row')} read for {done} {'deleted' if rows.deleted else 'changed'}",
                    severity=Severity.WARNING,
                    run=run,
                    statement=statement,
                    relation=key.table,
                    remedy=f"CREATE INDEX CONCURRENTLY ON {key.table} ({key.columns}), before the rows are deleted",
                )
