"""The request of a rehearsal, and the receiver of its progress."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from kernel.apply.executor import WaitLimits
from kernel.config.ledger_name import DEFAULT_LEDGER, LedgerName
from kernel.rehearsal.prod_copy.model import CopyTarget
from kernel.rehearsal.result import Limits

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from kernel.apply.events import Observer
    from kernel.config.ledger_name import LedgerName


@dataclass(frozen=True, slots=True, kw_only=True)
class RehearsalRequest:
    """The source of the copy, `dump` or else `prod_db`, its target, and what is measured.

    `jobs` is the number of connections that restore and compare. `reader_seconds` is how long a transaction that has
    read all tables is open before the migrations under traffic. `queries` is a file of the application's queries, or
    pg_stat_statements for those of PROD_DB; `queries_after` is a file with those of the version that is deployed
    between the phases. `suggest` tries safer files for findings with a mechanical workaround.
    `role` is the role that the migrations run as, "" for the user of the copy. `schemas` are those of PROD_DB to copy,
    which become the search path of the copy, () for all.
    """

    dump: Path | None = None
    prod_db: str | None = field(default=None, repr=False)
    schemas: tuple[str, ...] = ()
    target: CopyTarget = field(default_factory=CopyTarget)
    schema_only: bool = False
    jobs: int = 2
    reader_seconds: float = 0.0
    queries: str = ""
    queries_after: Path | None = None
    suggest: bool = False
    limits: Limits = field(default_factory=Limits)
    waits: WaitLimits = field(default_factory=WaitLimits)
    bindir: Path | None = None
    migrations_table: LedgerName = DEFAULT_LEDGER
    role: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reporter:
    """Where progress goes: `print_line` prints a line that stays, `show_progress` one that the next line replaces.

    `observer` receives the events of the migrations.
    """

    print_line: Callable[[str], None] = lambda _line: None
    show_progress: Callable[[str], None] = lambda _line: None
    observer: Observer = lambda _event: None
