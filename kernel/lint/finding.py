"""A finding of a rule, by the linter or by a rehearsal."""

from __future__ import annotations

from dataclasses import dataclass

from kernel.lint.rules import Severity

__all__ = ["SEVERITY_ORDER", "Finding", "Severity"]

SEVERITY_ORDER = {severity: rank for rank, severity in enumerate(Severity)}  # the worst first


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A hazard of a migration. `rule` is the id of a rule, `line` counts from 1, `remedy` is what to write instead."""

    rule: str
    severity: Severity
    message: str
    remedy: str
    version: str = ""
    filename: str = ""
    line: int | None = None
    relation: str = ""
