"""Findings about data loss: undeclared changes of rows, and the statement that caused each."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from kernel.lint.finding import Severity
from kernel.rehearsal.findings.evidence import add_measurement, make_finding
from kernel.rehearsal.findings.lock_impact import measure_impact
from kernel.rehearsal.findings.statements import (
    failed_at_statement,
    is_same_relation,
    names_in_statement,
    runs_opaque_code,
    schema_name,
    statement_actions,
    statement_verbs,
    unqualified_name,
)
from kernel.rehearsal.result import TableContent
from kernel.units import format_quantity, format_seconds

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator, Sequence

    from kernel.lint.finding import Finding
    from kernel.rehearsal.result import Limits, Receipt, RowsWritten, Run, TracedStatement, Unexpected


# Rules about rows that may be lost: the receipts say whether they are.
DATA_LOSS_RULES = frozenset({"truncate", "drop-table", "drop-column", "drop-schema", "write-without-where"})


@dataclass(frozen=True, slots=True, kw_only=True)
class UndeclaredLoss:
    """A change of rows that no file declares, and the statement that caused it, if one is known."""

    table: str
    lost: Unexpected
    run: Run | None = None
    statement: TracedStatement | None = None


def find_losses(receipts: Iterable[Receipt], runs: Sequence[Run]) -> Iterator[UndeclaredLoss]:
    """All undeclared losses."""
    for receipt in receipts:
        for lost in receipt.unexpected if receipt.content is TableContent.CHANGED else ():
            run, statement = _responsible_statement(receipt, lost, runs)
            yield UndeclaredLoss(table=receipt.table, lost=lost, run=run, statement=statement)


def make_loss_finding(loss: UndeclaredLoss) -> Finding:
    """The finding of a loss that no other finding covers."""
    by_type = loss.statement is not None and "change type" in statement_verbs(loss.statement)
    return make_finding(
        "type-change-loses-data" if by_type else "data-lost",
        f"{loss.table}: {loss.lost.what}",
        run=loss.run,
        statement=loss.statement,
        relation=loss.table,
        remedy=f"if it is meant, declare it: -- rehearse: {loss.lost.declaration}" if loss.lost.declaration else "",
    )


def losses_of_finding(run: Run, finding: Finding, losses: Iterable[UndeclaredLoss]) -> tuple[UndeclaredLoss, ...]:
    """The losses that a finding of the linter is about."""
    if finding.rule not in DATA_LOSS_RULES:
        return ()
    statement = run.statement_at(finding.offset)
    # The rows of a partition are the whole table's.
    roots = {
        lock.relation.root
        for lock in (statement.locks if statement else ())
        if is_same_relation(finding.relation, lock.relation.name)
    }
    return tuple(
        one
        for one in losses
        if statement is not None
        and one.statement is statement
        and (
            is_same_relation(finding.relation, one.table)
            or one.table in roots
            or (finding.rule == "drop-schema" and unqualified_name(finding.relation) == schema_name(one.table))
        )
    )


def measure_loss_finding(run: Run, finding: Finding, losses: Sequence[UndeclaredLoss], limits: Limits) -> Finding:
    """A finding of the linter about rows, with the severity that follows from the `losses` it is about."""
    statement = run.statement_at(finding.offset)
    if finding.rule not in DATA_LOSS_RULES or statement is None or failed_at_statement(run, statement):
        return finding
    if losses:
        return _add_losses(finding, f"{finding.message}; measured:", losses)
    seen = measure_impact(statement)
    if finding.rule == "write-without-where":
        return _measure_write_without_where(run, statement, finding, limits)
    if not seen.locks:
        return add_measurement(finding, "there was nothing to do it to", Severity.HARMLESS)
    what = f"no row lost that is not declared, {seen.describe(finding.relation)}"
    if seen.blocked_seconds > limits.block_seconds:
        return add_measurement(finding, what, Severity.ERROR)
    # An application may need the name of a dropped object, not only its rows.
    return add_measurement(finding, what, Severity.HARMLESS if finding.rule == "truncate" else Severity.WARNING)


def _add_losses(known: Finding, message: str, losses: Sequence[UndeclaredLoss]) -> Finding:
    """The finding as an error, with the losses of the same cause and the declarations that accept them."""
    about = known.relation
    what = ", ".join(
        one.lost.what if is_same_relation(about, one.table) else f"{one.table}: {one.lost.what}" for one in losses
    )
    declarations = ", ".join(one.lost.declaration for one in losses if one.lost.declaration)
    remedy = (
        f"{known.remedy}; if it is meant, declare it: -- rehearse: {declarations}" if declarations else known.remedy
    )
    return replace(known, severity=Severity.ERROR, message=f"{message} {what}", remedy=remedy)


def _measure_write_without_where(run: Run, statement: TracedStatement, finding: Finding, limits: Limits) -> Finding:
    """UPDATE or DELETE without WHERE, by the rows that it locked and for how long."""
    rows = sum(one.updated + one.deleted for one in statement.written if not one.relation.created)
    if not rows:
        return add_measurement(finding, "no row was there", Severity.HARMLESS)
    end = run.at_seconds + run.seconds if run.transactional else statement.at_seconds + statement.seconds
    seconds = max(statement.seconds, end - statement.at_seconds)
    severity = Severity.ERROR if seconds > limits.block_seconds else Severity.WARNING
    what = f"{format_quantity(rows, 'row')} written and locked for {format_seconds(seconds)}"
    return add_measurement(finding, what, severity)


def _responsible_statement(
    receipt: Receipt, lost: Unexpected, runs: Sequence[Run]
) -> tuple[Run | None, TracedStatement | None]:
    """The statement that caused most of the loss, the last of equals; else the only migration that ran."""
    best: tuple[tuple[int, ...], Run, TracedStatement] | None = None
    for run in runs:
        for statement in run.statements:
            weight = _responsibility(receipt, lost, statement)
            if any(weight) and (best is None or weight >= best[0]):
                best = (weight, run, statement)
    if best:
        return best[1], best[2]
    return (runs[0] if len(runs) == 1 else None), None


def _responsibility(receipt: Receipt, lost: Unexpected, statement: TracedStatement) -> tuple[int, ...]:
    """How much a statement contributed to a loss, the stronger signs first."""
    table = receipt.table
    drops = any(one.startswith("DROP ") for one in statement.commands)
    taken = drops and any(
        lock.mode == "ACCESS EXCLUSIVE" and table in (lock.relation.name, lock.relation.root)
        for lock in statement.locks
    )
    column = next((one for one in receipt.columns if one.column == lost.column), None)
    if column and column.detail == "dropped":
        gone = f"DROP TABLE COLUMN {table}."
        named = sum(one.startswith(gone) and unqualified_name(one) == column.column for one in statement.commands)
        return (2 * named + taken,)
    mine = [one for one in statement.written if table in (one.relation.name, one.relation.root)]
    deleted, updated = sum(one.deleted for one in mine), sum(one.updated for one in mine)
    rewritten = sum(one.name == table for one in statement.rewrites)
    if column:
        retyped = any(one.verb == "change type" and one.name == column.column for one in statement_actions(statement))
        named = column.column in names_in_statement(statement)
        return (retyped, named * updated, updated, rewritten, deleted)
    dropped = f"DROP TABLE {table}" in statement.commands
    return (deleted, 2 * dropped + taken, updated, rewritten)


# Statements that write rows to the tables they name; ON DELETE CASCADE, TRUNCATE … CASCADE and triggers write others.
_WRITING_VERBS = frozenset({"insert", "update", "delete", "merge", "copy", "truncate"})


def findings_for_hidden_writes(
    run: Run, lost: Sequence[UndeclaredLoss], declared: Container[str]
) -> Iterator[tuple[Finding, tuple[UndeclaredLoss, ...]]]:
    """Rows that a statement wrote to a table it does not name, with the losses that this explains.

    `declared` are the tables, without schemas, of which the file declares changes.
    """
    for statement in run.statements:
        if (
            runs_opaque_code(statement)
            or statement_verbs(statement).isdisjoint(_WRITING_VERBS)
            or _writes_through_view(statement)
        ):
            continue
        named = names_in_statement(statement)
        for one in statement.written:
            explained = tuple(loss for loss in lost if loss.statement is statement and loss.table == one.relation.name)
            known = not named.isdisjoint(
                unqualified_name(name) for name in (one.relation.name, one.relation.root) if name
            )
            if one.relation.created or known or (not explained and unqualified_name(one.relation.name) in declared):
                continue
            yield _hidden_write_finding(run, statement, one, explained), explained


def _writes_through_view(statement: TracedStatement) -> bool:
    """Whether it writes to a view, whose definition names the tables."""
    named = names_in_statement(statement)
    return any(
        lock.relation.kind == "view" and unqualified_name(lock.relation.name) in named for lock in statement.locks
    )


def _hidden_write_finding(
    run: Run, statement: TracedStatement, one: RowsWritten, explained: tuple[UndeclaredLoss, ...]
) -> Finding:
    name = one.relation.name
    counts = [(one.inserted, "inserted"), (one.updated, "updated"), (one.deleted, "deleted")]
    done = ", ".join(f"{format_quantity(count, 'row')} {word}" for count, word in counts if count)
    rule = "trigger-writes-elsewhere" if one.inserted or one.updated else "cascade-reaches-further"
    by = "a trigger or a foreign key" if one.updated else "a trigger" if one.inserted else "CASCADE or a trigger"
    what = f"{name}: {done} by {by} of a statement that does not name it"
    found = make_finding(rule, what, run=run, statement=statement, relation=name)
    if not explained:
        return found
    lost = _add_losses(found, f"{what}:", explained)
    # The message already has the number of rows removed, where nothing else was lost.
    said = [loss.lost.rows_removed for loss in explained] == [one.deleted]
    return replace(lost, message=f"{what}, which is not declared") if said else lost
