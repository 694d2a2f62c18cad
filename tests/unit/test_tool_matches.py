"""Which files the records of another tool's ledger say were applied, in a folder without headers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from kernel.migrations.migration import discover_migrations
from kernel.migrations.tool_matches import MatchedBy, match_records
from kernel.migrations.tool_records import LEDGER_FORMATS

if TYPE_CHECKING:
    from pathlib import Path

    from kernel.migrations.tool_matches import ToolMatches

BASELINE_NAME = "<< Flyway Baseline >>"
FILES = [f"00{number}_t{number}.sql" for number in range(1, 6)]


def baseline(version: str, name: str = BASELINE_NAME, *, success: bool = True) -> dict[str, object]:
    """A row of Flyway's ledger, as `flyway baseline` writes it."""
    return {"version": version, "description": name, "type": "BASELINE", "script": name, "success": success}


def applied(version: str, name: str) -> dict[str, object]:
    return {"version": version, "description": name, "type": "SQL", "script": f"V{version}__{name}.sql"}


def match(folder: Path, tool: str, rows: list[dict[str, object]], files: list[str] = FILES) -> ToolMatches:
    """Match files of these names, without a header, with the rows of a tool's ledger."""
    for name in files:
        (folder / name).write_text("SELECT 1;\n")
    known = LEDGER_FORMATS[tool]
    numbered = [{"installed_rank": rank, "checksum": None, "success": True, **row} for rank, row in enumerate(rows)]
    return match_records(discover_migrations(folder), list(known.read(numbered)), known, "public.ledger")


def pending(matches: ToolMatches) -> list[str]:
    return [one.migration.version for one in matches.files if one.record is None]


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("0", ["001", "002", "003", "004", "005"]),
        ("1", ["002", "003", "004", "005"]),
        ("4", ["005"]),
        ("005", []),
    ],
)
def test_a_baseline_without_headers_counts_for_the_files_up_to_its_number(
    tmp_path: Path, version: str, expected: list[str]
) -> None:
    matches = match(tmp_path, "flyway", [baseline(version)])
    assert matches.problems == ()
    assert pending(matches) == expected
    assert {one.matched_by for one in matches.files if one.record} <= {MatchedBy.ORDER}


def test_a_baseline_counts_for_the_files_before_it_and_each_record_for_its_own(tmp_path: Path) -> None:
    matches = match(tmp_path, "flyway", [baseline("3"), applied("4", "t4")])
    assert matches.problems == ()
    assert [one.matched_by for one in matches.files] == [MatchedBy.ORDER] * 3 + [MatchedBy.NUMBER, None]


@pytest.mark.parametrize("files", [FILES[3:], ["20240101120000_one.sql", "20240102120000_two.sql"]])
def test_files_that_are_all_numbered_after_a_baseline_stay_pending(tmp_path: Path, files: list[str]) -> None:
    matches = match(tmp_path, "flyway", [baseline("3")], files)
    assert (matches.problems, matches.applied) == ((), ())


def test_a_baseline_at_a_timestamp_counts_for_files_that_have_timestamps(tmp_path: Path) -> None:
    files = ["20240101120000_one.sql", "20240102120000_two.sql", "20240103120000_three.sql"]
    matches = match(tmp_path, "flyway", [baseline("20240102120000")], files)
    assert (matches.problems, pending(matches)) == ((), ["20240103120000"])


@pytest.mark.parametrize(
    ("version", "rows"),
    [
        ("1.2", []),
        ("20240102120000", []),
        ("6", []),
        ("1", [applied("1.5", "t3")]),
        ("1.2", [applied("1.5", "t3")]),
        ("20240102120000", [applied("20240103120000", "t3")]),
        ("7", [applied("8", "t3")]),
    ],
    ids=["dotted", "timestamp", "beyond the newest file", *["records by name"] * 4],
)
def test_a_baseline_whose_files_are_undecided_is_a_problem(
    tmp_path: Path, version: str, rows: list[dict[str, object]]
) -> None:
    matches = match(tmp_path, "flyway", [baseline(version), *rows])
    assert [one.message for one in matches.problems] == [
        (
            f"public.ledger: a baseline at {version}, and no header says which files are before it; "
            "record them with: inv db.baseline --to VERSION"
        )
    ]


def test_a_baseline_before_records_that_leave_no_file_undecided_is_no_problem(tmp_path: Path) -> None:
    matches = match(tmp_path, "flyway", [baseline("1"), applied("1.1", "t1"), applied("1.2", "t2")])
    assert matches.problems == ()
    assert pending(matches) == ["003", "004", "005"]


def test_a_baseline_whose_name_and_number_are_those_of_different_files_is_a_problem(tmp_path: Path) -> None:
    matches = match(tmp_path, "flyway", [baseline("4", "t1")])
    assert [one.message.partition(",")[0] for one in matches.problems] == ["public.ledger: a baseline at 4"]


@pytest.mark.parametrize("version", ["2", "1.2", "20240102120000"])
def test_a_baseline_that_has_the_name_of_a_file_counts_for_the_files_up_to_it(tmp_path: Path, version: str) -> None:
    matches = match(tmp_path, "flyway", [baseline(version, "t2")])
    assert (matches.problems, pending(matches)) == ((), ["003", "004", "005"])


def test_a_failed_baseline_is_one_problem(tmp_path: Path) -> None:
    matches = match(tmp_path, "flyway", [baseline("1.2", success=False)])
    assert [one.message.partition(";")[0] for one in matches.problems] == [
        f"public.ledger: {BASELINE_NAME} failed",
    ]


def test_in_a_folder_with_headers_a_baseline_counts_for_the_versions_in_them(tmp_path: Path) -> None:
    for number, source in ((1, "V1__t1.sql"), (2, "V1.2__t2.sql"), (3, "V1.10__t3.sql")):
        (tmp_path / f"00{number}_t{number}.sql").write_text(f"-- Description: adopted from flyway: {source}\n")
    matches = match(tmp_path, "flyway", [baseline("1.2")], ["004_of_ours.sql"])
    assert (matches.problems, pending(matches)) == ((), ["003", "004"])


@pytest.mark.parametrize(
    ("tool", "row"),
    [("golang-migrate", {"version": 4, "dirty": False}), ("tern", {"version": 4})],
)
def test_the_newest_version_counts_for_the_files_up_to_its_number(
    tmp_path: Path, tool: str, row: dict[str, object]
) -> None:
    matches = match(tmp_path, tool, [row])
    assert (matches.problems, pending(matches)) == ((), ["005"])


@pytest.mark.parametrize(
    ("tool", "row"),
    [("golang-migrate", {"version": 9, "dirty": False}), ("tern", {"version": 9}), ("alembic", {"version_num": "0a"})],
)
def test_a_newest_version_without_a_file_is_a_problem(tmp_path: Path, tool: str, row: dict[str, object]) -> None:
    matches = match(tmp_path, tool, [row])
    assert matches.applied == ()
    assert ["no file corresponds to it" in one.message for one in matches.problems] == [True]
