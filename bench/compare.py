"""Compare the samples of programs. No I/O."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

from bench.model import Comparison, ComparisonResult, Quantity, Sample, Scenario

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

Samples = dict[str, list[Sample]]
"""The samples of each program of a scenario by its name, one for each round, in the order of the rounds."""


def compare_samples(scenario: Scenario, samples: Mapping[str, Sequence[Sample]]) -> Iterator[ComparisonResult]:
    """The results of the scenario's comparisons, without those of a quantity that could not be measured.

    The value compares medians, which a single disturbed run does not change. Lowest and highest compare runs of the
    same round.
    """
    for comparison in scenario.comparisons:
        values = _values(samples[comparison.program], comparison.quantity)
        references = (
            _values(samples[comparison.reference], comparison.quantity) if comparison.reference else [0.0] * len(values)
        )
        if not values or not references:
            continue
        rounds = [_compare(comparison, value, reference) for value, reference in zip(values, references, strict=True)]
        yield ComparisonResult(
            scenario=scenario.name,
            comparison=comparison,
            value=_compare(comparison, median(values), median(references)),
            lowest=min(rounds),
            highest=max(rounds),
        )


def _values(samples: Sequence[Sample], quantity: Quantity) -> list[float]:
    return [value for sample in samples if (value := sample.value(quantity)) is not None]


def _compare(comparison: Comparison, value: float, reference: float) -> float:
    if comparison.rows is not None:
        return comparison.rows / (value - reference) if value > reference else float("inf")
    is_ratio = comparison.quantity is Quantity.SECONDS and comparison.reference is not None
    return value / reference if is_ratio else value - reference
