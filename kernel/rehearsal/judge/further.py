"""Rows written where nobody would look for it: by ON DELETE CASCADE, by TRUNCATE … CASCADE, by triggers."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from kernel import units
from kernel.rehearsal.judge import deed, finding, losses, names

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Sequence

    from kernel.rehearsal.judge.losses import Loss
    from kernel.rehearsal.result import Finding, Relation, Run, Statement, Written

# Statements that write rows where they say it.
_WRITING = frozenset({"insert", "update", "delete", "merge", "copy", "truncate"})


def told(run: Run, lost: Sequence[Loss], declared: Container[str]) -> Iterator[tuple[Finding, tuple[Loss, ...]]]:
    """Rows that a statement wrote to a table it does not name, with the losses that this explains.

    `declared` are the tables, without schemas, that the file says what becomes of: those it knows of.
    """
    for statement in run.statements:
        if deed.out_of_sight(statement) or deed.verbs(statement).isdisjoint(_WRITING) or _through_view(statement):
            continue
        named = deed.names(statement)
        for one in statement.written:
            its_own = tuple(loss for loss in lost if loss.statement is statement and loss.table == one.relation.name)
            known = not named.isdisjoint(_called(one.relation))
            if one.relation.created or known or (not its_own and names.bare(one.relation.name) in declared):
                continue
            yield _finding(run, statement, one, its_own), its_own


def _called(relation: Relation) -> set[str]:
    return {names.bare(name) for name in (relation.name, relation.root) if name}


def _through_view(statement: Statement) -> bool:
    """Whether it writes to a view: to which tables that goes, is the view's affair."""
    named = deed.names(statement)
    return any(lock.relation.kind == "view" and names.bare(lock.relation.name) in named for lock in statement.locks)


def _finding(run: Run, statement: Statement, one: Written, its_own: tuple[Loss, ...]) -> Finding:
    name = one.relation.name
    counts = [(one.inserted, "inserted"), (one.updated, "updated"), (one.deleted, "deleted")]
    done = ", ".join(f"{units.several(count, 'row')} {word}" for count, word in counts if count)
    rule = "trigger-writes-elsewhere" if one.inserted or one.updated else "cascade-reaches-further"
    by = "a trigger or a foreign key" if one.updated else "a trigger" if one.inserted else "CASCADE or a trigger"
    what = f"{name}: {done} by {by} of a statement that does not name it"
    found = finding.of(rule, what, run=run, statement=statement, relation=name)
    if not its_own:
        return found
    lost = losses.with_losses(found, f"{what}:", its_own)
    # What the receipt says has been said when rows are gone, and nothing else is.
    said = [loss.lost.rows_removed for loss in its_own] == [one.deleted]
    return replace(lost, message=f"{what}, which is not declared") if said else lost
