"""Where a failure stands: file, line, column, and the excerpt with its caret, as the server's own errors give them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from kernel.report.errors import error_text

if TYPE_CHECKING:
    from kernel.errors import Failure
    from tests.integration.conftest import Project


def place(project: Project, text: str) -> Failure:
    return place_in(project, "001_a.sql", text)


def place_in(project: Project, filename: str, text: str) -> Failure:
    project.put(filename, text)
    return project.failure().failure


def test_a_syntax_error_has_its_line_and_column(project: Project) -> None:
    found = place(project, "SELECT 1;\n\nCREATE TABLE t (\n    a int,\n    b itn nul\n);\nSELECT 2;")
    assert (found.line, found.column, found.sqlstate) == (5, 11, "42601")
    assert found.excerpt == "3 | CREATE TABLE t (\n4 |     a int,\n5 |     b itn nul\n  |           ^\n6 | );"


def test_a_name_error_is_told_with_the_servers_hint(project: Project) -> None:
    found = place(project, "CREATE TABLE t (name int);\n  SELECT nmae FROM t;")
    assert (found.line, found.column, found.sqlstate) == (2, 10, "42703")
    assert found.server_hint == 'Perhaps you meant to reference the column "t.name".'
    assert found.excerpt == "2 |   SELECT nmae FROM t;\n  |          ^"


def test_a_runtime_error_is_placed_by_counting_the_statements_before_it(project: Project) -> None:
    found = place(
        project, "CREATE TABLE t (a int NOT NULL);\n" + "INSERT INTO t VALUES (1);\n" * 700 + "\n\nSELECT\n 1/0;"
    )
    assert (found.line, found.column, found.sqlstate) == (704, None, "22012")
    assert found.statement == "SELECT\n 1/0;"
    assert found.excerpt == "704 | SELECT\n705 |  1/0;"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("SELECT 1; SELECT 1; SELECT 1/0;", 1),
        ("SELECT 1;\nSELECT g FROM generate_series(1, 5) AS g;\nSELECT 1/0;", 3),
        ("SELECT 1;\nCOPY (SELECT 1) TO STDOUT;\nSELECT 1/0;", 3),
        ("SELECT 1;\n;;\n;\nSELECT 1/0;", 4),
        ("BEGIN;\nSELECT 1;\nSELECT 1/0;\nCOMMIT;", 3),
        ("/* a\n*/ SELECT 1; -- b\n\n-- c;\nSELECT 1/0", 5),
        ("SELECT g / (g - 3) FROM generate_series(1, 5) AS g;", 1),
    ],
)
def test_whatever_stands_between_the_statement_that_failed_is_the_one_named(
    project: Project, text: str, line: int
) -> None:
    found = place(project, text)
    assert (found.line, found.sqlstate) == (line, "22012")
    assert "/" in str(found.statement)


# Statements that rules turn into others, which send several results, or none.
RULES = """\
CREATE TABLE selects (i int);
CREATE RULE r AS ON INSERT TO selects DO INSTEAD (SELECT 1; SELECT 2 WHERE false; SELECT generate_series(1, 3));
CREATE TABLE also (i int);
CREATE RULE r AS ON INSERT TO also DO ALSO (SELECT 1; NOTIFY told; SELECT 2);
CREATE TABLE nothing (i int);
CREATE RULE r AS ON INSERT TO nothing DO INSTEAD NOTHING;
CREATE VIEW view AS SELECT i FROM also;
CREATE RULE r AS ON INSERT TO view DO INSTEAD (INSERT INTO also VALUES (new.i); SELECT 1);
"""


@pytest.mark.parametrize("relation", ["selects", "also", "nothing", "view"])
@pytest.mark.parametrize("fails", ["SELECT 1/0;", "SELECT nothing_of_that_name;"])
def test_a_rule_that_sends_several_results_shifts_no_place(project: Project, relation: str, fails: str) -> None:
    project.put("001_rules.sql", RULES)
    project.migrate()
    found = place_in(
        project, "002_a.sql", f"SELECT 1;\nINSERT INTO {relation} VALUES (1);\nSELECT 2;\n{fails}\nSELECT 3;"
    )
    assert (found.line, found.statement) == (4, fails)


def test_an_error_in_the_statements_of_a_rule_is_that_of_the_statement_it_rewrites(project: Project) -> None:
    found = place(
        project,
        "CREATE TABLE t (i int);\nCREATE RULE r AS ON INSERT TO t DO INSTEAD (SELECT 1; SELECT 1 / new.i; SELECT 2);\n"
        "INSERT INTO t VALUES (1);\nINSERT INTO t VALUES (0);\nSELECT 3;",
    )
    assert (found.line, found.sqlstate) == (4, "22012")


def test_a_position_in_the_text_of_a_prepared_statement_is_not_taken_for_one_in_the_file(project: Project) -> None:
    found = place(
        project,
        "CREATE TABLE t (i int, column_to_go int);\n"
        "PREPARE p AS SELECT column_to_go FROM t;\n"
        "ALTER TABLE t DROP COLUMN column_to_go;\n"
        "EXECUTE p;",
    )
    assert (found.line, found.column, found.sqlstate) == (4, None, "42703")


@pytest.mark.parametrize("directive", ["", "-- migrate: no-transaction\n"])
def test_a_statement_after_another_on_its_line_has_its_column_in_the_file(project: Project, directive: str) -> None:
    found = place(project, f"{directive}SELECT 'ä'; /* ö */ SELECT nmae; SELECT 2;\n")
    assert (found.line, found.column, found.offset) == (1 + bool(directive), 28, len(directive) + 29)
    shown, caret = found.excerpt.split("\n")
    assert shown[caret.index("^") :].startswith("nmae;")


def test_columns_count_characters(project: Project) -> None:
    found = place(project, "SELECT 'größe', '𝄞';\nSELECT 'größe', '𝄞', nmae;")
    assert (found.line, found.column) == (2, 22)
    assert found.excerpt == "2 | SELECT 'größe', '𝄞', nmae;\n  |                      ^"


def test_a_very_long_line_is_shown_about_its_error(project: Project) -> None:
    found = place(project, "SELECT '" + "x" * 300_000 + "', nmae, '" + "y" * 1000 + "';")
    assert (found.line, found.column) == (1, 300_012)
    shown, caret = found.excerpt.split("\n")
    assert shown[caret.index("^") :].startswith("nmae, '")
    assert len(shown) < 200
    assert len(str(found.statement)) < 2000


def test_windows_line_ends_and_a_mark_shift_nothing(project: Project) -> None:
    found = place(project, "\ufeffSELECT 1;\r\nSELECT\r\n  nmae;\r\n")
    assert (found.line, found.column) == (3, 3)


def test_a_syntax_error_behind_much_text_is_placed_in_its_own_message(project: Project) -> None:
    text = "".join(f"SELECT '{'ä' * 100}', {number};\n" for number in range(3000)) + "SELEC 1;\n"
    found = place(project, text)
    assert (found.line, found.column) == (3001, 1)


def test_inside_a_do_block_the_line_is_that_of_the_statement_in_it(project: Project) -> None:
    found = place(project, "SELECT 1;\n\nDO $body$\nDECLARE\n  a int;\nBEGIN\n  a := 1;\n  a := a / 0;\nEND\n$body$;")
    assert (found.line, found.sqlstate) == (8, "22012")
    assert " 8 |   a := a / 0;\n 9 | END\n10 | $body$;" in found.excerpt
    assert "inline_code_block line 6 at assignment" in str(found.context)


BODY = "BEGIN\n  PERFORM 1;\n  PERFORM 1/0;\nEND"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (f"DO LANGUAGE plpgsql\n$$\n{BODY} $$;", 5),
        (f"DO LANGUAGE 'plpgsql' $$\n{BODY} $$;", 4),
        (f"DO /* $x$ 'a */ -- it's\n$$\n{BODY} $$;", 5),
        (f"/* a\n*/ DO $$\n{BODY} $$ LANGUAGE plpgsql;", 5),
        (f"DO '\n{BODY}';", 4),
        (f"DO $$\nBEGIN\n  DO $i$\n{BODY} $i$;\nEND $$;", 3),
    ],
)
def test_wherever_the_body_of_a_do_block_begins_its_line_is_found(project: Project, text: str, line: int) -> None:
    found = place(project, text)
    assert (found.line, found.sqlstate) == (line, "22012")


def test_inside_a_function_the_call_is_named_and_the_context_says_the_rest(project: Project) -> None:
    found = place(
        project,
        "CREATE FUNCTION f() RETURNS int LANGUAGE plpgsql AS $$\nBEGIN\n  RETURN 1 / 0;\nEND $$;\n\nSELECT f();",
    )
    assert (found.line, found.column, found.statement) == (6, None, "SELECT f();")
    assert "PL/pgSQL function f() line 3 at RETURN" in str(found.context)


def test_a_syntax_error_in_a_body_points_into_the_body(project: Project) -> None:
    found = place(
        project,
        "SELECT 1;\nCREATE FUNCTION f() RETURNS int LANGUAGE plpgsql AS $$\nBEGIN\n  RETRUN 1;\nEND $$;",
    )
    assert (found.line, found.column, found.sqlstate) == (4, 3, "42601")


def test_a_violated_constraint_is_told_with_its_detail(project: Project) -> None:
    found = place(project, "CREATE TABLE t (a int PRIMARY KEY);\nINSERT INTO t VALUES (1);\nINSERT INTO t VALUES (1);")
    assert (found.line, found.sqlstate, found.detail) == (3, "23505", "Key (a)=(1) already exists.")


@pytest.mark.parametrize(
    ("copy", "line"),
    [
        ("COPY t FROM stdin;\n1\nzwei\n3\n\\.\n", 4),
        ("COPY t (a)\n  FROM stdin; -- numbers\n1\n2\nzwei\n\\.\n", 6),
        ("COPY t FROM stdin (FORMAT csv, HEADER);\na\n1\nzwei\n\\.\n", 5),
        ("COPY t FROM stdin;\n1\n1\tzwei\n\\.\n", 4),
    ],
)
def test_in_copy_data_the_line_is_that_of_the_row(project: Project, copy: str, line: int) -> None:
    found = place(project, f"CREATE TABLE t (a int);\n{copy}SELECT 1;")
    assert (found.line, found.column) == (line, None)
    assert found.excerpt.startswith("2 | COPY t")
    assert f"COPY t, line {line - found.excerpt.count('|') - 1}" in str(found.context)


def test_the_lines_printed_lead_to_the_place(project: Project) -> None:
    project.put("001_a.sql", "SELECT 1;")
    project.put("002_b.sql", "-- why\nSELECT\n  nmae;")
    project.put("003_c.sql", "SELECT 3;")
    assert error_text(project.failure()).split("\n") == [
        'error: 002_b.sql:3:3: column "nmae" does not exist (42703)',
        "",
        "2 | SELECT",
        "3 |   nmae;",
        "  |   ^",
        "",
        "applied before: 001_a.sql",
        "002_b.sql: rolled back: the database is as it was before this file",
        "still pending: 002_b.sql, 003_c.sql",
        "next: no such column; check its spelling, and whether an earlier migration should have made it",
    ]


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("SELEC 1;", "correct the syntax"),
        ("SELECT * FROM absent;", "no such table"),
        ("CREATE TABLE t (a int); CREATE TABLE t (a int);", "write IF NOT EXISTS if it is the same"),
        ("ALTER TYPE older ADD VALUE 'b'; SELECT 'b'::older;", "use it in the next file"),
        ("SET LOCAL ROLE pg_monitor; CREATE TABLE public.t (a int);", "run migrations as the owner"),
        ("SELECT 1; SET TRANSACTION ISOLATION LEVEL SERIALIZABLE;", "write it at the top of the file, above its"),
        ("SELECT 1 / 0;", "correct the file, then run inv db.migrate again"),
    ],
)
def test_the_next_step_fits_the_error(project: Project, text: str, hint: str) -> None:
    project.rows("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    project.rows("CREATE TYPE older AS ENUM ('a')")
    project.put("001_a.sql", text)
    assert hint in str(project.failure().hint)
