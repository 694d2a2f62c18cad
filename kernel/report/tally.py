"""How many findings of which severity: what the terminal and the page both begin with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel.rehearsal.result import Severity
from kernel import units

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kernel.rehearsal.result import Finding, Rehearsal


def told(rehearsal: Rehearsal) -> str:
    """Why the verdict is as it is, in a few words: what is at or above the threshold, else what is below it."""
    failed = sum(run.failed is not None for run in rehearsal.runs)
    parts = [f"{units.several(failed, 'migration')} failed"] if failed else []
    if rehearsal.reasons:
        parts.append(_counted(rehearsal.reasons))
    elif below := _counted([one for one in rehearsal.findings if one.severity is not Severity.HARMLESS]):
        parts.append(f"{below} below the threshold")
    return ", ".join(parts) or "nothing to settle first"


def _counted(findings: Sequence[Finding]) -> str:
    counts = [(sum(one.severity is severity for one in findings), severity) for severity in Severity]
    # "harmless" has no plural.
    return ", ".join(
        units.several(number, severity.value, severity.value if severity is Severity.HARMLESS else "")
        for number, severity in counts
        if number
    )
