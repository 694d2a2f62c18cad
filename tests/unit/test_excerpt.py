"""The lines around an error: numbered as in the file, the caret under the character."""

from __future__ import annotations

import io

from kernel.apply.failures import statement_excerpt
from kernel.sql.lexer import Part, PartKind, split_script


def last_statement(script: str) -> Part:
    return [part for part in split_script(io.BytesIO(script.encode()).read) if part.kind is PartKind.STATEMENT][-1]


def test_the_caret_stands_under_the_column() -> None:
    part = last_statement("SELECT 1;\n\n  SELECT\n    nmae\n  FROM users;")
    assert statement_excerpt(part, 4, 5) == "3 |   SELECT\n4 |     nmae\n  |     ^\n5 |   FROM users;"


def test_without_a_column_the_statement_is_shown() -> None:
    assert statement_excerpt(last_statement("SELECT 1 / 0;"), 1, None) == "1 | SELECT 1 / 0;"


def test_tabs_ahead_of_the_column_stay_tabs() -> None:
    part = last_statement("SELECT\n\t\tä, nmae;")
    assert statement_excerpt(part, 2, 6) == "1 | SELECT\n2 | \t\tä, nmae;\n  | \t\t   ^"


def test_of_a_long_statement_the_lines_about_the_error_are_shown() -> None:
    part = last_statement("SELECT\n" + "".join(f"  {number},\n" for number in range(2, 30)) + "  30;")
    rows = statement_excerpt(part, 12, 3).split("\n")
    assert rows[0] == " 8 |   8,"
    assert rows[4:6] == ["12 |   12,", "   |   ^"]
    assert (rows[-2], rows[-1]) == ("15 |   15,", "   | …")


def test_a_very_long_line_is_cut_about_the_column() -> None:
    part = last_statement("SELECT '" + "x" * 5000 + "', nmae, '" + "y" * 5000 + "';")
    shown, caret = statement_excerpt(part, 1, 5012).split("\n")
    assert len(shown) < 200
    assert shown[caret.index("^") :].startswith("nmae,")
