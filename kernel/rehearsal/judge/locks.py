"""Locks, scans and rewrites: what the text feared is measured, and what it could not see is told.

A lock that lasts a moment and under which nothing was read is no harm, whatever its mode: every ALTER TABLE takes one.
What reads or rewrites a table under a lock is a finding; whether it is an error is a matter of the limit.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from kernel import units
from kernel.rehearsal.judge import cause, finding, harm
from kernel.rehearsal.result import Severity

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from kernel.rehearsal.judge.evidence import Limits
    from kernel.rehearsal.judge.harm import Harm
    from kernel.rehearsal.result import Finding, Run, Shut, Statement

# What these fear is a lock that lasts: the witnesses see whether it did.
OF_ONE_STATEMENT = frozenset(
    {
        "create-index-not-concurrently", "drop-index-not-concurrently", "reindex-not-concurrently",
        "check-validated-under-lock", "foreign-key-validated-under-lock", "foreign-key-locks-parent",
        "unique-builds-index-under-lock", "exclusion-constraint", "set-not-null-scans", "domain-constraint-scans",
        "primary-key-sets-not-null", "volatile-default", "computed-column-rewrites", "type-change-rewrites",
        "type-change-rebuilds-indexes", "storage-change-rewrites", "vacuum-full-or-cluster", "refresh-locks-view",
        "attach-partition-scans", "partition-beside-default", "detach-partition", "policy-or-trigger-lock",
    }
)  # fmt: skip
# And these, a statement that takes long behind one that locks.
OF_WHAT_FOLLOWS = frozenset(
    {
        "work-under-exclusive-lock", "work-under-share-lock", "several-tables-locked", "lock-table",
        "validate-in-same-transaction", "schema-and-data-mixed",
    }
)  # fmt: skip


def measured(run: Run, feared: Finding, limits: Limits) -> Finding:
    """A finding of the linter, judged by what happened: worse, as feared, or harmless. Others come back as they are."""
    statement = at(run, feared.line)
    if statement is None:
        return feared
    if feared.rule in OF_ONE_STATEMENT:
        seen = harm.of(statement)
        severity = _severity(seen, limits)
        return _weighed(feared, str(seen) or "it shut nobody out", severity)
    if feared.rule in OF_WHAT_FOLLOWS:
        return _followed(run, statement, feared, limits)
    return feared


def _severity(seen: Harm, limits: Limits) -> Severity:
    if seen.seconds >= limits.block_seconds:
        return Severity.ERROR
    if seen.worked:
        return Severity.WARNING
    return Severity.HARMLESS


def _followed(run: Run, statement: Statement, feared: Finding, limits: Limits) -> Finding:
    """A statement behind others that lock, by how long it took while they did."""
    held = harm.held_before(run, statement) or harm.of(statement).locks
    waited = min((lock.held_seconds for lock in held), default=0.0)
    took = min(statement.seconds, waited) if held else 0.0
    works = bool(statement.scans or statement.written or statement.rewrites)
    severity = Severity.HARMLESS
    if held and max(lock.held_seconds for lock in held) >= limits.block_seconds and took >= limits.block_seconds / 10:
        severity = Severity.ERROR
    elif held and works:
        severity = Severity.WARNING
    names = ", ".join(sorted({harm.felt(lock) for lock in held}))
    seen = f"{units.seconds(statement.seconds)} while {names} was locked" if held else "nothing was locked"
    return _weighed(feared, seen, severity)


def _weighed(feared: Finding, seen: str, severity: Severity) -> Finding:
    """The finding at its place, with what was measured of it."""
    remedy = "nothing: on this data it is safe as it is" if severity is Severity.HARMLESS else feared.remedy
    return replace(feared, message=f"{feared.message}; measured: {seen}", severity=severity, remedy=remedy)


def at(run: Run, line: int | None) -> Statement | None:
    """The statement of a run that a line of its file belongs to; None where none of it was run."""
    if line is None:
        return None
    return max((one for one in run.statements if one.line <= line), key=lambda one: one.line, default=None)


def unforeseen(run: Run, told: Iterable[Finding], limits: Limits) -> Iterator[Finding]:
    """What was read, rewritten or rebuilt under a lock by a statement of which the text did not say so."""
    covered = {one.line for one in told if one.rule in OF_ONE_STATEMENT}
    for statement in run.statements:
        seen = harm.of(statement)
        if not seen.worked or any(at(run, line) is statement for line in covered):
            continue
        rule = cause.of(statement, seen)
        if rule is None:
            continue
        first = (*seen.rewrites, *(scan.relation for scan in seen.scans), *seen.rebuilds)[0]
        yield finding.of(
            rule,
            str(seen),
            severity=_severity(seen, limits),
            run=run,
            statement=statement,
            relation=first.table or first.name,
        )


def standstill(run: Run, shut: Iterable[Shut], told: Iterable[Finding], limits: Limits) -> Iterator[Finding]:
    """Relations that a migration shut longer than the limit, where no finding has said so."""
    errors = [one for one in told if one.severity is Severity.ERROR]
    for one in shut:
        seconds = max(one.reads_seconds, one.writes_seconds)
        if one.version != run.version or seconds < limits.block_seconds:
            continue
        name = one.relation.name
        if any((known.relation and name.endswith(known.relation)) or name in known.message for known in errors):
            continue
        statement = _longest(run, name)
        who = "reads and writes" if one.reads_seconds >= limits.block_seconds else "writes"
        yield finding.of(
            "standstill",
            f"{name}: {who} were shut out for {units.seconds(seconds)}, "
            f"more than {units.seconds(limits.block_seconds)}",
            run=run,
            statement=statement,
            relation=name,
        )


def _longest(run: Run, name: str) -> Statement | None:
    """The statement that took the lock which lasted longest."""
    locks = [
        (lock.held_seconds, index)
        for index, one in enumerate(run.statements)
        for lock in harm.of(one).locks
        if harm.felt(lock) == name
    ]
    return run.statements[max(locks)[1]] if locks else None
