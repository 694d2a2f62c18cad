"""Locks, scans and rewrites: what the text feared is measured, and what it could not see is told.

A lock that lasts a moment and under which nothing was read is no harm, whatever its mode: every ALTER TABLE takes one.
What reads or rewrites a table under a lock is a finding; whether it is an error is a matter of the limit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel.lint.finding import Severity
from kernel.lint.rules import RULES_BY_ID
from kernel.rehearsal.findings.evidence import (
    SAFE_AS_IS,
    SEVERITY_ORDER,
    add_measurement,
    make_finding,
    reclassify_finding,
)
from kernel.rehearsal.findings.lock_impact import locked_table, locks_held_before, measure_impact
from kernel.rehearsal.findings.statements import (
    failed_at_statement,
    first_words,
    names_in_statement,
    runs_opaque_code,
    statement_actions,
    statement_verbs,
    statements_at_line,
    unqualified_name,
)
from kernel.sql.reader import contains_words
from kernel.units import format_quantity, format_seconds

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from kernel.lint.action import Action
    from kernel.lint.finding import Finding
    from kernel.rehearsal.findings.lock_impact import LockImpact
    from kernel.rehearsal.result import Limits, Run, TracedStatement


# Which rule a statement meets that was seen to read or rewrite a table under a lock, judged by what it does.


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
# The same for what no text tells, by the commands that the server told of.
_RULE_BY_COMMAND = {
    "CREATE INDEX": "create-index-not-concurrently",
    "REINDEX": "reindex-not-concurrently",
    "REFRESH MATERIALIZED VIEW": "refresh-locks-view",
    "ALTER TABLE": "hidden-ddl",
}
# Rows go with these; what became of them, the receipts say.
_INTENDED_VERBS = frozenset({"truncate", "drop table", "drop column", "lock table"})


def rule_for_impact(statement: TracedStatement, seen: LockImpact) -> str | None:
    """The id of the rule, None where what was seen is what the statement is for."""
    acts = statement_actions(statement)
    if any(act.verb in _INTENDED_VERBS for act in acts):
        return None
    for act in acts:
        if rule := _rule_for_action(act, seen):
            return rule
    if first_words(statement) == ("ALTER", "DOMAIN"):
        return "domain-constraint-scans"
    for command in statement.commands:
        if rule := next(
            (_RULE_BY_COMMAND[known] for known in _RULE_BY_COMMAND if command.startswith(f"{known} ")), None
        ):
            return rule
    return (
        "work-under-exclusive-lock" if seen.rewrites or _scans_under_access_exclusive(seen) else "work-under-share-lock"
    )


def rule_for_type_change(seen: LockImpact) -> str:
    """The id of the rule that a change of type meets, by what became of the table."""
    if seen.rewrites:
        return "type-change-rewrites"
    if seen.index_rebuilds:
        return "type-change-rebuilds-indexes"
    return "type-change-rewrites" if seen.scans else "type-change-harmless"


def _rule_for_action(act: Action, seen: LockImpact) -> str | None:
    match act.verb:
        case "change type":
            return rule_for_type_change(seen)
        case "add column":
            return _rule_for_added_column(act, seen)
        case "create table" if "partition" in act.traits:
            return "partition-beside-default"
        case "add primary key" if "using index" in act.traits:
            return "primary-key-sets-not-null"
    return _RULE_BY_VERB.get(act.verb)


def _rule_for_added_column(act: Action, seen: LockImpact) -> str | None:
    """The rule by what was read or written for a new column: its default, its parent, its CHECK."""
    if seen.rewrites:
        return "volatile-default"
    if contains_words(act.words, "REFERENCES"):
        return "foreign-key-locks-parent"
    return "check-validated-under-lock" if contains_words(act.words, "CHECK") else None


def _scans_under_access_exclusive(seen: LockImpact) -> bool:
    return any(scan.held_lock_mode == "ACCESS EXCLUSIVE" for scan in seen.scans)


# What these fear is a lock that lasts: the witnesses see whether it did.
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
# And these, a statement that takes long behind one that locks.
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
# Dropping these locks the tables that they refer to.
_DROPS_OF_REFERRING = ("DROP TABLE ", "DROP TABLE CONSTRAINT ", "DROP FOREIGN TABLE ")
# A statement that takes less of a standstill than this is not what made it long.
_MIN_SHARE_OF_BLOCKING = 0.1


def measure_finding(run: Run, feared: Finding, limits: Limits) -> Finding:
    """A finding of the linter, judged by what happened: worse, as feared, or harmless. Others come back as they are.

    So does what was not run to its end: nothing is known of it but the text. Of statements on one line the worst
    counts.
    """
    found = [_measure_at_statement(run, one, feared, limits) for one in statements_at_line(run, feared.line)]
    return min(found, key=lambda one: SEVERITY_ORDER[one.severity], default=feared)


def _measure_at_statement(run: Run, statement: TracedStatement, feared: Finding, limits: Limits) -> Finding:
    if failed_at_statement(run, statement):
        return feared
    if feared.rule == "hidden-ddl" and not runs_opaque_code(statement):
        return feared  # a function, which somebody else may call
    if feared.rule in RULES_OF_ONE_STATEMENT:
        seen = measure_impact(statement)
        if feared.rule == "type-change-rewrites":
            feared = _reclassify_type_change(feared, seen)
        return add_measurement(feared, seen.describe(feared.relation), severity_of_impact(seen, limits))
    if feared.rule in RULES_OF_FOLLOWING_WORK:
        return _measure_following_work(run, statement, feared, limits)
    return feared


def severity_of_impact(seen: LockImpact, limits: Limits) -> Severity:
    """An error when somebody was shut out for too long, else harmless, unless rows were read or written meanwhile."""
    if seen.blocked_seconds > limits.block_seconds:
        return Severity.ERROR
    return Severity.WARNING if seen.grows_with_rows else Severity.HARMLESS


def _reclassify_type_change(feared: Finding, seen: LockImpact) -> Finding:
    """The finding under the rule that what became of the table meets."""
    rule = rule_for_type_change(seen)
    return feared if rule == feared.rule else reclassify_finding(rule, feared)


def _measure_following_work(run: Run, statement: TracedStatement, feared: Finding, limits: Limits) -> Finding:
    """A statement behind others that lock, by how long it took while they did."""
    held = locks_held_before(run, statement) or measure_impact(statement).locks
    if not held:
        return add_measurement(feared, "nothing locked", Severity.HARMLESS)
    longest = max(held, key=lambda lock: lock.held_seconds)
    took = min(statement.seconds, longest.held_seconds)
    found = Severity.HARMLESS
    if longest.held_seconds > limits.block_seconds and took >= _MIN_SHARE_OF_BLOCKING * longest.held_seconds:
        found = Severity.ERROR
    elif any(scan.rows for scan in statement.scans) or statement.written or statement.rewrites:
        found = Severity.WARNING
    others = len({locked_table(lock) for lock in held}) - 1
    more = f" and {format_quantity(others, 'more table')}" if others else ""
    seen = f"{format_seconds(took)} while {locked_table(longest)}{more} was locked"
    return add_measurement(feared, seen, found)


def findings_for_unforeseen_locks(run: Run, told: Iterable[Finding], limits: Limits) -> Iterator[Finding]:
    """What was read, rewritten or rebuilt under a lock by a statement of which the text did not say so."""
    covered = [statement for one in told if one.rule in LOCK_RULES for statement in statements_at_line(run, one.line)]
    for statement in run.statements:
        if any(statement is one for one in covered) or failed_at_statement(run, statement):
            continue
        seen = measure_impact(statement)
        rule = rule_for_impact(statement, seen) if seen.grows_with_rows else _rule_for_harmless_type_change(statement)
        if rule is None:
            continue
        about = seen.main_relation
        yield make_finding(
            rule,
            f"{about}: {RULES_BY_ID[rule].condition}; measured: {seen.describe(about)}",
            severity=severity_of_impact(seen, limits),
            run=run,
            statement=statement,
            relation=about,
            remedy="" if seen.grows_with_rows else SAFE_AS_IS,
        )


def _rule_for_harmless_type_change(statement: TracedStatement) -> str | None:
    """The rule of what looks dangerous and did nothing: a change of type that the text does not fear either."""
    return (
        "type-change-harmless"
        if "change type" in statement_verbs(statement) and measure_impact(statement).locks
        else None
    )


def findings_for_locked_parents(run: Run, limits: Limits) -> Iterator[Finding]:
    """Tables locked because what refers to them was dropped, which no statement names."""
    for statement in run.statements:
        if not any(command.startswith(_DROPS_OF_REFERRING) for command in statement.commands):
            continue
        named = names_in_statement(statement)
        for lock in measure_impact(statement).locks:
            one = lock.relation
            known = unqualified_name(one.name) in named or (one.root and unqualified_name(one.root) in named)
            dropped = any(command == f"DROP TABLE {one.name}" for command in statement.commands)
            if (
                one.kind not in ("table", "partitioned table")
                or known
                or dropped
                or not _is_access_exclusive(lock.mode)
            ):
                continue
            too_long = lock.held_seconds > limits.block_seconds
            yield make_finding(
                "drop-locks-parent",
                f"{one.name}: locked because what refers to it is dropped; measured: reads and writes shut out for "
                f"{format_seconds(lock.held_seconds)}",
                severity=Severity.ERROR if too_long else Severity.HARMLESS,
                run=run,
                statement=statement,
                relation=one.name,
                remedy="" if too_long else SAFE_AS_IS,
            )


def _is_access_exclusive(mode: str) -> bool:
    return mode == "ACCESS EXCLUSIVE"
