"""The result of a practice that was tested, and its faults, each with the file that it is about."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kernel.apply.events import ignore_event
from kernel.operations.migrate import MigrateOptions, migrate
from kernel.rehearsal.result import Practice

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kernel.apply.executor import WaitLimits
    from kernel.db.connection import Session
    from kernel.errors import MigrationFailed
    from kernel.lint.finding import Severity
    from kernel.migrations.migration import Migration


# (URL before, URL after) -> a sentence for each table whose rows differ, () for none.
CompareData = Callable[[str, str], tuple[str, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class PracticeFault:
    """One violation of a practice; `line`, `column` and `offset` as in a Finding.

    File and version are "" where they are not known. `object_name` is the table or other object concerned, "" for none;
    `subject` is the unquoted name of what changed of it, such as a column. `severity` is that of the finding, None for
    the one of its rule; `rules` are those of the linter for the same hazard. `only_rejects_rows`: the change only
    refuses rows that were accepted before. `left_unchanged`: the file failed and left nothing in the database.
    """

    message: str
    remedy: str = ""
    version: str = ""
    filename: str = ""
    line: int | None = None
    column: int | None = None
    offset: int | None = None
    object_name: str = ""
    subject: str = ""
    severity: Severity | None = None
    rules: tuple[str, ...] = ()
    only_rejects_rows: bool = False
    left_unchanged: bool = False

    def __str__(self) -> str:
        place = ":".join(str(part) for part in (self.filename, self.line) if part)
        text = f"{self.message}; {self.remedy}" if self.remedy else self.message
        return f"{place}: {text}" if place else text


@dataclass(frozen=True, slots=True, kw_only=True)
class PracticeResult:
    """The result of a practice as the reports show it, and its faults, of which findings are made."""

    practice: Practice
    faults: tuple[PracticeFault, ...] = ()


def make_practice_result(
    name: str, faults: Iterable[PracticeFault], *, notes: Iterable[str] = (), untested: bool = False
) -> PracticeResult:
    """A practice with a fault did not hold; one without held, or is None where part of it was `untested`."""
    faults = tuple(faults)
    held = False if faults else None if untested else True
    return PracticeResult(practice=Practice(name=name, held=held, details=(*map(str, faults), *notes)), faults=faults)


def apply_through(session: Session, files: tuple[Migration, ...], migration: Migration, waits: WaitLimits) -> None:
    """Apply the pending files up to this one. Raises MigrationFailed."""
    options = MigrateOptions(to=migration.version, allow_out_of_order=True, waits=waits, repeatable=())
    migrate(session, files, options, ignore_event)


def format_migration_error(error: MigrationFailed) -> str:
    """The server's message and the SQLSTATE."""
    code = error.failure.sqlstate
    return f"{error} ({code})" if code else str(error)
