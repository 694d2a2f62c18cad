"""The state that the migrations leave behind: sequences, indexes, constraints, keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel.rehearsal.judge import finding
from kernel.rehearsal.result import Severity
from kernel.rehearsal.static import words

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kernel.rehearsal.data.sanity import Sanity
    from kernel.rehearsal.result import Finding, Run

_ALREADY = "production has it already"


def left(sanity: Sanity, runs: Sequence[Run]) -> Iterator[Finding]:
    """A finding for each; a warning for what was so before. What a statement names and takes away is meant."""
    named = {word.text for run in runs for one in run.statements for word in words.of(one.sql.encode())}
    for behind in sanity.behind:
        yield finding.of(
            "sequence-behind",
            _told(f"{behind.sequence}: next is {behind.next_value}, {behind.column} has {behind.greatest} already",
                  before=behind.before),
            severity=_severity(before=behind.before),
            relation=behind.sequence,
        )  # fmt: skip
    for near in sanity.near_end:
        share = 100 * near.greatest // near.limit
        yield finding.of(
            "int4-key-near-end",
            f"{near.column}: {near.greatest:,} is {share} % of what {near.type} holds",
            severity=Severity.WARNING,
            relation=near.column,
        )
    for invalid in sanity.invalid:
        yield finding.of(
            "invalid-index",
            _told(f"{invalid.index} of {invalid.table}: is INVALID", before=invalid.before),
            severity=_severity(before=invalid.before),
            relation=invalid.table,
        )
    for one in sanity.unvalidated:
        violation = one.violation
        rows = f"{violation.rows:,} rows violate it" if violation.rows else "no row violates it: it can be validated"
        new = violation.rows and not one.before
        yield finding.of(
            "constraint-not-validated",
            _told(f"{violation.relation}: {violation.constraint} is not validated; {rows}", before=one.before),
            severity=Severity.WARNING if new else Severity.HARMLESS,
            relation=violation.relation,
            remedy=f"list them: {violation.query}" if violation.rows and violation.query else "",
        )
    for gone in sanity.gone:
        if gone.name.strip('"') in named:
            continue
        yield finding.of(
            "rule-gone",
            f"{gone.table}: {gone.kind} {gone.name} is not there any more",
            relation=gone.table,
        )


def _told(what: str, *, before: bool) -> str:
    return f"{what}; {_ALREADY}" if before else what


def _severity(*, before: bool) -> Severity:
    return Severity.WARNING if before else Severity.ERROR
