"""Declarations: what a migration says it means to do to the data."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from kernel.migrations.migration import discover_migrations
from kernel.migrations.script import parse_script
from kernel.rehearsal.data.expectations import Expectation, ExpectationKind, read_expectations

if TYPE_CHECKING:
    from pathlib import Path


def read(folder: Path, text: str) -> tuple[tuple[Expectation, ...], list[str]]:
    (folder / "007_data.sql").write_text(text)
    found, problems = read_expectations(discover_migrations(folder))
    return found, [str(problem) for problem in problems]


@pytest.mark.parametrize(
    ("line", "verb", "name", "rows"),
    [
        ("rows orders=-10", ExpectationKind.ROWS, ("orders",), -10),
        ("rows Public.Orders=+5", ExpectationKind.ROWS, ("public", "orders"), 5),
        ('rows "Odd.Name"=*', ExpectationKind.ROWS, ("Odd.Name",), None),
        ("changes users.status", ExpectationKind.CHANGES, ("users", "status"), None),
        ("changes app.users.*", ExpectationKind.CHANGES, ("app", "users", "*"), None),
        ('changes users."say ""so"""', ExpectationKind.CHANGES, ("users", 'say "so"'), None),
        ("drops orders", ExpectationKind.DROPS, ("orders",), None),
        ("drops orders.legacy_note", ExpectationKind.DROPS, ("orders", "legacy_note"), None),
    ],
)
def test_each_form_is_read(
    tmp_path: Path, line: str, verb: ExpectationKind, name: tuple[str, ...], rows: int | None
) -> None:
    (one,), problems = read(tmp_path, f"-- rehearse: {line}\nSELECT 1;\n")
    assert (one.kind, one.name, one.row_difference, one.location, problems) == (verb, name, rows, "007_data.sql:1", [])


def test_several_names_stand_on_one_line(tmp_path: Path) -> None:
    found, problems = read(tmp_path, "--rehearse:rows a=-1, b=+2 c=*\r\n")
    assert ([(one.name, one.row_difference) for one in found], problems) == (
        [(("a",), -1), (("b",), 2), (("c",), None)],
        [],
    )


def test_declarations_stand_on_any_line_of_the_file(tmp_path: Path) -> None:
    text = "SELECT 1; -- rehearse: rows a=-1\n\nUPDATE t\n-- rehearse: changes t.v\nSET v = 1;\n-- rehearse: drops x"
    found, _ = read(tmp_path, text)
    assert [(one.kind.value, one.line) for one in found] == [("rows", 1), ("changes", 4), ("drops", 6)]


@pytest.mark.parametrize(
    "text",
    [
        "SELECT '\n-- rehearse: rows a=-1\n';",
        "DO $$\n-- rehearse: rows a=-1\n$$;",
        "/*\n-- rehearse: rows a=-1\n*/ SELECT 1;",
        "/* /* */\n-- rehearse: rows a=-1\n*/",
        'SELECT 1 AS "\n-- rehearse: rows a=-1\n";',
        "COPY t FROM stdin;\n-- rehearse: rows a=-1\n\\.\n",
        "-- we rehearse: rows a=-1\n",
    ],
)
def test_strings_block_comments_and_data_declare_nothing(tmp_path: Path, text: str) -> None:
    assert read(tmp_path, text) == ((), [])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("row a=-1", "-- rehearse: row: no such word; do you mean rows"),
        ("", "-- rehearse: (nothing): no such word; write rows orders=-10"),
        ("rows", "-- rehearse: rows: cannot be read; write rows orders=-10, rows orders=+5 or rows orders=*"),
        ("rows a=10", "-- rehearse: rows a=10: cannot be read; write rows orders=-10"),
        ("rows a=-1; b=-2", "-- rehearse: rows a=-1; b=-2: cannot be read"),
        ("changes users", "-- rehearse: changes users: cannot be read; write changes users.status"),
        ("drops a-b", "-- rehearse: drops a-b: cannot be read; write drops orders.legacy_note"),
    ],
)
def test_what_cannot_be_read_is_a_problem_with_its_line(tmp_path: Path, line: str, message: str) -> None:
    _, (problem,) = read(tmp_path, f"SELECT 1;\n-- rehearse: {line}\n")
    assert problem.startswith(f"007_data.sql:2: {message}")


def test_a_declaration_is_no_directive_of_the_runner(tmp_path: Path) -> None:
    path = tmp_path / "007_data.sql"
    path.write_text("-- rehearse: rows a=-1\n-- migrate: lock_timeout=2s\nDELETE FROM a; -- rehearse: changes a.b\n")
    assert parse_script(path, path.name).lock_timeout_ms == 2000


def test_a_file_that_cannot_be_lexed_declares_what_stands_ahead(tmp_path: Path) -> None:
    (one,), problems = read(tmp_path, "-- rehearse: rows a=-1\nSELECT 1;\nSELECT 'open\n-- rehearse: rows b=-1\n")
    assert (one.name, problems) == (("a",), [])
