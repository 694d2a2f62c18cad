"""Every kind of token, and every trap, by name."""

from __future__ import annotations

import codecs
import io

import pytest

from kernel.sql.lexer import LexerError, Part, PartKind, split_script
from kernel.sql.tokens import first_tokens


def parts(script: str | bytes) -> list[Part]:
    return list(split_script(io.BytesIO(script.encode() if isinstance(script, str) else script).read))


def statements(script: str | bytes) -> list[str]:
    """What is sent to the server."""
    return [part.sql.decode() for part in parts(script) if part.kind is PartKind.STATEMENT]


def kinds(script: str | bytes) -> list[tuple[str, bytes]]:
    """Every part, its kind by name."""
    return [(part.kind.name, part.text) for part in parts(script)]


def refusal(script: str | bytes) -> tuple[str, int, int]:
    """Message, line and column."""
    with pytest.raises(LexerError) as refused:
        parts(script)
    return refused.value.message, refused.value.line, refused.value.column


ONE_STATEMENT = {
    "standard string with a semicolon": "SELECT 'a;b'",
    "doubled quote": "SELECT 'it''s;'",
    "backslash before the closing quote of a standard string": r"SELECT ';\'",
    "standard string continued": "SELECT 'a'\n  ';\\'",
    "standard string continued behind a comment": "SELECT 'a' -- isn't; it\n ';'",
    "escaped quote": r"SELECT E'\';'",
    "escaped backslash at the end": r"SELECT E';\\'",
    "doubled quote in an escape string": "SELECT E'a'';'",
    "escape string in lower case": r"SELECT e'\';'",
    "escape string continued": "SELECT E'a'\n'\\';'",
    "escape string continued over several lines": "SELECT E'a'\r\n\t\f\n  '\\';'",
    "escape string continued behind comments": "SELECT E'a' -- isn't; it\n-- nor 'this'\n'\\';'",
    "escape string over a line's end": "SELECT E'a\\\n;\\'\n;'",
    "escape string at the very beginning": r"E'\';'",
    "escape string behind a dollar quote": r"SELECT $$a$$E'\';'",
    "escape string behind a parameter": r"SELECT $1E'\';'",
    "escape string behind a comment": r"SELECT/**/E'\';'",
    "escape string in CREATE": r"CREATE TABLE t (a text DEFAULT E'\';)')",
    "unicode string": r"SELECT U&'d\0061t\+000061;\'",
    "bit strings": "SELECT B'0;1', b';', X'1;F', x';'",
    "national string": r"SELECT N';\', n';\'",
    "string behind a name that ends in e": r"SELECT type';\'",
    "string behind a name that ends in E": r"SELECT TYPE';\'",
    "string behind a name that ends in a digit and e": r"SELECT a1e';\'",
    "string behind a name that ends in a dollar and e": r"SELECT a$e';\'",
    "string behind a non-ASCII name that ends in e": r"SELECT größe';\'",
    "quoted name": 'SELECT "a;b"',
    "quoted name with doubled quotes": 'SELECT "a"";""b"',
    "quoted name with the other quote": 'SELECT "it\'s;"',
    "quoted name with a backslash at its end": 'SELECT ";\\"',
    "quoted name over lines": 'SELECT "a\n;\nb"',
    "dollar quote": "SELECT $$it's; \"$$",
    "dollar quote with a tag": "SELECT $tag$ $$ ; $other$ $tag$",
    "dollar quote in a dollar quote": "SELECT $a$ $b$;$b$ $$;$$ $a$",
    "dollar quote whose tag differs in case": "SELECT $a$ $A$;$a$",
    "dollar quote with a longer tag inside": "SELECT $a$ $ab$;$a$",
    "dollar quote with a non-ASCII tag": "SELECT $größe$;$größe$, $日本$;$日本$",
    "dollar quote behind a dollar quote": "SELECT $$a b$$$$c;d$$",
    "dollar quote behind a parameter": "SELECT $1$$;$$",
    "dollar quote behind a number": "SELECT 1$$;$$",
    "empty dollar quote": "SELECT $$$$, $a$$a$",
    "parameters": "SELECT $1, $2::text, $10-$1",
    "name with dollars": "SELECT a$b$c, a$$, é$$, $1",
    "comment to the line's end": "SELECT 1 -- a; b\n, 2",
    "comment to a carriage return": "SELECT 1 -- a; b\r, 2",
    "comment with an open quote": "SELECT 1 -- isn't\n",
    "block comment": "SELECT /* ; ' \" $$ */ 1",
    "nested comments": "SELECT /* /* ; */ ; /* /* ; */ */ */ 1",
    "comment of stars and slashes": "SELECT /***/ 1 /*/;*/ /**/ + /****/ 2",
    "comment that ends in a nested one's edge": "SELECT /* /**/ ; */ 1",
    "block comment in an operator": "SELECT 1 +/* ; */ 2",
    "block comment behind a star": "SELECT 2*/* ; */3",
    "line comment in an operator": "SELECT 1 *-- ;\n2",
    "operators of minus and slash": "SELECT 6/2, 6 - -2, a->>'b', |/4, a #- b",
    "number with letters": "SELECT 0x1F, 1e5, 1_000",
    "array slice": "SELECT a[1:2], a::text",
    "a rule's parentheses": "CREATE RULE r AS ON INSERT TO t DO ALSO (SELECT ')'; SELECT (1); DELETE FROM t)",
    "body": "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; SELECT 2; END",
    "empty body": "CREATE PROCEDURE p() BEGIN ATOMIC END",
    "body of a replaced procedure": "create or replace procedure p() begin atomic delete from t; end",
    "body with comments": "CREATE FUNCTION /* ; */ f() RETURNS int BEGIN -- ;\n ATOMIC /* END; */ SELECT 1; END",
    "body with CASE": "CREATE PROCEDURE p() BEGIN ATOMIC SELECT CASE WHEN a THEN CASE b WHEN 1 THEN 2 END END; END",
    "body with a column AS end": "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1 AS end; SELECT 2 AS case; END",
    "body with a column named end": 'CREATE PROCEDURE p() BEGIN ATOMIC SELECT 1 end; SELECT t.end, "end" FROM t; END',
    "body with a table named begin": "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1 FROM begin; END",
}


@pytest.mark.parametrize("sql", ONE_STATEMENT.values(), ids=ONE_STATEMENT)
def test_no_semicolon_inside_ends_a_statement(sql: str) -> None:
    assert statements(f"{sql}\n;SELECT 2;") == [f"{sql}\n;", "SELECT 2;"]
    assert statements(sql) == [sql]


SEVERAL_STATEMENTS = {
    "two on a line": ["SELECT 1;", "SELECT 2;"],
    "backslash at the end of a string": [r"SELECT '\';", "SELECT 2;"],
    "string behind a word in e": [r"SELECT type'\';", "SELECT 2;"],
    "dollars in a name": ["SELECT a$b$;", "SELECT $b$2;$b$;"],
    "double dollars in a name": ["SELECT a$$;", "SELECT b$$;"],
    "escape string that is closed before the next line": [r"SELECT E'\'';", "SELECT ';';"],
    "function named begin": ["CREATE FUNCTION begin() RETURNS int LANGUAGE sql AS 'SELECT 1';", "SELECT 2;"],
    "function of a type atomic": ["CREATE FUNCTION f(begin atomic) RETURNS int AS 'SELECT 1';", "END;"],
    "table named function": ["CREATE TABLE function (a int);", "BEGIN;", "SELECT 1;", "END;"],
    "view with columns begin and atomic": ["CREATE VIEW procedure AS SELECT begin atomic FROM t;", "END;"],
    "column AS end": ["SELECT 1 AS end;", "SELECT CASE WHEN true THEN 1 END;", "END;"],
    "dollar body": ["CREATE FUNCTION f() RETURNS int AS $$ BEGIN; END $$;", "SELECT 2;"],
    "transaction": ["BEGIN;", "SELECT 1;", "END;"],
    "procedure without a body of its own": ["CREATE PROCEDURE p() LANGUAGE sql AS 'SELECT 1';", "END;"],
    "closing parenthesis too many": ["CREATE FUNCTION f()) RETURNS int AS 'SELECT 1';", "SELECT 2;"],
    "rule that selects begin and atomic": [
        "CREATE RULE r AS ON INSERT TO t DO ALSO SELECT begin atomic FROM t;",
        "END;",
    ],
    "table with an open parenthesis": ["CREATE TABLE t (a int;", "SELECT 2;"],
}


@pytest.mark.parametrize("several", SEVERAL_STATEMENTS.values(), ids=SEVERAL_STATEMENTS)
def test_each_semicolon_outside_ends_a_statement(several: list[str]) -> None:
    assert statements("".join(several)) == several
    assert statements("\n".join(several)) == several


@pytest.mark.parametrize("script", ["", " \n\t\r\f\v", "-- only; a comment", "/* only; /* one */ */", "--", "\ufeff"])
def test_a_script_without_statements_has_none(script: str) -> None:
    assert statements(script) == []
    assert b"".join(part.text for part in parts(script)).decode() == script.removeprefix("\ufeff")


def test_an_empty_script_has_no_parts() -> None:
    assert parts("") == []


def test_semicolons_alone_are_blank() -> None:
    assert kinds("; ;-- a\n;\n") == [("BLANK", b";"), ("BLANK", b" ;"), ("BLANK", b"-- a\n;"), ("BLANK", b"\n")]


def test_comments_ahead_belong_to_a_statement_but_are_not_sent() -> None:
    (part,) = parts("-- why\n/* and /* how */ */ SELECT 1;")
    assert part == Part(PartKind.STATEMENT, b"-- why\n/* and /* how */ */ SELECT 1;", 2, 27, 27)
    assert part.sql == b"SELECT 1;"


def test_comments_at_the_end_are_blank() -> None:
    assert kinds("SELECT 1; -- done")[1:] == [("BLANK", b" -- done")]


@pytest.mark.parametrize("mark", [b"", codecs.BOM_UTF8])
@pytest.mark.parametrize("chunk", [1, 7, 1 << 16])
def test_the_offset_of_a_part_is_its_first_significant_byte_in_the_script(mark: bytes, chunk: int) -> None:
    script = (
        mark
        + (
            "SELECT 'ä'; /* ö */ SELECT 2;\n\nCOPY t FROM stdin;\n1\n\\.\n;\n"
            "CREATE FUNCTION f() RETURNS int RETURN 1; -- ü\n  DO $$ BEGIN; END $$; SELECT 3"
        ).encode()
    )
    stream = io.BytesIO(script)
    found = list(split_script(lambda size: stream.read(min(size, chunk))))
    assert [script[one.offset :][: len(one.sql)] for one in found] == [one.sql for one in found]
    assert sum(one.kind is PartKind.STATEMENT for one in found) == 6


def test_the_last_statement_needs_no_semicolon() -> None:
    assert statements("SELECT 1;\nSELECT 2") == ["SELECT 1;", "SELECT 2"]


def test_the_last_statement_may_end_in_a_comment_without_newline() -> None:
    assert statements("SELECT 1 -- done") == ["SELECT 1 -- done"]


def test_a_byte_order_mark_is_passed_over() -> None:
    assert [one._replace(offset=0) for one in parts("\ufeffSELECT 1;")] == parts("SELECT 1;")
    assert statements("\ufeff\\restrict a\nSELECT 1;") == ["SELECT 1;"]


def test_a_byte_order_mark_counts_for_no_column() -> None:
    assert refusal("\ufeffSELECT 'a")[1:] == (1, 8)


def test_carriage_returns_are_blanks_and_are_kept_in_strings() -> None:
    assert statements("SELECT 1;\r\nSELECT\r\n'a\r\nb';\r\n") == ["SELECT 1;", "SELECT\r\n'a\r\nb';"]


def test_lines_count_to_the_first_significant_byte() -> None:
    script = "SELECT 1; SELECT\n2;\n-- é\n\n  SELECT '\n\n'; ;\r\nSELECT 4"
    assert [part.line for part in parts(script)] == [1, 1, 5, 7, 8]


@pytest.mark.parametrize(
    ("script", "what", "line", "column"),
    [
        ("SELECT 1;\n SELECT 'a;\nb", "quote", 2, 9),
        ("SELECT E'a\\'", "quote", 1, 9),
        ("CREATE TABLE t (a text DEFAULT E'a\\');", "quote", 1, 33),
        ("SELECT E'a'\n'b", "quote", 1, 9),
        ("SELECT E'a''b\\'", "quote", 1, 9),
        ("SELECT $$a$$E'b\\'", "quote", 1, 14),
        ('SELECT "a;', "quoted name", 1, 8),
        ("SELECT 'é', '日本', $größe$ $$;", "dollar quote $größe$", 1, 19),
        ("SELECT $$ $a$", "dollar quote $$", 1, 8),
        ("SELECT 1; /* a /* b */ ;", "comment", 1, 11),
        ("SELECT '\n' /* a", "comment", 2, 3),
        ("CREATE TABLE /* a;", "comment", 1, 14),
        ("/*", "comment", 1, 1),
    ],
)
def test_what_is_left_open_is_refused_where_it_begins(script: str, what: str, line: int, column: int) -> None:
    message = f"unterminated {what}: it begins here and the file ends before it is closed"
    assert refusal(script) == (message, line, column)


@pytest.mark.parametrize(
    ("script", "command", "line", "column"),
    [
        ("\\set x 1\nSELECT 1;", "\\set", 1, 1),
        ("SELECT 1;\n\\i other.sql", "\\i", 2, 1),
        ("SELECT 1;\n  \\copy t FROM 'f'\n", "\\copy", 2, 3),
        ("SELECT 1 \\gexec\n", "\\gexec", 1, 10),
        ("SELECT 'é' \\gset\n", "\\gset", 1, 12),
        ("SELECT 1\\; SELECT 2;", "\\;", 1, 9),
        ("CREATE TABLE t (\\d);", "\\d);", 1, 17),
        ("\\", "\\", 1, 1),
        ("\\\\", "\\", 1, 1),
        ("\\.\n", "\\.", 1, 1),
        ("\\connect db\n", "\\connect", 1, 1),
        ("SELECT 1;\n\\restrict\n", "\\restrict", 2, 1),
        ("SELECT 1; \\restrict abc\n", "\\restrict", 1, 11),
        ("SELECT 1;\\restrict abc\n", "\\restrict", 1, 10),
        ("SELECT\n\\restrict abc\n1;", "\\restrict", 2, 1),
        ("\\restrict abc def\n", "\\restrict", 1, 1),
        ("\\restricted abc\n", "\\restricted", 1, 1),
        ("\\échap\n", "\\échap", 1, 1),
    ],
)
def test_commands_of_psql_are_refused(script: str, command: str, line: int, column: int) -> None:
    message = f"{command}: psql's own commands do not run here; write it in SQL, or take the line out"
    assert refusal(script) == (message, line, column)


@pytest.mark.parametrize("end", ["\n", "\r\n", " \n", ""])
def test_the_restrict_lines_of_a_dump_are_skipped(end: str) -> None:
    script = f"--\n-- dump\n--\n\n\\restrict aB3\r\n\nSELECT 1;\n\n\\unrestrict aB3{end}"
    assert statements(script) == ["SELECT 1;"]
    assert b"".join(part.text for part in parts(script)).decode() == script


@pytest.mark.parametrize(
    "command",
    [
        "\\set ON_ERROR_STOP",
        "\\set ON_ERROR_STOP on",
        "\\set ON_ERROR_STOP 1",
        "\\set  ON_ERROR_STOP  'true' ",
        "\\set ON_ERROR_STOP YES",
        "\\unset ON_ERROR_STOP",
        "\\echo",
        "\\echo adding users ...",
        "\\echo 'it''s done\\n' \"and more\" :name",
        "\\timing",
        "\\timing on",
        "\\pset pager off",
        "  \\pset null '(null)'",
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n", ""])
def test_commands_of_psql_that_change_nothing_here_are_skipped(command: str, end: str) -> None:
    script = f"-- a\n{command}\nSELECT 1; SELECT 2;\n{command}{end}"
    assert statements(script) == ["SELECT 1;", "SELECT 2;"]
    assert b"".join(part.text for part in parts(script)).decode() == script


@pytest.mark.parametrize(
    "command",
    [
        "\\set ON_ERROR_STOP off",
        "\\set ON_ERROR_STOP 0",
        "\\set ON_ERROR_STOP on;",
        "\\set ON_ERROR_STOP 1 \\i other.sql",
        "\\set ON_ERROR_STOPPED on",
        "\\set AUTOCOMMIT off",
        "\\unset AUTOCOMMIT",
        "\\echo `id`",
        "\\echo hello \\! id",
        "\\echo 'open",
        '\\echo "a`id`"',
        "\\echos hello",
        "\\pset title \\! id",
        "\\timing on \\i other.sql",
        "\\qecho hello",
    ],
)
def test_every_other_command_of_psql_is_refused(command: str) -> None:
    message, *place = refusal(f"SELECT 1;\n{command}\nSELECT 2;\n")
    assert "psql's own commands do not run here" in message
    assert place == [2, 1]


def test_a_command_of_psql_does_not_hide_what_follows_it() -> None:
    found: list[LexerError] = []
    script = "\\set x 1\nSELECT :x\n\\gset\nSELECT\n  \\i a\n 2\\; SELECT 3;\nSELECT 4 \\gexec\n"
    read = split_script(io.BytesIO(script.encode()).read, found.append)
    texts = [" ".join(part.sql.decode().split()) for part in read if part.kind is PartKind.STATEMENT]
    assert texts == ["SELECT :x ;", "SELECT 2 ;", "SELECT 3;", "SELECT 4 ;"]
    assert [(one.command, one.line, one.column) for one in found] == [
        ("\\set", 1, 1),
        ("\\gset", 3, 1),
        ("\\i", 5, 3),
        ("\\;", 6, 3),
        ("\\gexec", 7, 10),
    ]


@pytest.mark.parametrize(
    ("script", "marker", "line"),
    [
        ("SELECT 1;\n<<<<<<< HEAD\nSELECT 2;\n=======\n", "<<<<<<<", 2),
        ("SELECT 1\n>>>>>>> feature\n;", ">>>>>>>", 2),
        ("SELECT 1; SELECT $$\n\n<<<<<<< HEAD\n$$", "<<<<<<<", 3),
        ("<<<<<<< HEAD", "<<<<<<<", 1),
    ],
)
def test_a_merge_conflict_is_refused(script: str, marker: str, line: int) -> None:
    assert refusal(script) == (f"a merge conflict: {marker}; resolve it", line, 1)


@pytest.mark.parametrize("script", ["SELECT ' <<<<<<< HEAD';", "SELECT 1;<<<<<<< x", "SELECT '\n<<<<<<<x\n========\n'"])
def test_what_only_resembles_a_conflict_is_not_refused(script: str) -> None:
    assert "".join(statements(script)) == script


NUL = "a NUL character: PostgreSQL cannot read past it; remove it"
WINDOWS = "not UTF-8: convert the file (iconv -f WINDOWS-1252 -t UTF-8) if it should read {} here, "
UNKNOWN = "not UTF-8: find out the encoding that the file was written in, and convert it (iconv -f ENCODING -t UTF-8)"
MIXED = "not UTF-8: other letters of the file are UTF-8; correct this one, and do not convert the file"
UTF16_MARK = "not UTF-8: convert the file (iconv -f UTF-16 -t UTF-8), whose byte order mark it begins with"
UTF16 = "not UTF-8: convert the file (iconv -f UTF-16{} -t UTF-8), in which every second byte is zero"


@pytest.mark.parametrize(
    ("script", "message", "line", "column"),
    [
        (b"SELECT 1;\nSELECT '\xc3\xa9\0';", NUL, 2, 10),
        (b"\0", NUL, 1, 1),
        (b"SELECT 1;\n-- caf\xe9\n", WINDOWS.format("café"), 2, 7),
        (b"SELECT '\x93quoted\x94', '5 \x80';", WINDOWS.format("“quoted”"), 1, 9),
        (b"SELECT '\xe6\x97\xa5\xff';", MIXED, 1, 10),
        (b"SELECT '\xff', '\xc3\xa9';", MIXED, 1, 9),
        (b"SELECT '\xc3", WINDOWS.format("Ã"), 1, 9),
        (b"\xff\xfeS\0E\0L\0E\0C\0T\0", UTF16_MARK, 1, 1),
        (b"\xfe\xff\0S\0E\0L\0E\0C\0T", UTF16_MARK, 1, 1),
        (b"\xff\xfe\0\0S\0\0\0", UTF16_MARK.replace("16", "32"), 1, 1),
        (b"S\0E\0L\0E\0C\0T\0 \x001\0;\0", UTF16.format("LE"), 1, 2),
        (b"\0S\0E\0L\0E\0C\0T", UTF16.format("BE"), 1, 1),
        (b"SELECT 1;\nSELECT '\x81';", UNKNOWN, 2, 9),
        (b"\xed\xa0\x80", WINDOWS.format("í\u00a0€"), 1, 1),
        (b"COPY t FROM stdin;\n\xe9\n\\.\n", WINDOWS.format("é"), 2, 1),
        (b"\xff\0", WINDOWS.format("ÿ"), 1, 1),
        (b"\0\xff", NUL, 1, 1),
    ],
)
def test_what_postgresql_cannot_read_is_refused(script: bytes, message: str, line: int, column: int) -> None:
    found, *place = refusal(script)
    assert found.startswith(message)
    assert place == [line, column]


def test_what_stands_first_in_the_script_is_refused_first() -> None:
    assert refusal(b"\\set x\nSELECT '\xff")[0].startswith("\\set")
    assert refusal(b"SELECT '\xff\n\\set x")[0].startswith(WINDOWS.format("ÿ"))


class TestCopyData:
    def test_data_follow_to_the_line_that_ends_them(self) -> None:
        assert kinds("COPY t (a) FROM stdin;\n1\tx;\n2\ty\n\\.\nSELECT 1;") == [
            ("STATEMENT", b"COPY t (a) FROM stdin;"),
            ("BLANK", b"\n"),
            ("COPY_DATA", b"1\tx;\n2\ty\n"),
            ("COPY_END", b"\\.\n"),
            ("STATEMENT", b"SELECT 1;"),
        ]

    def test_lines_go_on_behind_the_data(self) -> None:
        assert [part.line for part in parts("\nCOPY t FROM stdin;\n1\n2\n\\.\nSELECT 1;")] == [2, 3, 3, 5, 6]

    def test_there_may_be_none(self) -> None:
        assert kinds("COPY t FROM stdin;\n\\.\n")[1:] == [("BLANK", b"\n"), ("COPY_END", b"\\.\n")]

    @pytest.mark.parametrize("end", ["\\.\r\n", "\\.\r", "\\.", "\\.\n"])
    def test_the_end_may_be_the_end_of_the_file_or_have_a_carriage_return(self, end: str) -> None:
        assert kinds(f"COPY t FROM stdin;\r\n1\r\n{end}")[2:] == [("COPY_DATA", b"1\r\n"), ("COPY_END", end.encode())]

    @pytest.mark.parametrize(
        "line",
        ["SELECT 1;", "it's", '"', "$$", "/*", "--", "\\N", "\\\\.", " \\.", "\\. ", "\\.x", "x\\.", "<<<<<<< HEAD"],
    )
    def test_no_line_of_them_is_read_as_sql(self, line: str) -> None:
        script = f"COPY t FROM stdin;\n{line}\n\\.\nSELECT 2;"
        assert kinds(script)[2] == ("COPY_DATA", f"{line}\n".encode())
        assert statements(script)[1:] == ["SELECT 2;"]

    def test_several_copies_each_have_theirs(self) -> None:
        script = "COPY t FROM stdin;\n1\n\\.\n\n\nCOPY u FROM stdin;\n2\n\\.\n"
        assert [text for kind, text in kinds(script) if kind == "COPY_DATA"] == [b"1\n", b"2\n"]

    @pytest.mark.parametrize("rest", ["", " \t", "-- a comment; behind", " --", "\r"])
    def test_blanks_and_a_comment_may_stand_behind_the_semicolon(self, rest: str) -> None:
        assert kinds(f"COPY t FROM stdin;{rest}\n1\n\\.\n")[1:3] == [
            ("BLANK", f"{rest}\n".encode()),
            ("COPY_DATA", b"1\n"),
        ]

    @pytest.mark.parametrize("rest", ["SELECT 1;", "  SELECT 1;", ";", "/* a */", "-"])
    def test_anything_else_behind_the_semicolon_is_refused(self, rest: str) -> None:
        message, line, column = refusal(f"\nCOPY t FROM stdin;{rest}\n1\n\\.\n")
        assert message.startswith("text after COPY … FROM stdin; on its line")
        assert (line, column) == (2, 19 + len(rest) - len(rest.lstrip()))

    @pytest.mark.parametrize("script", ["", "\n", "\n1\n", "\n1\n\\.x", "\n1\\.\n", " -- a"])
    def test_data_without_an_end_are_refused_at_their_copy(self, script: str) -> None:
        message = r"unterminated COPY data: the file ends before the line \. that closes it"
        assert refusal(f"SELECT 1;\nCOPY t FROM stdin;{script}") == (message, 2, 1)

    def test_a_copy_without_semicolon_at_the_end_of_the_file_is_refused(self) -> None:
        assert refusal("COPY t FROM stdin")[0].startswith("unterminated COPY data")

    @pytest.mark.parametrize(
        "copy",
        [
            "copy t from STDIN;",
            "COPY t FROM stdout;",
            'COPY "t;" ("a", b) FROM /* ; */ stdin WITH (FORMAT csv, DELIMITER \';\');',
            "COPY binary t FROM stdin WHERE a > 1;",
            "COPY s.t(" + ", ".join(f"column_{number}" for number in range(200)) + ") FROM stdin;",
            "COPY t FROM stdin DELIMITER E'\\'';",
        ],
    )
    def test_every_form_that_reads_from_the_client_has_data(self, copy: str) -> None:
        assert kinds(f"{copy}\n1\n\\.\n")[2] == ("COPY_DATA", b"1\n")

    @pytest.mark.parametrize(
        "copy",
        [
            "COPY t TO stdout;",
            "COPY t TO stdin;",
            "COPY t FROM 'stdin';",
            "COPY t FROM PROGRAM 'x' WHERE a IS DISTINCT FROM stdin;",
            "COPY (SELECT 1 FROM stdin) TO stdout;",
            'COPY t FROM "stdin";',
            "SELECT copy FROM stdin;",
            "COPYING FROM stdin;",
        ],
    )
    def test_no_other_statement_has_data(self, copy: str) -> None:
        assert kinds(f"{copy}\nSELECT 2;")[1] == ("STATEMENT", b"\nSELECT 2;")


class TestStandardConformingStrings:
    @pytest.mark.parametrize(
        "setting",
        [
            "SET standard_conforming_strings = off",
            "set standard_conforming_strings to 'off'",
            "SET LOCAL standard_conforming_strings=0",
            "SET SESSION /* ; */ standard_conforming_strings TO false",
            'SET "standard_conforming_strings" = NO',
            "SET -- c\n Standard_Conforming_Strings = of",
        ],
    )
    def test_off_makes_a_backslash_escape(self, setting: str) -> None:
        assert statements(rf"{setting};SELECT '\';', type'\';', e'\';', N'\';';SELECT 2;")[1:] == [
            r"SELECT '\';', type'\';', e'\';', N'\';';",
            "SELECT 2;",
        ]

    @pytest.mark.parametrize(
        "setting",
        [
            "SET standard_conforming_strings = on",
            "SET standard_conforming_strings TO DEFAULT",
            "RESET standard_conforming_strings",
            "RESET ALL",
        ],
    )
    def test_on_makes_it_a_character_again(self, setting: str) -> None:
        script = rf"SET standard_conforming_strings = off;{setting};SELECT '\';SELECT 2;"
        assert statements(script)[2:] == [r"SELECT '\';", "SELECT 2;"]

    def test_off_reaches_into_create_and_copy(self) -> None:
        script = "SET standard_conforming_strings = off;CREATE TABLE t (a text DEFAULT '\\';');"
        assert len(statements(script)) == 2
        script = "SET standard_conforming_strings = off;COPY t FROM stdin NULL '\\'';\n1\n\\.\n"
        assert ("COPY_DATA", b"1\n") in kinds(script)

    def test_off_leaves_names_comments_and_dollar_quotes_alone(self) -> None:
        script = 'SET standard_conforming_strings = off;SELECT "\\", $$\\$$ /* \\ */ -- \\\n;SELECT 2;'
        assert statements(script)[1:] == ['SELECT "\\", $$\\$$ /* \\ */ -- \\\n;', "SELECT 2;"]

    def test_a_setting_of_a_function_is_none_of_the_script(self) -> None:
        script = "CREATE FUNCTION f() RETURNS int SET standard_conforming_strings = off AS 'a';SELECT '\\';SELECT 2;"
        assert len(statements(script)) == 3


class TestWords:
    def test_words_are_in_upper_case_and_what_is_quoted_is_hidden(self) -> None:
        sql = rb"""Alter /* c */ table "Drop" U&'x' E'\'' $$;$$ $1 a$b 1.5 -- end"""
        assert first_tokens(sql) == (
            *("ALTER", "TABLE", '"', "U", "&", "'", "'", "'"),
            *("$1", "A$B", "1", ".", "5"),
        )

    def test_only_ascii_letters_change_case(self) -> None:
        """The long s is no S: PostgreSQL knows keywords by their ASCII letters."""
        assert first_tokens("\u017fet größe".encode()) == ("\u017fET", "GRößE")

    def test_no_more_than_the_limit_are_looked_at(self) -> None:
        assert first_tokens(b"a b c 'open", limit=2) == ("A", "B")

    def test_what_is_left_open_ends_them(self) -> None:
        assert first_tokens(rb"a b 'c") == first_tokens(rb"a b \c") == ("A", "B")


@pytest.mark.parametrize("sql", [r"E'\';'", r"type';\'", "$$;$$", "a$b$", "/* ; */ 1", '";"', "-- ;\n"])
def test_a_statement_of_any_number_of_tokens_is_one(sql: str) -> None:
    """The expressions match up to a thousand tokens at once; whatever stands at the seam is read alike."""
    for tokens_ahead in range(990, 1010):
        long = "SELECT " + "1-" * (tokens_ahead // 2) + "'x'" * (tokens_ahead % 2) + sql
        assert statements(f"{long};SELECT 2") == [f"{long};", "SELECT 2"]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT E'" + r"\';" * 3_000 + "'",
        "SELECT E'" + "'';" * 3_000 + "'",
        "SELECT E'a" + "' -- ;\n'\\';" * 3_000 + "'",
        "CREATE FUNCTION f() RETURNS int AS E'" + r"\';" * 3_000 + "'",
        "SELECT /*" + "; * / " * 3_000 + "*/ 1",
        "CREATE /*" + "; * / " * 3_000 + "*/ FUNCTION f() BEGIN ATOMIC SELECT 1; END",
    ],
    ids=["escapes", "doubled quotes", "pieces", "escapes in CREATE", "stars", "stars in CREATE"],
)
def test_a_token_of_any_length_is_one(sql: str) -> None:
    assert statements(f"/*{' * ' * 3_000}*/{sql};SELECT 2") == [f"{sql};", "SELECT 2"]


def test_a_string_of_any_length_must_be_closed() -> None:
    assert refusal("SELECT E'" + r"\';" * 3_000)[0].startswith("unterminated quote")


def test_any_number_of_comments_may_stand_ahead() -> None:
    ahead = "-- a\n/* b; */\n" * 3_000
    assert [(part.line, part.sql) for part in parts(f"{ahead}SELECT 1;")] == [(6_001, b"SELECT 1;")]


def test_a_long_statement_is_read_in_time_of_its_length() -> None:
    """Names with many dollars, numbers with many, and a thousand nested comments."""
    script = "SELECT " + "a$" * 50_000 + "," + "1$1" * 50_000 + "/*" * 1_000 + "*/" * 1_000 + "'" + "''" * 50_000 + "';"
    assert statements(script) == [script]
