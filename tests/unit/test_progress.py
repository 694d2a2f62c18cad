"""Progress of a run: lines that pass on a terminal, and a line for each change elsewhere."""

from __future__ import annotations

from io import StringIO
from typing import TYPE_CHECKING

import pytest

from kernel.apply.events import (
    IndexBuildProgressed,
    MigrationApplied,
    MigrationProgressed,
    MigrationRetrying,
    MigrationStarted,
    NoticeReceived,
    StatementBlocked,
    StatementRunning,
)
from kernel.cli.console import Console, Progress
from kernel.migrations.migration import Migration
from kernel.migrations.script import parse_script

if TYPE_CHECKING:
    from pathlib import Path

    from kernel.apply.events import Event

CLEARED = "\r\x1b[2K"


class Log:
    """What a console shows of the events of one file with three statements."""

    def __init__(self, folder: Path, *, terminal: bool = False) -> None:
        path = folder / "002_two.sql"
        path.write_text("SELECT 1;\nSELECT 2;\nSELECT 3;\n")
        self.migration = Migration(version="002", filename=path.name, directory=folder, checksum="")
        self.script = parse_script(path, path.name)
        self._out, self._err = StringIO(), StringIO()
        self.progress = Progress(Console(out=self._out, err=self._err, emoji=False, live_lines=terminal, colour=False))
        self._observe = self.progress.observer()
        self.show(MigrationStarted(migration=self.migration, script=self.script))

    def show(self, *events: Event) -> list[str]:
        """All lines so far, on a terminal also those that others have replaced."""
        for event in events:
            self._observe(event)
        text = self._err.getvalue().replace(CLEARED, "\n")
        return [line for line in text.splitlines() if line]

    def running(self, seconds: float, *, index: int = 0, count: int = 1) -> StatementRunning:
        return StatementRunning(migration=self.migration, line=index + 1, index=index, count=count, seconds=seconds)

    def blocked(self, *blockers: str, seconds: float = 1.0) -> StatementBlocked:
        return StatementBlocked(migration=self.migration, blockers=blockers, seconds=seconds)

    def retrying(self) -> MigrationRetrying:
        return MigrationRetrying(
            file="002_two.sql", attempt=1, attempts=5, reason="lock timeout", blockers=(), pause_seconds=0.5
        )


def test_a_long_statement_shows_its_number_its_line_and_the_time_on_a_terminal(tmp_path: Path) -> None:
    log = Log(tmp_path, terminal=True)
    done = MigrationProgressed(migration=log.migration, script=log.script, statements=1, sent_bytes=9)
    lines = log.show(done, log.running(1.0, index=1, count=2), log.running(2.0, index=1, count=2))
    assert lines == [
        "002_two.sql: 3 statements",
        "002_two.sql: 1 of 3 statements, 30 %",
        "002_two.sql:2: statement 3 of 3, running for 1 s",
        "002_two.sql:2: statement 3 of 3, running for 2 s",
    ]


def test_statements_that_were_sent_together_are_named_together(tmp_path: Path) -> None:
    (line,) = Log(tmp_path).show(Log(tmp_path).running(12.0, count=3))
    assert line == "002_two.sql:1: statements 1 to 3 of 3, running for 12 s"


def test_a_log_has_a_long_statement_after_ten_seconds_and_each_time_it_has_doubled(tmp_path: Path) -> None:
    log = Log(tmp_path)
    lines = log.show(*(log.running(float(second), count=1) for second in range(1, 2000)))
    assert [line.rpartition("for ")[2] for line in lines] == [
        *("10 s", "20 s", "40 s", "80 s", "160 s", "320 s", "620 s", "920 s", "1220 s", "1520 s", "1820 s"),
    ]
    assert len(log.show(*(log.running(float(second), index=1) for second in range(1, 12)))) == len(lines) + 1


def test_a_log_names_each_blocker_once_an_attempt(tmp_path: Path) -> None:
    log = Log(tmp_path)
    first, later = "pid 7 (psql, active for 00:00:01): a", "pid 7 (psql, active for 00:00:02): b"
    other = "pid 77 (psql, active for 00:00:01): c"
    lines = log.show(log.blocked(first), log.blocked(later), log.blocked(other, later), log.blocked(other))
    assert lines == [f"002_two.sql: waiting for {first}", f"002_two.sql: waiting for {other}"]
    assert log.show(log.retrying(), log.blocked(later))[-1] == f"002_two.sql: waiting for {later}"


def test_a_wait_passes_on_a_terminal(tmp_path: Path) -> None:
    log = Log(tmp_path, terminal=True)
    lines = log.show(log.blocked("pid 7 (psql): a", seconds=1.2), log.blocked("pid 7 (psql): b", seconds=2.2))
    assert lines[1:] == [
        "002_two.sql: waiting 1 s for pid 7 (psql): a",
        "002_two.sql: waiting 2 s for pid 7 (psql): b",
    ]


def test_an_index_build_shows_its_phase_and_the_time(tmp_path: Path) -> None:
    log = Log(tmp_path)
    event = IndexBuildProgressed(migration=log.migration, phase="t_a: building index 40 %", seconds=31)
    assert log.show(event) == ["002_two.sql: t_a: building index 40 %, running for 31 s"]


def test_a_notice_has_its_detail_below_and_moves_no_cursor(tmp_path: Path) -> None:
    log = Log(tmp_path)
    event = NoticeReceived(
        migration=log.migration,
        severity="NOTICE",
        message="drop cascades to \x1b[2J2 other objects",
        line=4,
        detail="drop cascades to view v\ndrop cascades to view w",
    )
    assert log.show(event) == [
        "002_two.sql:4: NOTICE: drop cascades to ⟨U+001B⟩[2J2 other objects",
        "  drop cascades to view v",
        "  drop cascades to view w",
    ]


@pytest.mark.parametrize("terminal", [False, True])
def test_the_file_that_is_running_is_known_until_it_is_applied(tmp_path: Path, *, terminal: bool) -> None:
    log = Log(tmp_path, terminal=terminal)
    assert log.progress.filename == "002_two.sql"
    log.show(MigrationApplied(migration=log.migration, seconds=0.1, statements=3))
    assert log.progress.filename == ""
