"""PURE: samples -> findings."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

from bench.contest import Comparison, Finding, Quantity, Sample, Scenario

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

Samples = dict[str, list[Sample]]
"""The samples of each contestant of a scenario by its name, one for each round, in the order of the rounds."""


def findings(scenario: Scenario, samples: Mapping[str, Sequence[Sample]]) -> Iterator[Finding]:
    """What the scenario's comparisons came to; those of a quantity that could not be measured are left out.

    The value compares medians, which a single disturbed run does not move. Lowest and highest compare what ran in the
    same round, side by side.
    """
    for comparison in scenario.comparisons:
        of = _values(samples[comparison.of], comparison.quantity)
        to = _values(samples[comparison.to], comparison.quantity) if comparison.to else [0.0] * len(of)
        if not of or not to:
            continue
        rounds = [_compared(comparison, one, other) for one, other in zip(of, to, strict=True)]
        yield Finding(
            scenario=scenario.name,
            comparison=comparison,
            value=_compared(comparison, median(of), median(to)),
            lowest=min(rounds),
            highest=max(rounds),
        )


def _values(samples: Sequence[Sample], quantity: Quantity) -> list[float]:
    return [value for sample in samples if (value := sample.of(quantity)) is not None]


def _compared(comparison: Comparison, of: float, to: float) -> float:
    if comparison.rows is not None:
        return comparison.rows / (of - to) if of > to else float("inf")
    return of / to if comparison.quantity is Quantity.SECONDS else of - to
