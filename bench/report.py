"""Findings as a table and as JSON."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import tabulate

from bench.contest import Quantity

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bench.contest import Comparison, Finding
    from bench.judge import Samples

_HEADERS = ("scenario", "measured", "median", "rounds", "target", "met")
_MET = {True: "yes", False: "no", None: ""}
_QUANTITIES = {
    Quantity.SECONDS: "",
    Quantity.PROCESS_BYTES: "memory of ",
    Quantity.BACKEND_BYTES: "server's memory for ",
}


def table(findings: Sequence[Finding]) -> str:
    """The findings, a row each."""
    rows = []
    shown = ""
    for finding in findings:
        comparison = finding.comparison
        rows.append(
            (
                finding.scenario if finding.scenario != shown else "",
                _measured(finding),
                _value(finding.value, comparison),
                f"{_value(finding.lowest, comparison)} … {_value(finding.highest, comparison)}",
                _target(comparison),
                _MET[finding.met],
            )
        )
        shown = finding.scenario
    return tabulate.tabulate(rows, headers=_HEADERS, disable_numparse=True)


def document(conditions: Mapping[str, object], findings: Sequence[Finding], samples: Mapping[str, Samples]) -> str:
    """One JSON document: `conditions`, `findings`, and under `samples` what each run took, in seconds and bytes."""
    text = {
        "conditions": dict(conditions),
        "findings": [
            {
                "scenario": finding.scenario,
                "of": finding.comparison.of,
                "to": finding.comparison.to,
                "quantity": finding.comparison.quantity.value,
                "median": finding.value,
                "lowest": finding.lowest,
                "highest": finding.highest,
                "rows": finding.comparison.rows,
                "at_most": finding.comparison.at_most,
                "at_least": finding.comparison.at_least,
                "met": finding.met,
            }
            for finding in findings
        ],
        "samples": {
            scenario: {
                contestant: {quantity.value: [sample.of(quantity) for sample in taken] for quantity in Quantity}
                for contestant, taken in of_scenario.items()
            }
            for scenario, of_scenario in samples.items()
        },
    }
    return json.dumps(text, indent=2, ensure_ascii=False)


def _measured(finding: Finding) -> str:
    comparison = finding.comparison
    if comparison.to is None:
        return f"{_QUANTITIES[comparison.quantity]}{comparison.of}"
    if comparison.rows is not None:
        return f"rows a second of {comparison.of}, its start taken off"
    between = " / " if comparison.quantity is Quantity.SECONDS else ", above that for "
    return f"{_QUANTITIES[comparison.quantity]}{comparison.of}{between}{comparison.to}"


def _target(comparison: Comparison) -> str:
    if comparison.at_least is not None:
        return f"≥ {_value(comparison.at_least, comparison)}"
    return "" if comparison.at_most is None else f"≤ {_value(comparison.at_most, comparison)}"


def _value(value: float, comparison: Comparison) -> str:
    if comparison.rows is not None:
        return f"{value / 1e6:.1f} million"
    return f"{value:.2f}" if comparison.quantity is Quantity.SECONDS else f"{value / 1e6:.0f} MB"
