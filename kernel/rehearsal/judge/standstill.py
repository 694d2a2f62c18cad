"""Relations that a migration shut for longer than is borne: locks add up, from the first statement to the commit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel import units
from kernel.rehearsal.judge import deed, finding, harm, names
from kernel.rehearsal.result import Severity

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from kernel.rehearsal.judge.evidence import Limits
    from kernel.rehearsal.result import Finding, Run, Shut, Statement


def told(
    run: Run, shut: Iterable[Shut], known: Iterable[Finding], accepted: Iterable[Finding], limits: Limits
) -> Iterator[Finding]:
    """Relations that a migration shut longer than the limit, where no error has said so, nor a file accepts it."""
    errors = [one for one in known if one.severity is Severity.ERROR]
    expected = [deed.at(run, one.line) for one in accepted]
    for one in shut:
        seconds = max(one.reads_seconds, one.writes_seconds)
        if one.version != run.version or seconds <= limits.block_seconds:
            continue
        name = one.relation.name
        statement = _longest(run, name)
        if any(statement is meant for meant in expected) or any(_explains(run, error, name) for error in errors):
            continue
        who = "reads and writes" if one.reads_seconds > limits.block_seconds else "writes"
        yield finding.of(
            "standstill",
            f"{name}: {who} shut out for {units.seconds(seconds)}, more than {units.seconds(limits.block_seconds)}",
            run=run,
            statement=statement,
            relation=name,
        )


def _explains(run: Run, known: Finding, name: str) -> bool:
    """Whether a finding tells of a relation, or of a statement that locks it."""
    if names.same(known.relation, name):
        return True
    statement = deed.at(run, known.line)
    return statement is not None and any(harm.felt(lock) == name for lock in harm.of(statement).locks)


def _longest(run: Run, name: str) -> Statement | None:
    """The statement that took the lock which lasted longest."""
    locks = [
        (lock.held_seconds, -index)
        for index, one in enumerate(run.statements)
        for lock in harm.of(one).locks
        if harm.felt(lock) == name
    ]
    return run.statements[-max(locks)[1]] if locks else None
