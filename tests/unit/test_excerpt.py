"""The lines around an error: numbered as in the file, the caret under the character."""

from __future__ import annotations

import io

import pytest

from kernel.apply.failures import copy_line, do_block_line, statement_excerpt
from kernel.sql.lexer import Part, PartKind, split_script


def last_statement(script: str) -> Part:
    return [part for part in split_script(io.BytesIO(script.encode()).read) if part.kind is PartKind.STATEMENT][-1]


def test_the_caret_stands_under_the_column() -> None:
    part = last_statement("SELECT 1;\n\n  SELECT\n    nmae\n  FROM users;")
    assert statement_excerpt(part, 4, 5, first_column=3) == "3 |   SELECT\n4 |     nmae\n  |     ^\n5 |   FROM users;"


def test_without_a_column_the_statement_is_shown() -> None:
    assert statement_excerpt(last_statement("SELECT 1 / 0;"), 1, None, first_column=1) == "1 | SELECT 1 / 0;"


def test_tabs_ahead_of_the_column_stay_tabs() -> None:
    part = last_statement("SELECT\n\t\tä, nmae;")
    assert statement_excerpt(part, 2, 6, first_column=1) == "1 | SELECT\n2 | \t\tä, nmae;\n  | \t\t   ^"


def test_of_a_long_statement_the_lines_about_the_error_are_shown() -> None:
    part = last_statement("SELECT\n" + "".join(f"  {number},\n" for number in range(2, 30)) + "  30;")
    rows = statement_excerpt(part, 12, 3, first_column=1).split("\n")
    assert rows[0] == " 8 |   8,"
    assert rows[4:6] == ["12 |   12,", "   |   ^"]
    assert (rows[-2], rows[-1]) == ("15 |   15,", "   | …")


def test_a_very_long_line_is_cut_about_the_column() -> None:
    part = last_statement("SELECT '" + "x" * 5000 + "', nmae, '" + "y" * 5000 + "';")
    shown, caret = statement_excerpt(part, 1, 5012, first_column=1).split("\n")
    assert len(shown) < 200
    assert shown[caret.index("^") :].startswith("nmae,")


@pytest.mark.parametrize("letter", ["\f", "\v", "\x1c", "\x85", "\u2028", "\u2029"])
def test_only_a_line_feed_ends_a_line(letter: str) -> None:
    part = last_statement(f"SELECT '{letter}',\n  nmae;")
    shown = f"<U+{ord(letter):04X}>"
    assert statement_excerpt(part, 2, 3, first_column=1) == f"1 | SELECT '{shown}',\n2 |   nmae;\n  |   ^"


def test_characters_that_cannot_be_seen_are_shown_by_their_number() -> None:
    part = last_statement("SELECT\u00a01,\u200b nmae;\r\n")
    shown, caret = statement_excerpt(part, 1, 12, first_column=1).split("\n")
    assert shown == "1 | SELECT<U+00A0>1,<U+200B> nmae;"
    assert shown[caret.index("^") :] == "nmae;"


@pytest.mark.parametrize(
    ("context", "line"),
    [
        ("PL/pgSQL function inline_code_block line 6 at assignment", 6),
        ("PL/pgSQL-Funktion inline_code_block Zeile 6 bei Zuweisung", 6),
        ("fonction PL/pgSQL inline_code_block, ligne 6 à affectation", 6),
        ("функция PL/pgSQL inline_code_block, строка 6, оператор присваивание", 6),
        ("PL/pgSQL関数inline_code_blockの6行目 - 代入", 6),
        ("PL/pgSQL function f(integer) line 2 at RAISE\nPL/pgSQL function inline_code_block line 6 at PERFORM", 6),
        ('inline_code_block line 2 at RAISE\nSQL statement "DO $i$ …"\ninline_code_block line 6 at SQL statement', 6),
        ("PL/pgSQL function inline_code_block during statement block entry\nSQL statement 7", None),
        ("PL/pgSQL function f(integer) line 2 at RAISE", None),
    ],
)
def test_the_line_in_a_do_block_is_read_in_every_language(context: str, line: int | None) -> None:
    assert do_block_line(context) == line


@pytest.mark.parametrize(
    "context",
    [
        'COPY t1, line 6, column a: "x"',
        "COPY t1, Zeile 6, Spalte a: »x«",
        "COPY t1, ligne 6, colonne a : « x »",
        'COPY t1, строка 6, столбец a: "x"',
    ],
)
def test_the_line_of_copy_is_read_in_every_language(context: str) -> None:
    assert copy_line(context) == 6


def test_a_statement_after_another_on_its_line_stands_where_it_does_in_the_file() -> None:
    part = last_statement("SELECT 'ä'; SELECT nmae;")
    assert statement_excerpt(part, 1, 20, first_column=13) == "1 |             SELECT nmae;\n  |                    ^"
    assert statement_excerpt(part, 1, None, first_column=13) == "1 |             SELECT nmae;"
    assert statement_excerpt(part, 1, None, first_column=5013).strip().endswith("SELECT nmae;")
