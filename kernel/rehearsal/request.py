"""What a rehearsal is asked for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from kernel.apply.executor import WaitLimits
from kernel.rehearsal.result import Limits

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from kernel.apply.events import Observer
    from kernel.rehearsal.prod_copy.model import ProtectedDatabase


@dataclass(frozen=True, slots=True, kw_only=True)
class RehearsalRequest:
    """Where the copy comes from, `dump` or else `prod_db`, where it goes, and what is done with it.

    `jobs` connections restore and check. `keep` keeps the golden copy for the next time, in `store`, by default the
    user's cache. `yes` allows TEST_DB to hold what is not ours. `reader_seconds` is how long a reader stands in front
    of the migrations under traffic. `queries` is a file of the application's queries, or pg_stat_statements for those
    that PROD_DB knows. `suggest` tries a safer way for findings that have a mechanical one.
    """

    dump: Path | None = None
    prod_db: str | None = field(default=None, repr=False)
    test_db: str | None = field(default=None, repr=False)
    protected: tuple[ProtectedDatabase, ...] = ()
    schema_only: bool = False
    jobs: int = 2
    keep: bool = False
    allow_overwrite: bool = False
    reader_seconds: float = 0.0
    queries: str = ""
    suggest: bool = False
    limits: Limits = field(default_factory=Limits)
    waits: WaitLimits = field(default_factory=WaitLimits)
    bindir: Path | None = None
    store_folder: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reporter:
    """Who is told on the way: `say` a line that stays, `passing` one that the next takes the place of.

    `observer` is told what happens while migrations run.
    """

    print_line: Callable[[str], None] = lambda _line: None
    show_progress: Callable[[str], None] = lambda _line: None
    observer: Observer = lambda _event: None
