"""The state that the migrations leave behind: sequences, indexes, constraints, keys.

What production has already is told, and is nobody's fault. What a statement names and takes away is meant.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel import units
from kernel.rehearsal.judge import deed, finding, names
from kernel.rehearsal.result import Severity

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kernel.rehearsal.data.safeguards import Gone
    from kernel.rehearsal.data.sanity import Sanity, Unvalidated
    from kernel.rehearsal.result import Finding, Run, Statement

_ALREADY = "; production has it already"


def left(sanity: Sanity, runs: Sequence[Run]) -> Iterator[Finding]:
    """A finding for each, at the last statement that names it; harmless for what was so before."""
    for behind in sanity.behind:
        what = f"{behind.sequence}: next is {behind.next_value}, {behind.column} has {behind.greatest} already"
        table = behind.column.rpartition(".")[0]
        yield _found("sequence-behind", what, table, runs, names.bare(table), before=behind.before)
    for near in sanity.near_end:
        share = 100 * near.greatest // near.limit
        what = f"{near.column}: {units.count(near.greatest)} is {share} % of what {near.type} holds"
        table = near.column.rpartition(".")[0]
        yield _found("int4-key-near-end", what, table, runs, names.bare(table), before=near.before)
    for invalid in sanity.invalid:
        what = f"{invalid.index} of {invalid.table}: is INVALID"
        yield _found("invalid-index", what, invalid.table, runs, names.bare(invalid.index), before=invalid.before)
    in_the_way = {
        (one.relation, one.constraint) for run in runs for one in (run.failed.violations if run.failed else ())
    }
    for one in sanity.unvalidated:
        # A migration that fails on these rows says so itself.
        if (one.violation.relation, one.violation.constraint) not in in_the_way:
            yield _unvalidated(one, runs)
    named = {word for run in runs for one in run.statements for word in deed.names(one)}
    for gone in sanity.gone:
        if names.bare(gone.name) not in named:
            yield _gone(gone, runs)


def _found(
    rule: str, what: str, relation: str, runs: Sequence[Run], name: str, *, before: bool, worst: Severity | None = None
) -> Finding:
    if before:
        return finding.of(rule, what + _ALREADY, severity=Severity.HARMLESS, relation=relation)
    run, statement = _naming(name, runs)
    return finding.of(rule, what, severity=worst, run=run, statement=statement, relation=relation)


def _unvalidated(one: Unvalidated, runs: Sequence[Run]) -> Finding:
    violation = one.violation
    rows = (
        f"{units.several(violation.rows, 'row')} violating it"
        if violation.rows
        else "no row violates it, it can be validated"
    )
    run, statement = (None, None) if one.before else _naming(names.bare(violation.constraint), runs)
    return finding.of(
        "constraint-not-validated",
        f"{violation.relation}: {violation.constraint} is not validated; {rows}{_ALREADY if one.before else ''}",
        severity=Severity.WARNING if violation.rows and not one.before else Severity.HARMLESS,
        run=run,
        statement=statement,
        relation=violation.relation,
        remedy=f"list them: {violation.query}" if violation.rows and violation.query else "",
    )


def _gone(gone: Gone, runs: Sequence[Run]) -> Finding:
    run, statement = _naming("", runs, dropping=gone.table)
    return finding.of(
        "rule-gone",
        f"{gone.table}: {gone.kind} {gone.name} is not there any more",
        run=run,
        statement=statement,
        relation=gone.table,
    )


def _naming(name: str, runs: Sequence[Run], *, dropping: str = "") -> tuple[Run | None, Statement | None]:
    """The last statement that names it, or that drops something of a table; else the only migration there is."""
    for run in reversed(runs):
        for statement in reversed(run.statements):
            if name and name in deed.names(statement):
                return run, statement
            if dropping and _drops(statement, dropping):
                return run, statement
    return (runs[0] if len(runs) == 1 else None), None


def _drops(statement: Statement, table: str) -> bool:
    return any(one.startswith("DROP ") for one in statement.commands) and any(
        lock.relation.name == table and lock.mode == "ACCESS EXCLUSIVE" for lock in statement.locks
    )
