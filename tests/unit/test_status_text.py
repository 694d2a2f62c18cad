"""The text of db.status: the sample of the specification to the blank, and the cases that it does not show."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kernel.db.records import Record
from kernel.plan import PartialRun, build_plan
from kernel.report.status import status_text
from tests.unit.fileless_migration import FilelessMigration

if TYPE_CHECKING:
    from kernel.migrations.migration import Migration

NAMES = (
    "001_create_audit_ledger.sql",
    "008_create_business_terms.sql",
    "009_create_data_contracts.sql",
)
# The specification, "Check Migration Status", with the three migrations that it names.
SAMPLE = """\
📊 Migration Status:

Total migrations: 3
Applied: 2
Pending: 1

Migrations:
  001 001_create_audit_ledger.sql          ✅ Applied
  008 008_create_business_terms.sql        ✅ Applied
  009 009_create_data_contracts.sql        ⏳ Pending"""


def migration(filename: str, checksum: str = "same") -> Migration:
    return FilelessMigration(version=filename.partition("_")[0], filename=filename, directory=Path(), checksum=checksum)


def record(filename: str) -> Record:
    applied_at = datetime(2026, 3, 2)  # noqa: DTZ001 - the column has no time zone
    return Record(version=filename.partition("_")[0], filename=filename, applied_at=applied_at, checksum="same")


def test_the_text_is_the_sample_of_the_specification() -> None:
    found = build_plan([migration(name) for name in NAMES], [record(name) for name in NAMES[:2]])
    assert status_text(found, emoji=True) == SAMPLE


def test_the_columns_are_the_same_without_emoji() -> None:
    found = build_plan([migration(name) for name in NAMES], [record(name) for name in NAMES[:2]])
    plain = SAMPLE.replace("📊 ", "").replace("✅ ", "").replace("⏳ ", "")
    assert status_text(found, emoji=False) == plain


def test_names_longer_than_the_samples_column_widen_it_for_all() -> None:
    long = "010_create_a_table_with_a_rather_long_name.sql"
    rows = status_text(build_plan([migration(NAMES[0]), migration(long)], []), emoji=True).splitlines()[-2:]
    assert rows == [f"  001 {NAMES[0]:<46} ⏳ Pending", f"  010 {long} ⏳ Pending"]


def test_a_version_that_looks_like_a_number_is_shown_as_written() -> None:
    row = status_text(build_plan([migration("0010_1e5.sql")], []), emoji=False).splitlines()[-1]
    assert row.split() == ["0010", "0010_1e5.sql", "Pending"]


@pytest.mark.parametrize("emoji", [True, False])
def test_every_state_is_named_and_drift_is_listed_with_its_remedy(emoji: bool) -> None:
    files = [
        migration("001_a.sql"),
        migration("002_b.sql", "other"),
        migration("004_d.sql", "d"),
        migration("005_e.sql", "e"),
        migration("007_g.sql", "g"),
    ]
    records = [record("001_a.sql"), record("002_b.sql"), record("003_c.sql"), record("006_f.sql")]
    partial = {"004": PartialRun(finished=1, invalid_indexes=("public.t_a",))}
    text = status_text(build_plan(files, records, partial=partial), emoji=emoji)
    lines = text.splitlines()
    words = [("📊 " if emoji else "") + "Migration Status:", "", "Total migrations: 7", "Applied: 4", "Pending: 3"]
    assert lines[:5] == words
    states = [
        "✅ Applied",
        "📝 Modified",
        "❓ Missing",
        "🚧 Partial",
        "⏳ Pending, out of order",
        "❓ Missing",
        "⏳ Pending",
    ]
    assert [line[43:] for line in lines[7:14]] == [state if emoji else state[2:] for state in states]
    assert lines[lines.index("Partial:") + 1] == (
        "  004_d.sql: the next run begins with statement 2; public.t_a is INVALID, and is dropped first"
    )
    below = lines[lines.index("Drift:") + 1 :]
    assert [line.split(":")[0] for line in below] == ["  002_b.sql", "  003_c.sql", "  005_e.sql", "  006_f.sql"]


def test_a_database_that_is_ahead_is_a_warning_and_not_drift() -> None:
    text = status_text(build_plan([migration("001_a.sql")], [record("001_a.sql"), record("002_b.sql")]), emoji=False)
    assert "Drift:" not in text
    assert text.endswith(
        "the database is ahead of these files: 002_b.sql; deploy the release that holds them, or go on as you are"
    )


def test_a_filename_from_the_ledger_can_neither_break_its_line_nor_move_the_cursor() -> None:
    files, records = [migration("005_e.sql")], [record("003_c\n.sql"), record("006_f\x1b[2J.sql")]
    text = status_text(build_plan(files, records), emoji=False)
    lines = text.splitlines()
    assert not set(text) & {"\x1b", "\r"}
    assert lines[7].split() == ["003", "003_c⟨U+000A⟩.sql", "Missing"]
    assert lines[9].split() == ["006", "006_f⟨U+001B⟩[2J.sql", "Missing"]
    assert lines[-1].startswith("the database is ahead of these files: 006_f⟨U+001B⟩[2J.sql; ")
