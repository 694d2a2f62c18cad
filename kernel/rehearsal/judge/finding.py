"""Making findings out of rules: the rule gives the workaround, the measurement the sentence."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from kernel.rehearsal import rules
from kernel.rehearsal.result import Finding

if TYPE_CHECKING:
    from kernel.rehearsal.result import Run, Severity, Statement

_SHOWN = 140  # characters


def of(
    rule: str,
    message: str,
    *,
    severity: Severity | None = None,
    run: Run | None = None,
    statement: Statement | None = None,
    relation: str = "",
    remedy: str = "",
) -> Finding:
    """A finding of a rule, at a statement where there is one; severity and workaround are the rule's unless given."""
    known = rules.BY_ID[rule]
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


def under(rule: str, found: Finding) -> Finding:
    """The same finding under another rule, with that rule's sentence and workaround."""
    known = rules.BY_ID[rule]
    message = f"{found.relation}: {known.condition}" if found.relation else known.condition
    return replace(found, rule=rule, message=message, remedy=known.workaround)


def clipped(said: str) -> str:
    """What somebody else said, or as much of it as a line of a report can hold."""
    return said if len(said) <= _SHOWN else f"{said[:_SHOWN]}…"
