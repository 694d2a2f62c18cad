"""Run the programs of a scenario, round after round, and measure each run."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from contextlib import nullcontext
from typing import TYPE_CHECKING

from bench import memory
from bench.model import BenchmarkFailed, Sample
from kernel.postgres.process import program_environment

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from bench.compare import Samples
    from bench.model import Program, Scenario
    from bench.server import BenchmarkServer

# Of getrusage's ru_maxrss: bytes on macOS, kilobytes elsewhere.
_MAXRSS_BYTES = 1 if sys.platform == "darwin" else 1024
_ERROR_TAIL_CHARACTERS = 2000


def measure_programs(server: BenchmarkServer, scenario: Scenario, *, rounds: int) -> Samples:
    """Run every program `rounds` times, in turn, each in a fresh database. Raises BenchmarkFailed.

    A warm-up round is not counted: it compiles modules, fills caches, and creates the server's log files. Every other
    round is in reverse order, so that no program always follows the same one.
    """
    samples: Samples = {program.name: [] for program in scenario.programs}
    for number in range(rounds + 1):
        for program in scenario.programs[:: -1 if number % 2 else 1]:
            sample = _run(server, scenario, program)
            if number:
                samples[program.name].append(sample)
    return samples


def _run(server: BenchmarkServer, scenario: Scenario, program: Program) -> Sample:
    opened: AbstractContextManager[str] = server.database(program.applied)
    template_setting = {}
    if program.clone:
        template, clone = server.cloned_database(program.clone)
        opened, template_setting = nullcontext(clone), {"BENCH_TEMPLATE_DB": template}
    with opened as database:
        watching = memory.watch_backends(server, database) if scenario.measures_backend else nullcontext(lambda: None)
        with watching as backend_bytes:
            seconds, process_bytes = _timed(program, server.environment(database) | template_setting)
            sample = Sample(seconds=seconds, process_bytes=process_bytes, backend_bytes=backend_bytes())
        with server.connect(database) as connection:
            proven = connection.execute(scenario.proof.encode()).fetchone()
    if proven != (True,):
        raise BenchmarkFailed(f"{scenario.name}: {program.name} ended without an error, but its work is not done")
    return sample


def _timed(program: Program, connection_environment: dict[str, str]) -> tuple[float, int]:
    """(seconds, peak of resident memory in bytes) of a process and its children. Raises BenchmarkFailed.

    The peak is at least the memory of the process that starts it, since a process begins as a copy of that one.
    """
    # Nothing of the developer's environment, and the same for all programs.
    environment = program_environment() | connection_environment | {"KERNEL_MIGRATIONS_DIR": str(program.migrations)}
    with tempfile.TemporaryFile() as errors, tempfile.TemporaryFile() as output:
        began = time.perf_counter()
        with subprocess.Popen(
            program.command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            env=environment,
            cwd=program.folder,
        ) as running:
            _, status, usage = os.wait4(running.pid, 0)
            seconds = time.perf_counter() - began
            running.returncode = os.waitstatus_to_exitcode(status)  # otherwise Popen would wait for it again
        if running.returncode:
            errors.seek(0)
            text = errors.read().decode(errors="replace")[-_ERROR_TAIL_CHARACTERS:]
            raise BenchmarkFailed(f"{program.name}: ended with {running.returncode}:\n{text}")
        if program.prints_seconds:
            output.seek(0)
            seconds = float(output.read())
    return seconds, usage.ru_maxrss * _MAXRSS_BYTES
