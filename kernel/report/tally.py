"""How many findings of which severity: what the terminal and the page both begin with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel import units
from kernel.rehearsal.result import Severity

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kernel.rehearsal.result import Finding, Rehearsal


def told(rehearsal: Rehearsal) -> str:
    """Why the verdict is as it is, in a few words, and what there is below the threshold."""
    return ", ".join(filter(None, (settle(rehearsal), _below(rehearsal)))) or "nothing to settle first"


def settle(rehearsal: Rehearsal) -> str:
    """What failed and what is at or above the threshold, "" for nothing."""
    failed = sum(run.failed is not None for run in rehearsal.runs)
    parts = [f"{units.several(failed, 'migration')} failed"] if failed else []
    if rehearsal.reasons:
        parts.append(_counted(rehearsal.reasons))
    return ", ".join(parts)


def below(rehearsal: Rehearsal) -> tuple[Finding, ...]:
    """The findings that are no reasons, worst first, but for those that proved harmless."""
    order = list(Severity)
    serious = (one for one in rehearsal.findings if one.severity is not Severity.HARMLESS)
    return tuple(
        sorted((one for one in serious if one not in rehearsal.reasons), key=lambda one: order.index(one.severity))
    )


def _below(rehearsal: Rehearsal) -> str:
    counted = _counted(below(rehearsal))
    return f"{counted} below the threshold" if counted else ""


def _counted(findings: Sequence[Finding]) -> str:
    counts = [(sum(one.severity is severity for one in findings), severity) for severity in Severity]
    # "harmless" has no plural.
    return ", ".join(
        units.several(number, severity.value, severity.value if severity is Severity.HARMLESS else "")
        for number, severity in counts
        if number
    )
