"""The values of the benchmark: programs, comparisons, samples, results."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from kernel.errors import KernelError

if TYPE_CHECKING:
    from pathlib import Path


class BenchmarkFailed(KernelError):
    """A program failed, or did not leave the database in the expected state."""

    code = "benchmark_failed"
    exit = 2  # 1 is a missed target


class Quantity(Enum):
    """What is measured of a process."""

    SECONDS = "seconds"  # from its start to its end
    PROCESS_BYTES = "process_bytes"  # its peak of resident memory
    BACKEND_BYTES = "backend_bytes"  # the peak of the server process that serves it


@dataclass(frozen=True, slots=True, kw_only=True)
class ClonedDatabase:
    """A template database filled by the statements `template`, and its clone after `migration`; both are only read.

    Without a `migration` ("") the clone is unchanged.
    """

    template: tuple[str, ...]
    migration: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A command to run in `folder`, with KERNEL_MIGRATIONS_DIR set to `migrations`.

    The files in the folder `applied` are recorded as applied in its database beforehand; with None the database is
    empty. With `clone` its database is that clone, and BENCH_TEMPLATE_DB names the template database on the same
    server. With `prints_seconds` the measured seconds are those that it prints, of a part of its work.
    """

    name: str
    command: tuple[str, ...]
    folder: Path
    migrations: Path
    applied: Path | None = None
    clone: ClonedDatabase | None = None
    prints_seconds: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A program compared with a reference program: seconds as a ratio, bytes as a difference.

    Without a `reference`, bytes and seconds are not compared. With `rows` the value is not a ratio but rows per second:
    `rows` divided by the seconds of the program minus those of the reference, which did the same work except the rows.
    `at_most`, or for rows `at_least`, is the target; both are None for a comparison without a target.
    """

    program: str
    reference: str | None
    quantity: Quantity = Quantity.SECONDS
    at_most: float | None = None
    at_least: float | None = None
    rows: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One piece of work for all its programs; `proof` is SQL that yields true in a database where it was done."""

    name: str
    programs: tuple[Program, ...]
    comparisons: tuple[Comparison, ...]
    proof: str

    @property
    def measures_backend(self) -> bool:
        return any(comparison.quantity is Quantity.BACKEND_BYTES for comparison in self.comparisons)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One run of one program; `backend_bytes` is None if it was not measured, or the system does not report it."""

    seconds: float
    process_bytes: int
    backend_bytes: int | None

    def value(self, quantity: Quantity) -> float | None:
        match quantity:
            case Quantity.SECONDS:
                return self.seconds
            case Quantity.PROCESS_BYTES:
                return self.process_bytes
            case Quantity.BACKEND_BYTES:
                return self.backend_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonResult:
    """The result of a comparison: of the medians, and the lowest and the highest of the rounds."""

    scenario: str
    comparison: Comparison
    value: float
    lowest: float
    highest: float

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None without a target."""
        if self.comparison.at_least is not None:
            return self.value >= self.comparison.at_least
        return None if self.comparison.at_most is None else self.value <= self.comparison.at_most
