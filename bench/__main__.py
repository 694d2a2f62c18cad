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

from bench import measure, report, scenarios
from bench.compare import compare_samples
from bench.server import is_on_disk, open_benchmark_server
from kernel.errors import KernelError
from kernel.postgres.programs import find_client_program

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.compare import Samples
    from bench.model import ComparisonResult
    from bench.server import BenchmarkServer

_ROUNDS, _QUICK_ROUNDS = 5, 2
_MISSED = 1
_BACKFILL = "backfill"


def main(arguments: Sequence[str]) -> int:
    """Measure, print, and return the exit code."""
    if arguments[:1] == [_BACKFILL]:
        from bench import backfill  # noqa: PLC0415 - with flags and a table of its own

        return backfill.main(arguments[1:])
    parser = _parser()
    options = parser.parse_args(arguments)
    if unknown := [name for name in options.scenarios if name not in _scenario_names(long=True)]:
        parser.error(f"{unknown[0]}: no such scenario; they are {', '.join(_scenario_names(long=True))}")
    rounds = _QUICK_ROUNDS if options.quick else options.rounds
    bindir = os.environ.get("KERNEL_PG_BINDIR")
    try:
        with open_benchmark_server(Path(bindir) if bindir else None) as server:
            conditions = _conditions(server, rounds)
            if not conditions["on_disk"]:
                _print_progress(
                    f"warning: {server.server.data} is in memory, where no commit waits; set TMPDIR to a disk"
                )
            results, samples = _measure(server, options.scenarios or _scenario_names(long=options.all), rounds)
    except KernelError as error:
        _print_progress(str(error))
        return error.exit
    if options.json:
        print(report.document(conditions, results, samples))
    else:
        print(", ".join(str(value) for name, value in conditions.items() if name not in ("rounds", "on_disk")))
        print(f"medians of {rounds} rounds; targets are for a server that waits for its disk\n")
        print(report.table(results))
    return _MISSED if any(result.met is False for result in results) else 0


def _parser() -> argparse.ArgumentParser:
    names = _scenario_names(long=True)
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure the project in comparison with psql.")
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help=", ".join(names))
    parser.add_argument("--quick", action="store_true", help=f"{_QUICK_ROUNDS} rounds only")
    parser.add_argument(
        "--rounds",
        type=_rounds,
        metavar="N",
        default=_ROUNDS,
        help=f"number of rounds (default: {_ROUNDS})",
    )
    parser.add_argument("--all", action="store_true", help=f"including the long ones: {', '.join(scenarios.LONG)}")
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of the table")
    return parser


def _rounds(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text}: expected a whole number from 1")
    return int(text)


def _scenario_names(*, long: bool) -> list[str]:
    return [*scenarios.USUAL, *(scenarios.LONG if long else ())]


def _conditions(server: BenchmarkServer, rounds: int) -> dict[str, object]:
    """The versions that were measured; `on_disk` says whether a commit waits for a disk."""
    return {
        "server": f"PostgreSQL {server.server.programs.version}",
        "python": f"Python {platform.python_version()}",
        "psycopg": f"psycopg {psycopg.__version__}",
        "system": platform.system(),
        "rounds": rounds,
        "on_disk": is_on_disk(server.server.data),
    }


def _measure(
    server: BenchmarkServer, names: Sequence[str], rounds: int
) -> tuple[list[ComparisonResult], dict[str, Samples]]:
    psql = find_client_program("psql", server.server.programs.bin)
    results: list[ComparisonResult] = []
    samples: dict[str, Samples] = {}
    for name in names:
        with tempfile.TemporaryDirectory(prefix="aibos-bench-") as folder:
            Path(folder).chmod(0o755)
            scenario = (scenarios.USUAL | scenarios.LONG)[name](Path(folder) / "files", psql)
            _print_progress(f"{name}: {len(scenario.programs)} programs, {rounds} rounds after a warm-up")
            samples[scenario.name] = measure.measure_programs(server, scenario, rounds=rounds)
            results += compare_samples(scenario, samples[scenario.name])
    return results, samples


def _print_progress(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
