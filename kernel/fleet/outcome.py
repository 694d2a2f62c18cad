"""What became of a target: its state as it was read, or what a run did with it. The values travel between processes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

from kernel.errors import (
    Drift,
    EnvironmentFailed,
    Interrupted,
    KernelError,
    LockBusy,
    MigrationFailed,
)
from kernel.sql.passwords import mask_passwords

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from kernel.migrations.migration import Migration


class TargetState(StrEnum):
    """The state of a target, as in JSON."""

    CURRENT = "current"
    PENDING = "pending"
    APPLIED = "applied"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    DRIFT = "drift"
    UNREACHABLE = "unreachable"
    BUSY = "busy"
    REFUSED = "refused"
    INTERRUPTED = "interrupted"
    NOT_STARTED = "not_started"


GOOD_STATES = frozenset({TargetState.CURRENT, TargetState.PENDING, TargetState.APPLIED, TargetState.NOT_STARTED})
# The first of these that a target has is the exit code of the run.
_EXITS = (130, 143, 6, 4, 7, 5, 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetError:
    """An error of a target, with the code string and the exit code of its class."""

    code: str
    exit: int
    message: str
    hint: str | None = None
    file: str | None = None
    line: int | None = None

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}: " if self.file and self.line else f"{self.file}: " if self.file else ""
        return place + self.message


def describe_error(error: KernelError) -> TargetError:
    """Return an error as a value, with the place of a statement that failed."""
    failure = error.failure if isinstance(error, MigrationFailed) else None
    return TargetError(
        code=error.code,
        exit=error.exit,
        message=mask_passwords("; ".join(str(error).splitlines())),
        hint=mask_passwords(error.hint) if error.hint else None,
        file=failure.file if failure else None,
        line=failure.line if failure else None,
    )


def state_after(error: KernelError) -> TargetState:
    """Return the state of a target that a run or a reading ended in with an error."""
    states = {
        MigrationFailed: TargetState.FAILED,
        Drift: TargetState.DRIFT,
        EnvironmentFailed: TargetState.UNREACHABLE,
        LockBusy: TargetState.BUSY,
        Interrupted: TargetState.INTERRUPTED,
    }
    return next((state for kind, state in states.items() if isinstance(error, kind)), TargetState.REFUSED)


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordLine:
    """A record without its time, to be compared between targets."""

    version: str
    filename: str
    checksum: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetStatus:
    """The state of a target: `version` is the last down to which all files are applied, "" for none.

    `ahead` are records newer than every file.
    """

    name: str
    state: TargetState
    database: str = ""
    version: str = ""
    applied: int = 0
    pending: int = 0
    ahead: tuple[str, ...] = ()
    records: tuple[RecordLine, ...] = ()
    error: TargetError | None = None

    @property
    def readable(self) -> bool:
        """Whether its records could be read, even if they do not fit the files."""
        return self.error is None or bool(self.records)


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetOutcome:
    """What a run did with a target, from which version to which; `applied` are filenames."""

    name: str
    state: TargetState
    from_version: str = ""
    to_version: str = ""
    applied: tuple[str, ...] = ()
    seconds: float = 0.0
    error: TargetError | None = None


def outcome_versions(
    migrations: Sequence[Migration], *, applied: Iterable[str], pending: Iterable[str]
) -> tuple[str, str]:
    """Return the last version before a run and after it, from the files that it applied and those that are left."""
    left, new = set(pending), set(applied)
    after = [one.version for one in migrations if one.filename not in left]
    before = [one.version for one in migrations if one.filename not in left | new]
    return (before or [""])[-1], (after or [""])[-1]


class _WithError(Protocol):
    @property
    def error(self) -> TargetError | None: ...


def worst_exit(results: Iterable[_WithError]) -> int:
    """Return the exit code of several targets: a failed migration before drift before an unreachable database."""
    exits = {result.error.exit for result in results if result.error}
    return next((code for code in _EXITS if code in exits), min(exits, default=0))
