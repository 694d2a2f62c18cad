"""Findings about the outcome: why a migration failed, and the state that the migrations leave.

A fault that production already has is reported as harmless, and an object that a statement drops by name is none.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from kernel.lint.finding import Severity
from kernel.rehearsal.findings.evidence import clip_message, make_finding
from kernel.rehearsal.findings.statements import (
    last_statement_naming,
    names_in_statement,
    statement_verbs,
    unqualified_name,
)
from kernel.units import format_count, format_quantity

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from kernel.lint.finding import Finding
    from kernel.rehearsal.data.integrity import IntegrityReport, LostSafeguard, UnvalidatedConstraint
    from kernel.rehearsal.result import Run, RunFailure, TracedStatement


# Classes of SQLSTATE (PostgreSQL documentation, Appendix A): integrity constraint violation, data exception.
_CONSTRAINT_CLASS, _DATA_CLASS = "23", "22"
# Rules of the linter that say that a statement fails, by the SQLSTATE that it fails with.
_RULE_BY_SQLSTATE = {"23502": "add-required-column", "55P04": "enum-value-used-at-once"}
# Rules of files that are refused before anything runs.
_REFUSAL_RULES = frozenset(
    {
        "concurrently-in-transaction",
        "transaction-in-file",
        "psql-meta-command",
        "duplicate-version",
        "range-not-repeatable",
    }
)


def findings_for_failure(run: Run, findings: Iterable[Finding]) -> Iterator[Finding]:
    """The finding of a migration that failed, unless the linter's findings say why it was refused."""
    failed = run.failed
    if failed is None or any(one.rule in _REFUSAL_RULES and not run.statements for one in findings):
        return
    failure = failed.failure
    statement = run.statements[-1] if run.statements and failure and failure.line is not None else None
    predicted = [one for one in findings if is_predicted_failure(run, one)]
    yield make_finding(
        predicted[0].rule if predicted else _failure_rule(failed),
        "; ".join([_failure_message(failed), *_describe_violations(failed)]),
        run=run,
        statement=statement,
        relation=predicted[0].relation if predicted else "".join(one.relation for one in failed.violations[:1]),
        remedy=predicted[0].remedy if predicted else _failure_remedy(failed),
    )


def is_predicted_failure(run: Run, findings: Finding) -> bool:
    """Whether a finding of the linter predicted the failure of its statement."""
    failure = run.failed.failure if run.failed else None
    if failure is None or failure.line is None or _RULE_BY_SQLSTATE.get(failure.sqlstate or "") != findings.rule:
        return False
    return bool(run.statements) and run.statement_at(findings.offset) is run.statements[-1]


def _failure_rule(failed: RunFailure) -> str:
    state = (failed.failure.sqlstate if failed.failure else None) or ""
    return {_CONSTRAINT_CLASS: "constraint-violated", _DATA_CLASS: "data-does-not-fit"}.get(
        state[:2], "migration-failed"
    )


def _failure_message(failed: RunFailure) -> str:
    """The first line of the error message, and the SQLSTATE."""
    shown = clip_message(failed.message.partition("\n")[0])
    state = failed.failure.sqlstate if failed.failure else None
    return f"{shown} ({state})" if state else shown


def _describe_violations(failed: RunFailure) -> Iterator[str]:
    for one in failed.violations[:1]:
        more = len(failed.violations) - 1
        others = f", and of {more} more tables" if more else ""
        yield f"{one.counts} of {one.relation} in its way{others}"


def _failure_remedy(failed: RunFailure) -> str:
    queries = [f"list them: {one.query}" for one in failed.violations if one.query]
    return "; ".join(queries) or failed.hint


_PRODUCTION_TOO = "; production has it already"


def findings_for_final_state(report: IntegrityReport, runs: Sequence[Run]) -> Iterator[Finding]:
    """A finding for each fault, at the last statement that names its object."""
    for sequence in report.sequences_behind:
        what = f"{sequence.sequence}: next is {sequence.next_value}, {sequence.column} has {sequence.max_value} already"
        table = sequence.column.rpartition(".")[0]
        yield _state_finding(
            "sequence-behind", what, table, runs, unqualified_name(table), before=sequence.in_production
        )
    for near in report.keys_near_limit:
        share = 100 * near.max_value // near.type_limit
        what = f"{near.column}: {format_count(near.max_value)} is {share} % of what {near.type} holds"
        table = near.column.rpartition(".")[0]
        yield _state_finding("int4-key-near-end", what, table, runs, unqualified_name(table), before=near.in_production)
    for invalid in report.invalid_indexes:
        what = f"{invalid.index} of {invalid.table}: is INVALID"
        yield _state_finding(
            "invalid-index", what, invalid.table, runs, unqualified_name(invalid.index), before=invalid.in_production
        )
    violated = {(one.relation, one.constraint) for run in runs for one in (run.failed.violations if run.failed else ())}
    for one in report.unvalidated_constraints:
        # The finding of the failed migration covers these rows.
        if (one.violation.relation, one.violation.constraint) not in violated:
            yield _unvalidated_finding(one, runs)
    named = {word for run in runs for one in run.statements if _drops(one) for word in names_in_statement(one)}
    for gone in report.lost_safeguards:
        if unqualified_name(gone.name) not in named:
            yield _missing_rule_finding(gone, runs)


def _state_finding(rule: str, what: str, relation: str, runs: Sequence[Run], name: str, *, before: bool) -> Finding:
    if before:
        return make_finding(rule, what + _PRODUCTION_TOO, severity=Severity.HARMLESS, relation=relation)
    run, statement = last_statement_naming(name, runs)
    return make_finding(rule, what, run=run, statement=statement, relation=relation)


def _unvalidated_finding(one: UnvalidatedConstraint, runs: Sequence[Run]) -> Finding:
    violation = one.violation
    rows = "no row violates it, it can be validated"
    if violation.rows:
        rows = f"{format_quantity(violation.rows, 'row')} violating it"
    if one.in_production:
        rows += _PRODUCTION_TOO
    run, statement = (
        (None, None) if one.in_production else last_statement_naming(unqualified_name(violation.constraint), runs)
    )
    return make_finding(
        "constraint-not-validated",
        f"{violation.relation}: {violation.constraint} is not validated; {rows}",
        severity=Severity.WARNING if violation.rows and not one.in_production else Severity.HARMLESS,
        run=run,
        statement=statement,
        relation=violation.relation,
        remedy=f"list them: {violation.query}" if violation.rows and violation.query else "",
    )


def _drops(statement: TracedStatement) -> bool:
    verbs = (*statement.commands, *(verb.upper() for verb in statement_verbs(statement)))
    return any(one.startswith("DROP ") for one in verbs)


def _missing_rule_finding(gone: LostSafeguard, runs: Sequence[Run]) -> Finding:
    run, statement = _statement_dropping(gone, runs)
    return make_finding(
        "rule-gone",
        f"{gone.table}: {gone.kind} {gone.name} is not there any more",
        run=run,
        statement=statement,
        relation=gone.table,
    )


def _statement_dropping(gone: LostSafeguard, runs: Sequence[Run]) -> tuple[Run | None, TracedStatement | None]:
    """The last statement with which it went; else the last that drops a part of its table, or the only migration."""
    identity = f" for {gone.table}.{gone.name}" if gone.kind == "default" else f" {gone.name} on {gone.table}"
    statements = [(run, statement) for run in reversed(runs) for statement in reversed(run.statements)]
    with_it = (one for one in statements if any(dropped.endswith(identity) for dropped in one[1].dropped))
    of_table = (
        (run, statement)
        for run, statement in statements
        if any(command.startswith("DROP ") for command in statement.commands)
        and any(lock.relation.name == gone.table and lock.mode == "ACCESS EXCLUSIVE" for lock in statement.locks)
    )
    return next(itertools.chain(with_it, of_table), (runs[0] if len(runs) == 1 else None, None))
