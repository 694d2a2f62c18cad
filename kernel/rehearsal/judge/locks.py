"""Locks, scans and rewrites: what the text feared is measured, and what it could not see is told.

A lock that lasts a moment and under which nothing was read is no harm, whatever its mode: every ALTER TABLE takes one.
What reads or rewrites a table under a lock is a finding; whether it is an error is a matter of the limit.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from kernel import units
from kernel.rehearsal import rules
from kernel.rehearsal.judge import cause, deed, finding, harm, names
from kernel.rehearsal.result import Severity

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from kernel.rehearsal.judge.evidence import Limits
    from kernel.rehearsal.judge.harm import Harm
    from kernel.rehearsal.result import Finding, Run, Statement

# What these fear is a lock that lasts: the witnesses see whether it did.
OF_ONE_STATEMENT = frozenset(
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
OF_WHAT_FOLLOWS = frozenset(
    {
        "work-under-exclusive-lock", "work-under-share-lock", "several-tables-locked", "lock-table",
        "validate-in-same-transaction", "schema-and-data-mixed",
    }
)  # fmt: skip
RULES = OF_ONE_STATEMENT | OF_WHAT_FOLLOWS | {"type-change-rebuilds-indexes", "type-change-harmless", "standstill"}
# Dropping these locks the tables that they refer to.
_REFERRING = ("DROP TABLE ", "DROP TABLE CONSTRAINT ", "DROP FOREIGN TABLE ")
_SAFE = "nothing: on this data it is safe as it is"
ORDER = {severity: rank for rank, severity in enumerate(Severity)}  # the worst first
# A statement that takes less of a standstill than this is not what made it long.
_SHARE = 0.1


def measured(run: Run, feared: Finding, limits: Limits) -> Finding:
    """A finding of the linter, judged by what happened: worse, as feared, or harmless. Others come back as they are.

    So does what was not run to its end: nothing is known of it but the text. Of statements on one line the worst
    counts.
    """
    found = [_measured(run, one, feared, limits) for one in deed.all_at(run, feared.line)]
    return min(found, key=lambda one: ORDER[one.severity], default=feared)


def _measured(run: Run, statement: Statement, feared: Finding, limits: Limits) -> Finding:
    if deed.unfinished(run, statement):
        return feared
    if feared.rule == "hidden-ddl" and not deed.out_of_sight(statement):
        return feared  # a function, which somebody else may call
    if feared.rule in OF_ONE_STATEMENT:
        seen = harm.of(statement)
        if feared.rule == "type-change-rewrites":
            feared = _type_change(feared, seen)
        return weighed(feared, seen.told(feared.relation), severity(seen, limits))
    if feared.rule in OF_WHAT_FOLLOWS:
        return _followed(run, statement, feared, limits)
    return feared


def severity(seen: Harm, limits: Limits) -> Severity:
    """An error when somebody was shut out for too long, else harmless, unless rows were read or written meanwhile."""
    if seen.seconds > limits.block_seconds:
        return Severity.ERROR
    return Severity.WARNING if seen.worked else Severity.HARMLESS


def weighed(feared: Finding, seen: str, severity: Severity) -> Finding:
    """The finding at its place, with what was measured of it."""
    remedy = _SAFE if severity is Severity.HARMLESS else feared.remedy
    return replace(feared, message=f"{feared.message}; measured: {seen}", severity=severity, remedy=remedy)


def _type_change(feared: Finding, seen: Harm) -> Finding:
    """The finding under the rule that what became of the table meets."""
    rule = cause.of_type_change(seen)
    return feared if rule == feared.rule else finding.under(rule, feared)


def _followed(run: Run, statement: Statement, feared: Finding, limits: Limits) -> Finding:
    """A statement behind others that lock, by how long it took while they did."""
    held = harm.held_before(run, statement) or harm.of(statement).locks
    if not held:
        return weighed(feared, "nothing locked", Severity.HARMLESS)
    longest = max(held, key=lambda lock: lock.held_seconds)
    took = min(statement.seconds, longest.held_seconds)
    found = Severity.HARMLESS
    if longest.held_seconds > limits.block_seconds and took >= _SHARE * longest.held_seconds:
        found = Severity.ERROR
    elif any(scan.rows for scan in statement.scans) or statement.written or statement.rewrites:
        found = Severity.WARNING
    others = len({harm.felt(lock) for lock in held}) - 1
    more = f" and {units.several(others, 'more table')}" if others else ""
    seen = f"{units.seconds(took)} while {harm.felt(longest)}{more} was locked"
    return weighed(feared, seen, found)


def unforeseen(run: Run, told: Iterable[Finding], limits: Limits) -> Iterator[Finding]:
    """What was read, rewritten or rebuilt under a lock by a statement of which the text did not say so."""
    covered = [statement for one in told if one.rule in RULES for statement in deed.all_at(run, one.line)]
    for statement in run.statements:
        if any(statement is one for one in covered) or deed.unfinished(run, statement):
            continue
        seen = harm.of(statement)
        rule = cause.of(statement, seen) if seen.worked else _quiet(statement)
        if rule is None:
            continue
        about = seen.relation
        yield finding.of(
            rule,
            f"{about}: {rules.BY_ID[rule].condition}; measured: {seen.told(about)}",
            severity=severity(seen, limits),
            run=run,
            statement=statement,
            relation=about,
            remedy="" if seen.worked else _SAFE,
        )


def _quiet(statement: Statement) -> str | None:
    """The rule of what looks dangerous and did nothing: a change of type that the text does not fear either."""
    return "type-change-harmless" if "change type" in deed.verbs(statement) and harm.of(statement).locks else None


def parents(run: Run, limits: Limits) -> Iterator[Finding]:
    """Tables locked because what refers to them was dropped, which no statement names."""
    for statement in run.statements:
        if not any(command.startswith(_REFERRING) for command in statement.commands):
            continue
        named = deed.names(statement)
        for lock in harm.of(statement).locks:
            one = lock.relation
            known = names.bare(one.name) in named or (one.root and names.bare(one.root) in named)
            dropped = any(command == f"DROP TABLE {one.name}" for command in statement.commands)
            if one.kind not in ("table", "partitioned table") or known or dropped or not _shut_whole(lock.mode):
                continue
            too_long = lock.held_seconds > limits.block_seconds
            yield finding.of(
                "drop-locks-parent",
                f"{one.name}: locked because what refers to it is dropped; measured: reads and writes shut out for "
                f"{units.seconds(lock.held_seconds)}",
                severity=Severity.ERROR if too_long else Severity.HARMLESS,
                run=run,
                statement=statement,
                relation=one.name,
                remedy="" if too_long else _SAFE,
            )


def _shut_whole(mode: str) -> bool:
    return mode == "ACCESS EXCLUSIVE"
