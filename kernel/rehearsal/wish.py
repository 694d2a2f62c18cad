"""What a rehearsal is asked for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from kernel.apply.runner import Patience
from kernel.rehearsal.judge.evidence import Limits

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from kernel.apply.events import Observer
    from kernel.rehearsal.golden.wish import Forbidden


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """Where the copy comes from, `dump` or else `prod_db`, where it goes, and what is done with it.

    `jobs` connections restore and check. `keep` keeps the golden copy for the next time, in `store`, by default the
    user's cache. `yes` allows TEST_DB to hold what is not ours. `reader_seconds` is how long a reader stands in front
    of the migrations under traffic. `queries` is a file of the application's queries, or pg_stat_statements for those
    that PROD_DB knows. `suggest` tries a safer way for findings that have a mechanical one.
    """

    dump: Path | None = None
    prod_db: str | None = field(default=None, repr=False)
    test_db: str | None = field(default=None, repr=False)
    forbidden: tuple[Forbidden, ...] = ()
    schema_only: bool = False
    jobs: int = 2
    keep: bool = False
    yes: bool = False
    reader_seconds: float = 0.0
    queries: str = ""
    suggest: bool = False
    limits: Limits = field(default_factory=Limits)
    patience: Patience = field(default_factory=Patience)
    bindir: Path | None = None
    store: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Telling:
    """Who is told on the way: `say` a line that stays, `passing` one that the next takes the place of.

    `observer` is told what happens while migrations run.
    """

    say: Callable[[str], None] = lambda _line: None
    passing: Callable[[str], None] = lambda _line: None
    observer: Observer = lambda _event: None
