"""What findings are made of: everything that was measured, the limits, and the rules."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from kernel.lint.finding import Finding, Severity
from kernel.lint.rules import RULES_BY_ID
from kernel.rehearsal.result import Limits
from kernel.units import clip_text

if TYPE_CHECKING:
    from kernel.lint.lint import AcceptedRule
    from kernel.rehearsal.data.integrity import IntegrityReport
    from kernel.rehearsal.practices.result import PracticeFault
    from kernel.rehearsal.result import BlockedTime, Receipt, Run, Standstill, TracedStatement


SAFE_AS_IS = "nothing: on this data it is safe as it is"
_MESSAGE_CHARACTERS = 140


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """All that was measured. `lint_findings` are for the rehearsed files, `accepted_findings` those that they accept.

    `accepted_rules` are all rules that the files accept. `declared_tables` are pairs of a file's name and a table,
    without schema, of which the file declares changes. `versions_of_phase_after` run when the former version of the
    application is gone. `copy_rows` is the planner's estimate of the rows in the copy.
    """

    runs: tuple[Run, ...]
    blocking: tuple[BlockedTime, ...] = ()
    receipts: tuple[Receipt, ...] = ()
    integrity: IntegrityReport | None = None
    traffic: tuple[Standstill, ...] = ()
    query_findings: tuple[Finding, ...] = ()
    lint_findings: tuple[Finding, ...] = ()
    accepted_findings: tuple[Finding, ...] = ()
    accepted_rules: tuple[AcceptedRule, ...] = ()
    declared_tables: tuple[tuple[str, str], ...] = ()
    rerun_faults: tuple[PracticeFault, ...] = ()
    revert_faults: tuple[PracticeFault, ...] = ()
    compatibility_faults: tuple[PracticeFault, ...] = ()
    versions_of_phase_after: frozenset[str] = frozenset()
    copy_rows: int = 0
    limits: Limits = field(default_factory=Limits)

    def run_of_version(self, version: str) -> Run | None:
        """The run of a version, None where it did not begin."""
        return next((one for one in self.runs if one.version == version), None)


def make_finding(
    rule: str,
    message: str,
    *,
    severity: Severity | None = None,
    run: Run | None = None,
    statement: TracedStatement | None = None,
    relation: str = "",
    remedy: str = "",
) -> Finding:
    """A finding of a rule, at a statement if one is known; severity and remedy are the rule's by default."""
    known = RULES_BY_ID[rule]
    found = Finding(
        rule=rule,
        severity=severity or known.severity,
        message=message,
        remedy=remedy or known.workaround,
        relation=relation,
    )
    return place_finding(found, run, statement)


def place_finding(found: Finding, run: Run | None, statement: TracedStatement | None) -> Finding:
    """The finding at a statement of a migration, as far as they are known."""
    return replace(
        found,
        version=run.version if run else "",
        filename=run.filename if run else "",
        line=statement.line if statement else None,
        column=statement.column if statement else None,
        offset=statement.offset if statement else None,
    )


def add_measurement(finding: Finding, measured: str, severity: Severity) -> Finding:
    """The finding with what was measured, and the severity that follows from it."""
    remedy = SAFE_AS_IS if severity is Severity.HARMLESS else finding.remedy
    return replace(finding, message=f"{finding.message}; measured: {measured}", severity=severity, remedy=remedy)


def clip_message(message: str) -> str:
    """A message of the server or of a practice, no longer than a line of a report can hold."""
    return clip_text(message, _MESSAGE_CHARACTERS)
