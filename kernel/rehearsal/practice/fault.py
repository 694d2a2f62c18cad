"""What a practice found wrong, and with which file; and the practice's result made of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kernel.rehearsal.result import Practice

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kernel.apply.events import Event
    from kernel.errors import MigrationFailed

# (url before, url after) -> a sentence for each table whose rows differ, () for none.
DataChanged = Callable[[str, str], tuple[str, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing that goes against a practice; `line` counts from 1, file and version are "" where nobody can tell.

    `about` is the table or other object in question, "" for none. `stricter` says that it only keeps rows out, which
    were let in before; `unchanged`, that what failed left nothing behind.
    """

    message: str
    remedy: str = ""
    version: str = ""
    filename: str = ""
    line: int | None = None
    about: str = ""
    stricter: bool = False
    unchanged: bool = False

    def __str__(self) -> str:
        place = ":".join(str(part) for part in (self.filename, self.line) if part)
        text = f"{self.message}; {self.remedy}" if self.remedy else self.message
        return f"{place}: {text}" if place else text


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """The result of a practice as the reports show it, and its faults one by one for the judge."""

    practice: Practice
    faults: tuple[Fault, ...] = ()


def checked(name: str, faults: Iterable[Fault], *, notes: Iterable[str] = (), untested: bool = False) -> Checked:
    """Faults decide; without any, the practice held, unless something of it could not be tested."""
    found = tuple(faults)
    held = False if found else None if untested else True
    return Checked(
        practice=Practice(name=name, held=held, details=(*(str(fault) for fault in found), *notes)), faults=found
    )


def told(error: MigrationFailed) -> str:
    """The server's sentence and its code."""
    code = error.failure.sqlstate
    return f"{error} ({code})" if code else str(error)


def unheard(_event: Event) -> None:
    """The observer of runs that nobody watches."""
