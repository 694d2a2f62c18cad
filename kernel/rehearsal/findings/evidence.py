"""What the judge has before it, and the limits it judges by."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from kernel.lint.finding import Finding, Severity
from kernel.lint.rules import RULES_BY_ID
from kernel.rehearsal.result import Limits

if TYPE_CHECKING:
    from kernel.lint.lint import AcceptedRule
    from kernel.rehearsal.data.integrity import IntegrityReport
    from kernel.rehearsal.practices.result import PracticeFault
    from kernel.rehearsal.result import BlockedTime, Receipt, Run, Standstill, TracedStatement


SAFE_AS_IS = "nothing: on this data it is safe as it is"


SEVERITY_ORDER = {severity: rank for rank, severity in enumerate(Severity)}  # the worst first


def add_measurement(feared: Finding, seen: str, severity: Severity) -> Finding:
    """The finding at its place, with what was measured of it."""
    remedy = SAFE_AS_IS if severity is Severity.HARMLESS else feared.remedy
    return replace(feared, message=f"{feared.message}; measured: {seen}", severity=severity, remedy=remedy)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """All that was seen. `text` are the linter's findings for the rehearsed files, `accepted` those the files accept.

    `allows` are all rules that the files accept, `declared` pairs of a file's name and a table, without schema, that it
    says what becomes of. `faults` are by practice; `compared` tells that the schemas were. `rows` is how many the copy
    holds, as the planner estimates.
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
    schemas_compared: bool = False
    copy_rows: int = 0
    limits: Limits = field(default_factory=Limits)

    def run_of_version(self, version: str) -> Run | None:
        """The run of a version, None where it was not begun."""
        return next((one for one in self.runs if one.version == version), None)


# Making findings out of rules: the rule gives the workaround, the measurement the sentence.


_SHOWN_CHARACTERS = 140  # characters


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
    """A finding of a rule, at a statement where there is one; severity and workaround are the rule's unless given."""
    known = RULES_BY_ID[rule]
    return Finding(
        rule=rule,
        severity=severity or known.severity,
        message=message,
        remedy=remedy or known.workaround,
        version=run.version if run else "",
        filename=run.filename if run else "",
        line=statement.line if statement else None,
        relation=relation,
    )


def reclassify_finding(rule: str, found: Finding) -> Finding:
    """The same finding under another rule, with that rule's sentence and workaround."""
    known = RULES_BY_ID[rule]
    message = f"{found.relation}: {known.condition}" if found.relation else known.condition
    return replace(found, rule=rule, message=message, remedy=known.workaround)


def clip_message(said: str) -> str:
    """What somebody else said, or as much of it as a line of a report can hold."""
    return said if len(said) <= _SHOWN_CHARACTERS else f"{said[:_SHOWN_CHARACTERS]}…"
