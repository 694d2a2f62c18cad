"""The text of suggestions: times before and after, the result of the proof, and the width of a terminal."""

from __future__ import annotations

import unicodedata
from dataclasses import replace
from pathlib import Path

import pytest

from kernel.report.safe_text import TERMINAL_COLUMNS, display_width
from kernel.report.suggestions import suggestions_text
from tests.browser.samples import SAMPLES, suggested


def test_the_text_shows_files_and_times_before_and_after() -> None:
    assert suggestions_text(suggested(), folder=Path("page-suggested")) == (
        "suggested  1 migration rewritten, tried on a clone: the same schema and the same rows, except values\n"
        "           that differ in every run (public.users: 12 004 values of touched_at)\n"
        "           017_widen_order_ids.sql -> 2 files from 017_widen_order_ids.sql on\n"
        "             public.orders: blocked: reads 41.4 s -> 41.3 s, writes 41.4 s -> 41.3 s\n"
        "             billing.invoices: blocked: writes 4.05 s -> 0 ms\n"
        "             public.users: blocked: reads 0 ms -> 2.0 ms, writes 0 ms -> 2.0 ms\n"
        "not        017_widen_order_ids.sql:5: type-change-rewrites: a view depends on id\n"
        "           018_require_effective_from.sql:4: set-not-null-scans: it fails\n"
        "files      page-suggested"
    )


def test_a_suggestion_that_blocks_no_shorter_has_a_warning() -> None:
    (trial,) = suggested().trials
    text = suggestions_text(replace(suggested(), trials=(replace(trial, blocked_after=trial.blocked_before),)))
    assert "it blocks other sessions no shorter than the original" in text


def test_differences_are_shown_instead_of_a_proof() -> None:
    text = suggestions_text(replace(suggested(), differences=("public.users: 3 rows missing",)))
    assert "with another result" in text
    assert "differs: public.users: 3 rows missing" in text


@pytest.mark.parametrize("sample", [name for name, sample in SAMPLES.items() if sample().advice])
def test_lines_fit_a_terminal_and_have_no_control_characters(sample: str) -> None:
    advice = SAMPLES[sample]().advice
    assert advice
    lines = suggestions_text(advice).splitlines()
    assert max(display_width(line) for line in lines) <= TERMINAL_COLUMNS
    assert not {"Cc", "Cf", "Zl", "Zp", "Cs"} & {unicodedata.category(one) for line in lines for one in line}
