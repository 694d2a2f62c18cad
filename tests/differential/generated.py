"""Scripts that are too large for a file, or have bytes that an editor hides or changes."""

from __future__ import annotations

import codecs

_ROW = "INSERT INTO t VALUES ({}, 'row; {}');\n"
_TABLE = "CREATE TABLE t (id integer, body text);\n"


def _many(count: int) -> str:
    return _TABLE + "".join(_ROW.format(number, number) for number in range(count))


def _wide(rows: int, body_bytes: int) -> str:
    """INSERTs so large that few of them fill a message; their lines differ, so that a wrong line is noticed."""
    return _TABLE + "".join(
        _ROW.format(number, f"{number:x}" * (body_bytes // len(f"{number:x}"))) for number in range(rows)
    )


_DEPENDENT = "CREATE TABLE t0 (id integer);\n" + "".join(
    f"CREATE TABLE t{n} (LIKE t{n - 1}); INSERT INTO t{n} SELECT count(*) + {n} FROM t{n - 1};\n" for n in range(1, 120)
)
_CRLF = """\
-- A file from Windows; it's got CRLF.
CREATE TABLE t (a text, b text);
INSERT INTO t VALUES ('two
lines;', E'it\\'s;');
COPY t FROM stdin;
1\tone
2\ttwo;
\\.
COPY t FROM stdin WITH (FORMAT csv);
"a
b",c
\\.
CREATE FUNCTION f() RETURNS text LANGUAGE plpgsql AS $$
BEGIN
  RETURN 'x;'; -- done
END $$;
/* the end
*/"""
_NAMES = "".join(f"CREATE TABLE t{number} (a integer);\n" for number in range(3))

_HIDDEN = "INSERT INTO t VALUES ('\ufeff;'), ('\u202e'), ('\u00a0'), ('\x0b\x0c');\n"
_RETURNS = "COPY t FROM stdin;\na\\rb\n\\.\nINSERT INTO t VALUES ('a\rb');\n"

_TEXTS: dict[str, str | bytes] = {
    "400_empty": "",
    "401_blanks": " \t\n\n\r\n",
    "402_a_comment": "-- nothing; 'to do\n",
    "403_comments_and_no_newline": "/* nothing */ -- to do",
    "404_semicolons": ";\n;;",
    "405_byte_order_mark": codecs.BOM_UTF8 + b"CREATE TABLE t (a integer);\n",
    "406_byte_order_mark_alone": codecs.BOM_UTF8,
    "407_byte_order_mark_and_comment": codecs.BOM_UTF8 + "-- größe\nCREATE TABLE größe (a integer);".encode(),
    "408_windows_lines": _CRLF.replace("\n", "\r\n"),
    "409_windows_lines_and_mark": codecs.BOM_UTF8 + _CRLF.replace("\n", "\r\n").encode(),
    "410_a_comment_ends_the_file": "CREATE TABLE t (a integer);\n-- the end; no newline",
    "411_a_comment_ends_the_last_statement": "CREATE TABLE t (a integer)\n-- no semicolon, no newline",
    "412_a_comment_behind_copy": "CREATE TABLE t (a text);\nCOPY t FROM stdin;\nx\n\\.\n-- the end",
    "413_hidden_characters": "CREATE TABLE t (a text);\n" + _HIDDEN,
    "414_form_feeds": "CREATE\fTABLE\ft (a integer)\f;\nCREATE TABLE u (b integer);",
    "415_carriage_returns_in_data": "CREATE TABLE t (a text);\n" + _RETURNS,
    "416_five_hundred_statements": _many(499),
    "417_one_more_than_a_message_holds": _many(500),
    "418_two_thousand_statements": _many(2000),
    "419_a_quarter_of_a_megabyte": _wide(9, 64_000),
    "420_a_megabyte_in_small_statements": _wide(700, 1_500),
    "421_one_enormous_statement": f"{_TABLE}INSERT INTO t VALUES\n"
    + ",\n".join(f"({number}, 'row; {number}')" for number in range(60_000))
    + ";\n",
    "422_an_enormous_string": f"{_TABLE}INSERT INTO t VALUES (1, $$" + "it's; " * 400_000 + "$$);\nSELECT 1;\n",
    "423_an_enormous_function": "CREATE FUNCTION f() RETURNS void LANGUAGE plpgsql AS $$\nBEGIN\n"
    + "  PERFORM 'a;b'; -- it's\n" * 15_000
    + "END $$;\nCREATE TABLE t (a integer);\n",
    "424_each_needs_the_one_before": _DEPENDENT,
    "425_copy_of_some_megabytes": f"{_TABLE}COPY t FROM stdin;\n"
    + "".join(f"{number}\trow; {number} \\\\. it's\n" for number in range(100_000))
    + "\\.\nSELECT 1;\n",
    "426_copies_between_statements": _TABLE
    + "".join(f"COPY t FROM stdin;\n{n}\tcopied;\n\\.\n{_ROW.format(n, n)}" for n in range(60)),
    "427_comments_of_a_megabyte": "-- it's; a comment\n" * 30_000 + _TABLE + "/* " + "; ' " * 150_000 + "*/\n",
    "428_a_literal_of_deep_nesting": "CREATE TABLE t AS SELECT " + "(" * 200 + "1" + ")" * 200 + " AS a;\n",
    "440_fails_in_the_second_message": _many(700) + "INSERT INTO t VALUES ('x', 1);\n" + _NAMES,
    "441_fails_at_run_time_in_the_third_message": _many(1234) + "SELECT 1 /\n  0;\n" + _NAMES,
    "442_fails_behind_a_megabyte": _wide(700, 1_500) + "INSERT INTO nothing VALUES (1);\n",
    "443_fails_in_an_enormous_statement": f"{_TABLE}INSERT INTO t VALUES\n"
    + ",\n".join(f"({number}, 'ä; {number}')" for number in range(30_000))
    + ",\n(1, nmae);\n",
    "444_copy_fails_after_some_megabytes": f"{_TABLE}COPY t FROM stdin;\n"
    + "".join(f"{number}\trow\n" for number in range(80_000))
    + "x\trow\n"
    + "".join(f"{number}\trow\n" for number in range(80_000))
    + "\\.\nSELECT 1;\n",
    "445_fails_behind_windows_lines": _CRLF.replace("\n", "\r\n") + "\r\nSELECT 1,\r\n  nmae;\r\n",
    "460_not_utf_8": "CREATE TABLE t (a text);\nINSERT INTO t VALUES ('größe');\n".encode("latin-1"),
    "461_utf_16": "CREATE TABLE t (a text);\n".encode("utf-16"),
    "462_nul": b"CREATE TABLE t (a text);\nINSERT INTO t VALUES ('a\0b');\n",
    "463_half_a_character": b"CREATE TABLE t (a text);\n-- \xc3",
    "464_surrogates": b"CREATE TABLE t (a text);\nINSERT INTO t VALUES ('\xed\xa0\x80');\n",
}
SCRIPTS = {name: text.encode() if isinstance(text, str) else text for name, text in _TEXTS.items()}
