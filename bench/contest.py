"""The values of the benchmark: contestants, what they are compared by, and what came out."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from kernel.errors import KernelError

if TYPE_CHECKING:
    from pathlib import Path


class ContestFailed(KernelError):
    """A contestant failed, or did not leave the database in the state that was asked for."""

    code = "contest_failed"
    exit = 2  # 1 is a missed target


class Quantity(Enum):
    """What is measured of a process."""

    SECONDS = "seconds"  # from its start to its end
    PROCESS_BYTES = "process_bytes"  # its peak of resident memory
    BACKEND_BYTES = "backend_bytes"  # the peak of the server's process that works for it


@dataclass(frozen=True, slots=True, kw_only=True)
class Copies:
    """A golden copy that statements fill, and its clone after `migration`, "" for none; both are only read."""

    golden: tuple[str, ...]
    migration: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contestant:
    """A program to run from `folder`, with KERNEL_MIGRATIONS_DIR set to `migrations`.

    The files in `applied` are recorded as applied in its database beforehand; with None the database is empty. With
    `copies` it is the clone, and BENCH_GOLDEN names the golden copy beside it. With `tells` the seconds that count are
    those that it prints, of a part of its work.
    """

    name: str
    command: tuple[str, ...]
    folder: Path
    migrations: Path
    applied: Path | None = None
    copies: Copies | None = None
    tells: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Seconds are compared as a ratio, bytes as a difference; without `to`, bytes stand for themselves.

    With `rows`, seconds are compared as the rows a second that they come to when those of the other, who had all to do
    but the rows, are taken off: no ratio, but a figure of this machine. `at_most`, or of rows `at_least`, is the
    target; both are None when the comparison is there for orientation.
    """

    of: str
    to: str | None
    quantity: Quantity = Quantity.SECONDS
    at_most: float | None = None
    at_least: float | None = None
    rows: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One piece of work for all its contestants; `proof` is SQL that yields true in a database where it was done."""

    name: str
    contestants: tuple[Contestant, ...]
    comparisons: tuple[Comparison, ...]
    proof: str

    @property
    def measures_backend(self) -> bool:
        return any(one.quantity is Quantity.BACKEND_BYTES for one in self.comparisons)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One run of one contestant; `backend_bytes` is None where nobody looked, or the system does not tell."""

    seconds: float
    process_bytes: int
    backend_bytes: int | None

    def of(self, quantity: Quantity) -> float | None:
        match quantity:
            case Quantity.SECONDS:
                return self.seconds
            case Quantity.PROCESS_BYTES:
                return self.process_bytes
            case Quantity.BACKEND_BYTES:
                return self.backend_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What came out of a comparison: of the medians, and of the rounds the lowest and the highest."""

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
