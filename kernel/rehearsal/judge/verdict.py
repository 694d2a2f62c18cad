"""All findings of a rehearsal, worst first, and those that decide the verdict."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel import units
from kernel.rehearsal import rules
from kernel.rehearsal.judge import (
    crowd,
    deed,
    failure,
    finding,
    further,
    harm,
    locks,
    losses,
    names,
    practices,
    standstill,
    state,
)
from kernel.rehearsal.result import Severity

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from kernel.rehearsal.judge.evidence import Evidence, Limits
    from kernel.rehearsal.judge.losses import Loss
    from kernel.rehearsal.result import Finding, Run


def findings(evidence: Evidence) -> tuple[Finding, ...]:
    """What is to be known, the worst first, then in the order of the files. What a file accepts is left out."""
    told = dict.fromkeys(one for one in _all(evidence) if not _accepted(one, evidence))
    return tuple(sorted(told, key=lambda one: (locks.ORDER[one.severity], one.version, one.line or 0, one.rule)))


def reasons(found: Iterable[Finding], limits: Limits) -> tuple[Finding, ...]:
    """The findings at or above the threshold: with one of them the rehearsal fails."""
    if limits.fail_on is None:
        return ()
    return tuple(one for one in found if locks.ORDER[one.severity] <= locks.ORDER[limits.fail_on])


def _accepted(found: Finding, evidence: Evidence) -> bool:
    """Whether the file accepts the rule, at that statement or as a whole."""
    run = evidence.run(found.version)
    for one in evidence.allows:
        if one.rule == found.rule and one.version == found.version:
            if one.line in (None, found.line):
                return True
            its_own = deed.at(run, one.line) if run else None
            if its_own is not None and run is not None and its_own is deed.at(run, found.line):
                return True
    return False


def _all(evidence: Evidence) -> Iterator[Finding]:
    lost = tuple(losses.found(evidence.receipts, evidence.runs))
    explained: list[Loss] = []
    told: list[Finding] = []
    for run in evidence.runs:
        told += _of_run(run, evidence, lost, explained)
    begun = {run.version for run in evidence.runs}
    told += [one for one in evidence.text if one.version not in begun]
    told += [losses.told(one) for one in lost if not any(one is known for known in explained)]
    if evidence.sanity:
        known = {one.violation.relation for one in evidence.sanity.unvalidated}
        told = [one for one in told if not _repeats(one, known)]
        told += state.left(evidence.sanity, evidence.runs)
    yield from told
    yield from crowd.told(evidence, told)
    yield from practices.told(evidence, [*told, *evidence.accepted])
    if not evidence.rows and any(_touches(run) for run in evidence.runs):
        yield finding.of("not-rehearsed", rules.BY_ID["not-rehearsed"].condition)


def _of_run(run: Run, evidence: Evidence, lost: tuple[Loss, ...], explained: list[Loss]) -> list[Finding]:
    """The findings of one migration; the losses that they tell of are added to `explained`."""
    limits = evidence.limits
    accepted = [one for one in evidence.accepted if one.version == run.version]
    feared = [one for one in evidence.text if one.version == run.version]
    judged = []
    for one in feared:
        its_own = losses.of(run, one, lost)
        explained += its_own
        if practices.repeated(evidence, one) or failure.foretold(run, one):
            continue
        if not its_own and practices.unmissed(evidence, run, one):
            judged.append(locks.weighed(one, practices.STILL_THERE, Severity.HARMLESS))
        else:
            judged.append(losses.weighed(run, locks.measured(run, one, limits), its_own, limits))
    for one in accepted:
        explained += losses.of(run, one, lost)
    declared = {table for file, table in evidence.declared if file == run.filename}
    for found, its_own in further.told(run, lost, declared):
        explained += its_own
        judged.append(found)
    judged += locks.unforeseen(run, [*feared, *accepted], limits)
    judged += locks.parents(run, limits)
    judged += standstill.told(run, evidence.shut, judged, accepted, limits)
    judged += failure.told(run, feared)
    judged += _volume(run, limits)
    return judged


def _repeats(text: Finding, unvalidated: Iterable[str]) -> bool:
    """Whether the state of the database tells better what the linter says of a constraint."""
    return text.rule == "constraint-not-validated" and any(names.same(text.relation, known) for known in unvalidated)


def _touches(run: Run) -> bool:
    """Whether a migration did something to what was there before."""
    return any(
        harm.of(one).locks or any(not written.relation.created for written in one.written) for one in run.statements
    )


def _volume(run: Run, limits: Limits) -> Iterator[Finding]:
    most = max(run.wal_bytes, run.growth_bytes)
    if most > limits.wal_bytes:
        wal, growth = units.size(run.wal_bytes), units.size(run.growth_bytes)
        yield finding.of("write-volume", f"{run.filename}: {wal} of WAL written, database grown by {growth}", run=run)
