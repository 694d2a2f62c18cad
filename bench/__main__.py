"""The command: python -m bench [SCENARIO …]. Exit codes: 0 every target is met, 1 one is missed, 2 and 7 no result."""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg

from bench import judge, measure, report, scenarios, stage
from kernel.errors import KernelError
from kernel.postgres.programs import find_client_program

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.contest import Finding
    from bench.judge import Samples
    from bench.stage import Stage

_ROUNDS, _QUICK_ROUNDS = 5, 2
_MISSED = 1


def main(arguments: Sequence[str]) -> int:
    """Measure, print, and return the exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if unknown := [name for name in options.scenarios if name not in _chosen(long=True)]:
        parser.error(f"{unknown[0]}: no such scenario; they are {', '.join(_chosen(long=True))}")
    rounds = _QUICK_ROUNDS if options.quick else options.rounds
    told = os.environ.get("KERNEL_PG_BINDIR")
    try:
        with stage.opened(Path(told) if told else None) as opened:
            conditions = _conditions(opened, rounds)
            if not conditions["on_disk"]:
                _say(f"warning: {opened.server.data} lies in memory, where no commit waits; set TMPDIR to a disk")
            findings, samples = _measured(opened, options.scenarios or _chosen(long=options.all), rounds)
    except KernelError as error:
        _say(str(error))
        return error.exit
    if options.json:
        print(report.document(conditions, findings, samples))
    else:
        print(", ".join(str(value) for name, value in conditions.items() if name not in ("rounds", "on_disk")))
        print(f"medians of {rounds} rounds; targets are for a server that waits for its disk\n")
        print(report.table(findings))
    return _MISSED if any(finding.met is False for finding in findings) else 0


def _parser() -> argparse.ArgumentParser:
    every = _chosen(long=True)
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure the project beside psql.")
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help=", ".join(every))
    parser.add_argument("--quick", action="store_true", help=f"{_QUICK_ROUNDS} rounds: a first impression")
    parser.add_argument(
        "--rounds",
        type=_rounds,
        metavar="N",
        default=_ROUNDS,
        help=f"rounds to take the median of (default: {_ROUNDS})",
    )
    parser.add_argument("--all", action="store_true", help=f"with the long ones: {', '.join(scenarios.LONG)}")
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of the table")
    return parser


def _rounds(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text}: expected a whole number from 1")
    return int(text)


def _chosen(*, long: bool) -> list[str]:
    return [*scenarios.USUAL, *(scenarios.LONG if long else ())]


def _conditions(opened: Stage, rounds: int) -> dict[str, object]:
    """What the ratios were measured with; `on_disk` tells whether a commit has to wait."""
    return {
        "server": f"PostgreSQL {opened.server.programs.version}",
        "python": f"Python {platform.python_version()}",
        "psycopg": f"psycopg {psycopg.__version__}",
        "system": platform.system(),
        "rounds": rounds,
        "on_disk": stage.on_disk(opened.server.data),
    }


def _measured(opened: Stage, names: Sequence[str], rounds: int) -> tuple[list[Finding], dict[str, Samples]]:
    psql = find_client_program("psql", opened.server.programs.bin)
    findings: list[Finding] = []
    samples: dict[str, Samples] = {}
    for name in names:
        with tempfile.TemporaryDirectory(prefix="aibos-bench-") as folder:
            Path(folder).chmod(0o755)
            scenario = (scenarios.USUAL | scenarios.LONG)[name](Path(folder) / "files", psql)
            _say(f"{name}: {len(scenario.contestants)} contestants, {rounds} rounds and one ahead")
            samples[scenario.name] = measure.contest(opened, scenario, rounds=rounds)
            findings += judge.findings(scenario, samples[scenario.name])
    return findings, samples


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
