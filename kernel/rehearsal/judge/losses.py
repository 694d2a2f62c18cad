"""Data: what became of rows that no migration declares, and which statement did it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from kernel import units
from kernel.rehearsal.judge import deed, finding, harm, locks, names
from kernel.rehearsal.result import Content, Severity

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from kernel.rehearsal.judge.evidence import Limits
    from kernel.rehearsal.result import Finding, Receipt, Run, Statement, Unexpected

# What these fear is that rows are lost: the receipts say whether they are.
RULES = frozenset({"truncate", "drop-table", "drop-column", "drop-schema", "write-without-where"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """What a receipt says is lost and not declared, and the statement that did it, if one is known."""

    table: str
    lost: Unexpected
    run: Run | None = None
    statement: Statement | None = None


def found(receipts: Iterable[Receipt], runs: Sequence[Run]) -> Iterator[Loss]:
    """Everything lost and not declared."""
    for receipt in receipts:
        for lost in receipt.unexpected if receipt.content is Content.CHANGED else ():
            run, statement = _culprit(receipt, lost, runs)
            yield Loss(table=receipt.table, lost=lost, run=run, statement=statement)


def told(loss: Loss) -> Finding:
    """The finding of a loss that no other tells of."""
    by_type = loss.statement is not None and "change type" in deed.verbs(loss.statement)
    return finding.of(
        "type-change-loses-data" if by_type else "data-lost",
        f"{loss.table}: {loss.lost.what}",
        run=loss.run,
        statement=loss.statement,
        relation=loss.table,
        remedy=f"if it is meant, declare it: -- rehearse: {loss.lost.declaration}" if loss.lost.declaration else "",
    )


def of(run: Run, feared: Finding, losses: Iterable[Loss]) -> tuple[Loss, ...]:
    """The losses that a finding of the linter is about."""
    if feared.rule not in RULES:
        return ()
    statements = deed.all_at(run, feared.line)
    locked = [lock.relation for statement in statements for lock in statement.locks]
    # The rows of a partition are the whole table's.
    roots = {one.root for one in locked if names.same(feared.relation, one.name)}
    return tuple(
        one
        for one in losses
        if any(one.statement is statement for statement in statements)
        and (
            names.same(feared.relation, one.table)
            or one.table in roots
            or (feared.rule == "drop-schema" and names.bare(feared.relation) == names.schema(one.table))
        )
    )


def weighed(run: Run, feared: Finding, losses: Sequence[Loss], limits: Limits) -> Finding:
    """A finding of the linter about rows, judged by what became of them; `losses` are those that it is about."""
    statement = deed.at(run, feared.line)
    if feared.rule not in RULES or statement is None or deed.unfinished(run, statement):
        return feared
    if losses:
        return with_losses(feared, f"{feared.message}; measured:", losses)
    seen = harm.of(statement)
    if feared.rule == "write-without-where":
        return _every_row(run, statement, feared, limits)
    if not seen.locks:
        return locks.weighed(feared, "there was nothing to do it to", Severity.HARMLESS)
    what = f"no row lost that is not declared, {seen.told(feared.relation)}"
    if seen.seconds > limits.block_seconds:
        return locks.weighed(feared, what, Severity.ERROR)
    # Of what is gone, an application may miss the name, not only the rows.
    return locks.weighed(feared, what, Severity.HARMLESS if feared.rule == "truncate" else Severity.WARNING)


def with_losses(known: Finding, message: str, losses: Sequence[Loss]) -> Finding:
    """A finding with the losses that come of the same: an error, with the way to declare them."""
    about = known.relation
    what = ", ".join(
        one.lost.what if names.same(about, one.table) else f"{one.table}: {one.lost.what}" for one in losses
    )
    declarations = ", ".join(one.lost.declaration for one in losses if one.lost.declaration)
    remedy = (
        f"{known.remedy}; if it is meant, declare it: -- rehearse: {declarations}" if declarations else known.remedy
    )
    return replace(known, severity=Severity.ERROR, message=f"{message} {what}", remedy=remedy)


def _every_row(run: Run, statement: Statement, feared: Finding, limits: Limits) -> Finding:
    """UPDATE or DELETE without WHERE, by the rows that it locked and for how long."""
    rows = sum(one.updated + one.deleted for one in statement.written if not one.relation.created)
    if not rows:
        return locks.weighed(feared, "no row was there", Severity.HARMLESS)
    end = run.at_seconds + run.seconds if run.transactional else statement.at_seconds + statement.seconds
    seconds = max(statement.seconds, end - statement.at_seconds)
    severity = Severity.ERROR if seconds > limits.block_seconds else Severity.WARNING
    what = f"{units.several(rows, 'row')} written and locked for {units.seconds(seconds)}"
    return locks.weighed(feared, what, severity)


def _culprit(receipt: Receipt, lost: Unexpected, runs: Sequence[Run]) -> tuple[Run | None, Statement | None]:
    """The statement that did most of it, the last of those that did as much; else the only migration there is."""
    best: tuple[tuple[int, ...], Run, Statement] | None = None
    for run in runs:
        for statement in run.statements:
            weight = _weight(receipt, lost, statement)
            if any(weight) and (best is None or weight >= best[0]):
                best = (weight, run, statement)
    if best:
        return best[1], best[2]
    return (runs[0] if len(runs) == 1 else None), None


def _weight(receipt: Receipt, lost: Unexpected, statement: Statement) -> tuple[int, ...]:
    """How much a statement has to do with what is lost, the more telling signs first."""
    table = receipt.table
    drops = any(one.startswith("DROP ") for one in statement.commands)
    taken = drops and any(
        lock.mode == "ACCESS EXCLUSIVE" and table in (lock.relation.name, lock.relation.root)
        for lock in statement.locks
    )
    column = next((one for one in receipt.columns if one.column == lost.column), None)
    if column and column.how == "dropped":
        gone = f"DROP TABLE COLUMN {table}."
        named = sum(one.startswith(gone) and names.bare(one) == column.column for one in statement.commands)
        return (2 * named + taken,)
    mine = [one for one in statement.written if table in (one.relation.name, one.relation.root)]
    deleted, updated = sum(one.deleted for one in mine), sum(one.updated for one in mine)
    rewritten = sum(one.name == table for one in statement.rewrites)
    if column:
        return (updated, rewritten, deleted)
    dropped = f"DROP TABLE {table}" in statement.commands
    return (deleted, 2 * dropped + taken, updated, rewritten)
