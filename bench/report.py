"""Results as a table and as JSON."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import tabulate

from bench.model import Quantity

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bench.compare import Samples
    from bench.model import Comparison, ComparisonResult

_HEADERS = ("scenario", "measured", "median", "rounds", "target", "met")
_MET = {True: "yes", False: "no", None: ""}
_QUANTITIES = {
    Quantity.SECONDS: "",
    Quantity.PROCESS_BYTES: "memory of ",
    Quantity.BACKEND_BYTES: "server's memory for ",
}


def table(results: Sequence[ComparisonResult]) -> str:
    """The results, one row each."""
    rows = []
    shown = ""
    for result in results:
        comparison = result.comparison
        rows.append(
            (
                result.scenario if result.scenario != shown else "",
                _measured(result),
                _value(result.value, comparison),
                f"{_value(result.lowest, comparison)} … {_value(result.highest, comparison)}",
                _target(comparison),
                _MET[result.met],
            )
        )
        shown = result.scenario
    return tabulate.tabulate(rows, headers=_HEADERS, disable_numparse=True)


def document(
    conditions: Mapping[str, object], results: Sequence[ComparisonResult], samples: Mapping[str, Samples]
) -> str:
    """One JSON document: `conditions`, `findings`, and under `samples` every run in seconds and bytes."""
    text = {
        "conditions": dict(conditions),
        "findings": [
            {
                "scenario": result.scenario,
                "of": result.comparison.program,
                "to": result.comparison.reference,
                "quantity": result.comparison.quantity.value,
                "median": result.value,
                "lowest": result.lowest,
                "highest": result.highest,
                "rows": result.comparison.rows,
                "at_most": result.comparison.at_most,
                "at_least": result.comparison.at_least,
                "met": result.met,
            }
            for result in results
        ],
        "samples": {
            scenario: {
                program: {quantity.value: [sample.value(quantity) for sample in runs] for quantity in Quantity}
                for program, runs in scenario_samples.items()
            }
            for scenario, scenario_samples in samples.items()
        },
    }
    return json.dumps(text, indent=2, ensure_ascii=False)


def _measured(result: ComparisonResult) -> str:
    comparison = result.comparison
    if comparison.reference is None:
        return f"{_QUANTITIES[comparison.quantity]}{comparison.program}"
    if comparison.rows is not None:
        return f"rows a second of {comparison.program}, its start taken off"
    between = " / " if comparison.quantity is Quantity.SECONDS else ", above that for "
    return f"{_QUANTITIES[comparison.quantity]}{comparison.program}{between}{comparison.reference}"


def _target(comparison: Comparison) -> str:
    if comparison.at_least is not None:
        return f"≥ {_value(comparison.at_least, comparison)}"
    return "" if comparison.at_most is None else f"≤ {_value(comparison.at_most, comparison)}"


def _value(value: float, comparison: Comparison) -> str:
    if comparison.rows is not None:
        return f"{value / 1e6:.1f} million"
    return f"{value:.2f}" if comparison.quantity is Quantity.SECONDS else f"{value / 1e6:.0f} MB"
