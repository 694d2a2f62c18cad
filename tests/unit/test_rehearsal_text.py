"""The text of a rehearsal for the terminal: one screen, the worst first, without control characters."""

from __future__ import annotations

import unicodedata
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kernel.lint.finding import Severity
from kernel.report.rehearsal import REHEARSAL_LINES, rehearsal_text
from kernel.report.safe_text import TERMINAL_COLUMNS, display_width
from tests.browser.samples import DEARER, FEARED, INDEX, LOSS, REWRITE, SAMPLES, TIMEOUT, failing, huge, passing

if TYPE_CHECKING:
    from collections.abc import Callable

    from kernel.rehearsal.result import Rehearsal

REPORT = Path("/srv/ci/rehearsal.html")


def overfull() -> Rehearsal:
    """More of everything than fits a screen."""
    full = failing()
    return replace(
        full,
        runs=tuple(replace(run, version=f"{number:03}") for number in range(9) for run in full.runs),
        receipts=full.receipts * 9,
        practices=full.practices * 9,
        reasons=full.reasons * 9,
    )


def test_a_passing_rehearsal_shows_its_migrations_and_their_cost() -> None:
    assert rehearsal_text(passing(), report=REPORT) == (
        "PASS       nothing to settle first\n"
        "           1 migration rehearsed on shop-2026-11-01.dump (1.98 GB, cloned in 482 ms)\n"
        "\n"
        "migration                    time  reads blocked  writes blocked  rewrites      WAL\n"
        "016_create_order_notes.sql  23 ms              -           14 ms         -  48.3 kB\n"
        "\n"
        "traffic    public.orders: writes waited 16 ms\n"
        "data       3 tables: 1 changed as declared, 2 the same\n"
        "           public.order_notes: new, with 0 rows, as declared\n"
        "practices  3 held, 1 not tried\n"
        "           not tried: The revert files bring back schema and data: 016_create_order_notes.sql has no\n"
        "           revert file\n"
        "report     /srv/ci/rehearsal.html"
    )


def test_the_verdict_comes_first_then_failures_then_reasons() -> None:
    shown = rehearsal_text(failing())
    places = [
        shown.index(part)
        for part in (
            "FAIL       1 migration failed, 2 errors, 2 warnings, 1 warning below the threshold",
            "failed     018_require_effective_from.sql:4: ",
            "31 rows of public.business_terms prevent it: SELECT * FROM public.business_terms",
            "to stop it earlier: -- migrate: check no row of public.business_terms violates",
            "error      017_widen_order_ids.sql:5: 4 012 331 rows of public.orders",
            "error      018_require_effective_from.sql:2: 14 rows of public.business_terms are gone",
            "-> keep the rows, or declare it",
            "017_widen_order_ids.sql                43.2 s         41.4 s          41.4 s         1  1.40 GB",
            "traffic    public.orders: reads waited 41.9 s, writes waited 41.9 s, 38 sessions in the queue",
            "public.business_terms: 14 rows removed, undeclared",
            "public.users: 12 004 rows changed in last_order_id, as declared",
            "not held: Safe to run again: 017_widen_order_ids.sql:9",
            "not tried: The revert files bring back schema and data: 016_create_order_notes.sql has no",
        )
    ]
    assert places == sorted(places)


@pytest.mark.parametrize("sample", [*SAMPLES.values(), overfull])
def test_the_text_fits_one_screen(sample: Callable[[], Rehearsal]) -> None:
    lines = rehearsal_text(sample(), report=REPORT).splitlines()
    assert len(lines) <= REHEARSAL_LINES
    assert max(display_width(line) for line in lines) <= TERMINAL_COLUMNS


@pytest.mark.parametrize(
    ("report", "where"), [(REPORT, "in the report"), (None, "shown by --report PATH.html or --json")]
)
def test_findings_without_room_are_counted(report: Path | None, where: str) -> None:
    reasons = tuple(replace(REWRITE, filename=f"{number:03}_file.sql") for number in range(30))
    below = tuple(replace(INDEX, filename=f"{number:03}_file.sql") for number in range(7))
    lines = rehearsal_text(replace(passing(), reasons=reasons, findings=(*reasons, *below)), report=report).splitlines()
    shown = sum(line.startswith(("error", "warning")) for line in lines)
    assert 0 < shown < 30
    assert f"           and {37 - shown} more findings, {where}" in lines


def test_findings_of_one_rule_in_one_file_are_one_entry() -> None:
    lines = rehearsal_text(huge()).splitlines()
    entries = [line for line in lines if line.startswith(("error", "warning"))]
    assert [line.partition(":")[2][:27] for line in entries] == [
        "1 and 19 more places: tenan",
        "21 and 39 more places: tena",
    ]
    again = tuple(replace(LOSS, line=line, filename=f"{line % 2 + 1:03}_file.sql") for line in range(1, 9))
    shown = rehearsal_text(replace(passing(), reasons=again, findings=again))
    assert "002_file.sql:1 and 3 more places: 14 rows" in shown
    assert "001_file.sql:2 and 3 more places: 14 rows" in shown


def test_nothing_is_cut_where_no_terminal_is() -> None:
    details = tuple(f"{number:03}_a_long_description_of_a_migration.sql: " + "why " * 60 for number in range(9))
    practice = replace(passing().practices[0], held=None, details=details)
    reasons = tuple(replace(REWRITE, filename=f"{number:03}_file.sql") for number in range(30))
    full = replace(passing(), reasons=reasons, findings=reasons, practices=(practice,))
    shown = " ".join(rehearsal_text(full, terminal=False).split())
    assert all(f"{number:03}_file.sql:5: {REWRITE.message}" in shown for number in range(30))
    assert all(detail.strip() in shown for detail in details)
    assert "…" not in shown
    cut = rehearsal_text(full)
    assert "(and 8 more)" in cut or "…" in cut


@pytest.mark.parametrize("sample", SAMPLES)
def test_no_name_can_move_the_cursor_or_reverse_a_line(sample: str) -> None:
    shown = rehearsal_text(SAMPLES[sample]()).replace("\n", "")
    assert not {"Cc", "Cf", "Zl", "Zp", "Cs"} & {unicodedata.category(character) for character in shown}


def test_the_fastest_of_many_migrations_share_one_row() -> None:
    one = passing().runs[0]
    runs = tuple(
        replace(one, version=f"{number:03}", filename=f"{number:03}_step.sql", seconds=number, wal_bytes=1_000)
        for number in range(1, 21)
    )
    lines = rehearsal_text(replace(passing(), runs=runs)).splitlines()
    rows = lines[lines.index("") + 2 :]
    assert [row.split()[0] for row in rows[:7]] == [*(f"{number:03}_step.sql" for number in range(15, 21)), "and"]
    assert rows[6].split() == ["and", "14", "more", "1", "min", "45", "s", "-", "-", "-", "14.0", "kB"]


def test_findings_below_the_threshold_are_counted_as_such() -> None:
    below = replace(passing(), findings=(REWRITE, LOSS, INDEX, FEARED))
    assert rehearsal_text(below).startswith("PASS       2 errors, 1 warning below the threshold\n")


def test_warnings_below_the_threshold_follow_the_reasons() -> None:
    lines = rehearsal_text(replace(failing(), reasons=(LOSS,), findings=(INDEX, TIMEOUT, LOSS, FEARED))).splitlines()
    labels = [line.split()[0] for line in lines if line.startswith(("error", "warning", "harmless", "migration "))]
    assert labels == ["error", "warning", "warning", "migration"]
    assert lines[0].endswith("1 error, 2 warnings below the threshold")


def test_a_passing_rehearsal_shows_the_worst_findings_below_the_threshold() -> None:
    below = replace(passing(), findings=(INDEX, TIMEOUT, REWRITE, DEARER))
    lines = rehearsal_text(below, report=REPORT).splitlines()
    labels = [line.split()[0] for line in lines if line.startswith(("error", "warning"))]
    assert labels == ["error", "warning", "warning", "warning"]


def test_warnings_without_room_are_left_to_the_report() -> None:
    shown = rehearsal_text(replace(overfull(), findings=(*overfull().reasons, DEARER)), report=REPORT)
    assert "orders.sql:3" not in shown
    assert len(shown.splitlines()) <= REHEARSAL_LINES


def test_query_plans_are_not_in_the_terminal_text() -> None:
    shown = rehearsal_text(replace(failing(), reasons=(DEARER,)))
    assert "its plan costs 98 412, before 9\n" in shown
    assert "Seq Scan" not in shown


def test_harmless_findings_are_not_counted() -> None:
    assert FEARED.severity is Severity.HARMLESS
    assert rehearsal_text(passing()).startswith("PASS       nothing to settle first\n")
