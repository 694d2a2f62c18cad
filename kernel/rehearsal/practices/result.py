"""What a practice found wrong, and with which file; and the practice's result made of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kernel.rehearsal.result import Practice

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kernel.errors import MigrationFailed


# (url before, url after) -> a sentence for each table whose rows differ, () for none.
CompareData = Callable[[str, str], tuple[str, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class PracticeFault:
    """One thing that goes against a practice; `line` counts from 1, file and version are "" where nobody can tell.

    `about` is the table or other object in question, "" for none. `stricter` says that it only keeps rows out, which
    were let in before; `unchanged`, that what failed left nothing behind.
    """

    message: str
    remedy: str = ""
    version: str = ""
    filename: str = ""
    line: int | None = None
    object_name: str = ""
    only_rejects_rows: bool = False
    left_unchanged: bool = False

    def __str__(self) -> str:
        place = ":".join(str(part) for part in (self.filename, self.line) if part)
        text = f"{self.message}; {self.remedy}" if self.remedy else self.message
        return f"{place}: {text}" if place else text


@dataclass(frozen=True, slots=True, kw_only=True)
class PracticeResult:
    """The result of a practice as the reports show it, and its faults one by one for the judge."""

    practice: Practice
    faults: tuple[PracticeFault, ...] = ()


def make_practice_result(
    name: str, faults: Iterable[PracticeFault], *, notes: Iterable[str] = (), untested: bool = False
) -> PracticeResult:
    """Faults decide; without any, the practice held, unless something of it could not be tested."""
    found = tuple(faults)
    held = False if found else None if untested else True
    return PracticeResult(
        practice=Practice(name=name, held=held, details=(*(str(fault) for fault in found), *notes)), faults=found
    )


def format_migration_error(error: MigrationFailed) -> str:
    """The server's sentence and its code."""
    code = error.failure.sqlstate
    return f"{error} ({code})" if code else str(error)
