"""Run the contestants of a scenario, round after round, and see what each run took."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from contextlib import nullcontext
from typing import TYPE_CHECKING

from bench import memory
from bench.contest import ContestFailed, Sample
from kernel.postgres.process import program_environment

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from bench.contest import Contestant, Scenario
    from bench.judge import Samples
    from bench.stage import Stage

# Of getrusage's ru_maxrss: bytes on macOS, kilobytes elsewhere.
_MAXRSS_BYTES = 1 if sys.platform == "darwin" else 1024
_TAIL_CHARACTERS = 2000


def contest(stage: Stage, scenario: Scenario, *, rounds: int) -> Samples:
    """Run every contestant `rounds` times, in turn, and each in a fresh database. Raises ContestFailed.

    One round ahead does not count: it compiles modules, fills caches, and makes the server's log files. Every other
    round goes backwards, so that nobody always follows the same neighbour.
    """
    samples: Samples = {one.name: [] for one in scenario.contestants}
    for number in range(rounds + 1):
        for contestant in scenario.contestants[:: -1 if number % 2 else 1]:
            sample = _run(stage, scenario, contestant)
            if number:
                samples[contestant.name].append(sample)
    return samples


def _run(stage: Stage, scenario: Scenario, contestant: Contestant) -> Sample:
    there: AbstractContextManager[str] = stage.database(contestant.applied)
    named = {}
    if contestant.copies:
        golden, clone = stage.copied(contestant.copies)
        there, named = nullcontext(clone), {"BENCH_GOLDEN": golden}
    with there as database:
        looking = memory.watched(stage, database) if scenario.measures_backend else nullcontext(lambda: None)
        with looking as backend_bytes:
            seconds, process_bytes = _timed(contestant, stage.environment(database) | named)
            sample = Sample(seconds=seconds, process_bytes=process_bytes, backend_bytes=backend_bytes())
        with stage.connect(database) as connection:
            proven = connection.execute(scenario.proof.encode()).fetchone()
    if proven != (True,):
        raise ContestFailed(f"{scenario.name}: {contestant.name} ended well and did not do its work")
    return sample


def _timed(contestant: Contestant, reaching: dict[str, str]) -> tuple[float, int]:
    """(seconds, peak of resident memory in bytes) of a process and its children. Raises ContestFailed.

    A process starts with the memory of the one that started it, which is what the peak is at least.
    """
    # Nothing of the developer's own environment, and the same for all.
    environment = program_environment() | reaching | {"KERNEL_MIGRATIONS_DIR": str(contestant.migrations)}
    with tempfile.TemporaryFile() as complaints, tempfile.TemporaryFile() as told:
        began = time.perf_counter()
        with subprocess.Popen(
            contestant.command,
            stdin=subprocess.DEVNULL,
            stdout=told,
            stderr=complaints,
            env=environment,
            cwd=contestant.folder,
        ) as running:
            _, status, usage = os.wait4(running.pid, 0)
            seconds = time.perf_counter() - began
            running.returncode = os.waitstatus_to_exitcode(status)  # else Popen would wait for it once more
        if running.returncode:
            complaints.seek(0)
            said = complaints.read().decode(errors="replace")[-_TAIL_CHARACTERS:]
            raise ContestFailed(f"{contestant.name}: ended with {running.returncode}; it said:\n{said}")
        if contestant.tells:
            told.seek(0)
            seconds = float(told.read())
    return seconds, usage.ru_maxrss * _MAXRSS_BYTES
