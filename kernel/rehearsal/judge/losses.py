"""Data: what became of rows that no migration declares, and rows written where nobody would look for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel.rehearsal.judge import finding
from kernel.rehearsal.result import Content
from kernel.rehearsal.static import statement as acts
from kernel.rehearsal.static import words

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from kernel.rehearsal.result import Finding, Receipt, Run, Statement, Written

# What they write is told nowhere in the statement.
_OUT_OF_SIGHT = frozenset({"do", "call", "execute"})
_DROPPING = ("drop table", "drop column", "drop schema", "truncate")


def undeclared(receipts: Iterable[Receipt], runs: Iterable[Run]) -> Iterator[Finding]:
    """A finding for each sentence of a receipt about what is lost or changed and not declared."""
    every = tuple(runs)
    for receipt in receipts:
        if receipt.content is not Content.CHANGED:
            continue
        run, statement = _culprit(receipt, every)
        rule = "type-change-loses-data" if statement and _changes_type(statement) else "data-lost"
        for sentence in receipt.unexpected:
            what, _, remedy = sentence.partition("; declare it: ")
            yield finding.of(
                rule,
                f"{receipt.table}: {what}",
                run=run,
                statement=statement,
                relation=receipt.table,
                remedy=f"if it is meant, declare it: {remedy}" if remedy else "",
            )


def further(run: Run) -> Iterator[Finding]:
    """Rows that a statement wrote to a table it does not name: through ON DELETE CASCADE, or through triggers."""
    for statement in run.statements:
        named = {word.text for word in words.of(statement.sql.encode())}
        hidden = not named.isdisjoint(_OUT_OF_SIGHT)
        for one in () if hidden else statement.written:
            if one.relation.created or _short(one.relation.name) in named:
                continue
            yield _further(run, statement, one)


def _further(run: Run, statement: Statement, one: Written) -> Finding:
    name = one.relation.name
    if one.deleted and not one.inserted and not one.updated:
        what = f"{name}: {one.deleted:,} rows were deleted by a statement that does not name it"
        return finding.of("cascade-reaches-further", what, run=run, statement=statement, relation=name)
    counts = [(one.inserted, "inserted"), (one.updated, "updated"), (one.deleted, "deleted")]
    done = ", ".join(f"{count:,} {word}" for count, word in counts if count)
    what = f"{name}: {done} by a statement that does not name it"
    return finding.of("trigger-writes-elsewhere", what, run=run, statement=statement, relation=name)


def _culprit(receipt: Receipt, runs: Iterable[Run]) -> tuple[Run | None, Statement | None]:
    """The statement that took most rows away or changed most, else the first that drops or rewrites the table."""
    best: tuple[int, Run, Statement] | None = None
    for run in runs:
        for statement in run.statements:
            weight = _weight(receipt, statement)
            if weight and (best is None or weight > best[0]):
                best = (weight, run, statement)
    return (best[1], best[2]) if best else (None, None)


def _weight(receipt: Receipt, statement: Statement) -> int:
    counted = sum(one.updated + one.deleted for one in statement.written if one.relation.name == receipt.table)
    if counted:
        return 1 + counted
    if any(one.name == receipt.table for one in statement.rewrites) or any(
        act.verb in _DROPPING and act.relation and _short(receipt.table) == _short(act.relation)
        for act in acts.acts(words.of(statement.sql.encode()))
    ):
        return 1
    return 0


def _changes_type(statement: Statement) -> bool:
    return any(act.verb == "change type" for act in acts.acts(words.of(statement.sql.encode())))


def _short(name: str) -> str:
    return name.rpartition(".")[2].strip('"')
