"""What happens while migrations run, for whoever shows it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kernel.files.migration import Migration
    from kernel.files.script import Script
    from kernel.lock import Holder


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """Another runner holds the lock; it is waited for."""

    holder: Holder


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """A file begins to run."""

    migration: Migration
    script: Script


@dataclass(frozen=True, slots=True, kw_only=True)
class Progressed:
    """So many of the file's statements are done, and so many of its bytes sent."""

    migration: Migration
    script: Script
    statements: int
    sent_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocked:
    """The statement waits for a table that others hold; `blockers` says who, a line each."""

    migration: Migration
    blockers: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Building:
    """An index build that shuts nobody out is under way; `phase` is the server's word for how far."""

    migration: Migration
    phase: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Noticed:
    """The server sent a NOTICE or WARNING; `line` is the statement's, None outside of the file's statements."""

    migration: Migration
    severity: str
    message: str
    line: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Retrying:
    """The file was rolled back because of others, and will run again."""

    file: str
    attempt: int
    attempts: int
    reason: str
    blockers: tuple[str, ...]
    pause_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """A migration is applied and recorded."""

    migration: Migration
    seconds: float
    statements: int
    note: str = ""


Event = Waiting | Started | Progressed | Blocked | Building | Noticed | Retrying | Applied
Observer = Callable[[Event], None]
