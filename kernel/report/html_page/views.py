"""What the templates ask of a rehearsal: sorted, grouped, and figures with their place in the JSON document."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

from kernel.lint.finding import SEVERITY_ORDER, Severity
from kernel.rehearsal.result import TableContent
from kernel.report.suggestions import LongestBlocked, longest_blocked_by_relation

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Literal

    from kernel.lint.finding import Finding
    from kernel.rehearsal.result import (
        BlockedTime,
        Receipt,
        RefusedSuggestion,
        Rehearsal,
        Standstill,
        SuggestionResult,
        SuggestionTrial,
        TracedStatement,
    )

    Access = Literal["reads", "writes"]

NumberedFinding = tuple[int, "Finding"]
NumberedReceipt = tuple[int, "Receipt"]

_CONTENT_ORDER = [TableContent.CHANGED, TableContent.EXPECTED, TableContent.SAME]


class Figure(NamedTuple):
    """A duration in seconds, the JSON pointer (RFC 6901) of the same figure in the document, and its relation."""

    seconds: float
    pointer: str
    relation: str


def longest_blocked(
    rehearsal: Rehearsal, access: Access, *, version: str | None = None, relation: str | None = None
) -> Figure | None:
    """The longest time that a relation was blocked, by any migration or by one; None when it was never blocked."""
    blocked: list[tuple[int, BlockedTime]] = [
        (at, one)
        for at, one in enumerate(rehearsal.blocked)
        if version in (None, one.version) and relation in (None, one.relation.name)
    ]
    key = f"{access}_seconds"
    return _longest(Figure(getattr(one, key), f"/blocked/{at}/{key}", one.relation.name) for at, one in blocked)


def longest_wait(rehearsal: Rehearsal, access: Access) -> Figure | None:
    """The longest wait of a probe session, including its time in the lock queue; None when none waited."""
    traffic: Iterable[tuple[int, Standstill]] = enumerate(rehearsal.traffic)
    key = f"{access}_longest_seconds"
    return _longest(Figure(getattr(one, key), f"/traffic/{at}/{key}", one.relation) for at, one in traffic)


def _longest(figures: Iterable[Figure]) -> Figure | None:
    longest = max(figures, key=lambda figure: figure.seconds, default=None)
    return longest if longest and longest.seconds else None


def message_parts(finding: Finding) -> tuple[str, str]:
    """The sentence of a finding without its relation, and the lines below it whose columns matter, such as a plan's."""
    sentence, _, below = finding.message.partition("\n")
    return sentence.removeprefix(f"{finding.relation}: "), below


def serious_findings(rehearsal: Rehearsal) -> list[tuple[str, list[NumberedFinding]]]:
    """Findings with their numbers from 1, by the file or version they belong to, the worst of each first."""
    numbered = ((at, one) for at, one in enumerate(rehearsal.findings, 1) if one.severity is not Severity.HARMLESS)
    ordered = sorted(numbered, key=_finding_rank)
    return [
        (file, list(group)) for file, group in groupby(ordered, key=lambda pair: pair[1].filename or pair[1].version)
    ]


def harmless_findings(rehearsal: Rehearsal) -> list[NumberedFinding]:
    """Findings that were measured and proved harmless, with their numbers from 1."""
    numbered = ((at, one) for at, one in enumerate(rehearsal.findings, 1) if one.severity is Severity.HARMLESS)
    return sorted(numbered, key=_finding_rank)


def _finding_rank(numbered: NumberedFinding) -> tuple[str, str, int, int]:
    at, finding = numbered
    return finding.version, finding.filename, SEVERITY_ORDER[finding.severity], at


def statement_of(rehearsal: Rehearsal, finding: Finding) -> TracedStatement | None:
    """The statement that a finding's line lies in; None when it names no line, or that statement did not run."""
    if finding.line is None:
        return None
    statements = [one for run in rehearsal.runs if run.version == finding.version for one in run.statements]
    before = [one for one in statements if one.line <= finding.line]
    return before[-1] if before and finding.line <= before[-1].line + before[-1].sql.count("\n") else None


def receipts_by_touched(rehearsal: Rehearsal) -> tuple[list[NumberedReceipt], list[NumberedReceipt]]:
    """Receipts with their places in the document: of tables whose rows were compared, and of untouched tables."""
    ordered = sorted(
        enumerate(rehearsal.receipts), key=lambda pair: (_CONTENT_ORDER.index(pair[1].content), pair[1].table)
    )
    touched = [pair for pair in ordered if _is_touched(pair[1])]
    return touched, [pair for pair in ordered if pair not in touched]


def _is_touched(receipt: Receipt) -> bool:
    """Whether its rows had to be compared; for the others the counters of the server suffice, which takes no time."""
    counts = (receipt.added, receipt.removed, receipt.changed, receipt.columns, receipt.unexpected, receipt.seconds)
    return receipt.content is not TableContent.SAME or any(counts) or receipt.rows_before != receipt.rows_after


class ComparedRelation(NamedTuple):
    """How long a relation was blocked at a stretch by the original and by its suggestion, None for never."""

    relation: str
    reads_before: Figure | None
    reads_after: Figure | None
    writes_before: Figure | None
    writes_after: Figure | None


def compared_relations(at: int, trial: SuggestionTrial) -> list[ComparedRelation]:
    """A row for each relation that either blocked, those that the original blocked longest first."""
    before, after = longest_blocked_by_relation(trial.blocked_before), longest_blocked_by_relation(trial.blocked_after)
    none = LongestBlocked()
    order = sorted({**before, **after}, key=lambda name: before.get(name, none).longest_seconds, reverse=True)

    def figure(side: str, name: str, access: Access) -> Figure | None:
        blocked = (before if side == "before" else after).get(name, none)
        seconds, place = (
            (blocked.reads, blocked.reads_index) if access == "reads" else (blocked.writes, blocked.writes_index)
        )
        return Figure(seconds, f"/suggestions/{at}/{side}/{place}/{access}_seconds", name) if seconds else None

    return [
        ComparedRelation(
            relation=name,
            reads_before=figure("before", name, "reads"),
            reads_after=figure("after", name, "reads"),
            writes_before=figure("before", name, "writes"),
            writes_after=figure("after", name, "writes"),
        )
        for name in order
    ]


def refused_without_suggestion(advice: SuggestionResult) -> list[tuple[str, RefusedSuggestion]]:
    """What is refused in files without any suggestion, with their names; the others say it with their suggestion."""
    tried = {trial.suggestion.filename for trial in advice.trials}
    return [(filename, refused) for filename, refused in advice.refused if filename not in tried]
