"""What a file that runs statement by statement loses between its statements, and at the end of its session."""

from __future__ import annotations

import io
import re

import pytest

from kernel.migrations.autocommit import custom_settings, review_statements
from kernel.sql.lexer import split_script


def review(text: str) -> tuple[list[tuple[str, str, int, int]], list[str]]:
    """(kind and name, line made, line needed) of each object of the session that is warned of, and other warnings."""
    _, warnings = review_statements(split_script(io.BytesIO(text.encode()).read))
    pattern = re.compile(r"(\d+): the (.+) (\S+) is gone with its session: if the run stops before line (\d+),")
    found = [(pattern.match(str(warning)), str(warning)) for warning in warnings]
    objects = [(match[2], match[3], int(match[1]), int(match[4])) for match, _ in found if match]
    return objects, [warning for match, warning in found if not match]


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        ("CREATE TEMP TABLE ids (id int)", "temporary table"),
        ("create local temporary table if not exists ids as select 1", "temporary table"),
        ("CREATE TABLE pg_temp.ids (id int)", "temporary table"),
        ("CREATE OR REPLACE TEMP VIEW ids AS SELECT 1", "temporary view"),
        ("CREATE TEMPORARY SEQUENCE ids", "temporary sequence"),
        ("CREATE FUNCTION pg_temp.ids() RETURNS int LANGUAGE sql AS 'SELECT 1'", "temporary function"),
        ("SELECT 1 AS id INTO TEMP ids", "temporary table"),
        ("WITH x AS (SELECT 1) SELECT * INTO TEMPORARY TABLE ids FROM x", "temporary table"),
        ("PREPARE ids AS SELECT 1", "prepared statement"),
        ("DECLARE ids CURSOR WITH HOLD FOR SELECT 1", "cursor"),
    ],
)
def test_an_object_of_the_session_that_a_later_statement_needs_is_found(make: str, kind: str) -> None:
    objects, warnings = review(f"SELECT 1;\n{make};\nSELECT 2;\nSELECT * FROM ids;\nSELECT 3;")
    assert objects == [(kind, "ids", 2, 4)]
    assert warnings == []


@pytest.mark.parametrize(
    "text",
    [
        "CREATE TEMP TABLE ids (id int);\nSELECT 1;",
        "BEGIN;\nCREATE TEMP TABLE ids (id int);\nSELECT * FROM ids;\nCOMMIT;\nSELECT 1;",
        "BEGIN;\nCREATE TEMP TABLE ids (id int) ON COMMIT DROP;\nSELECT * FROM ids;\nCOMMIT;",
        "CREATE TEMP TABLE ids (id int);\nSELECT * FROM bids;\nDROP TABLE IF EXISTS ids;",
        "CREATE TABLE ids (id int);\nSELECT * FROM ids;",
        "SELECT 'CREATE TEMP TABLE ids (id int)';\nSELECT * FROM ids;",
    ],
)
def test_what_no_later_transaction_needs_is_none(text: str) -> None:
    assert review(text)[0] == []


def test_the_warning_of_an_object_has_the_statement_that_ends_it() -> None:
    _, (table, cursor) = review_statements(
        split_script(
            io.BytesIO(
                b"CREATE TEMP TABLE a (id int);\nDECLARE c CURSOR WITH HOLD FOR SELECT 1;\nSELECT FROM a;\nFETCH c;"
            ).read
        )
    )
    assert str(table) == (
        "1: the temporary table a is gone with its session: if the run stops before line 3, the file has to run from "
        "its beginning; put BEGIN before it, and DROP and COMMIT after line 3, or make something that stays"
    )
    assert "and CLOSE and COMMIT after line 4" in str(cursor)


def test_custom_settings_are_found_in_code_and_in_the_strings_that_it_executes() -> None:
    texts = [
        b"SET a.b = 1; SET SESSION c.d TO 2; set local e.f = 3",
        b"DO $$ BEGIN EXECUTE 'SELECT set_config(''g.h'', ''x'', false)'; PERFORM SET_CONFIG('I.j.k', '', true); END$$",
        b"UPDATE t SET a = 1; SELECT 'l.m', current_setting('n.o')",
    ]
    assert custom_settings(texts) == ("a.b", "c.d", "e.f", "g.h", "i.j.k")


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        ("SET LOCAL lock_timeout = '2s'", "SET LOCAL"),
        ("set transaction isolation level serializable", "SET TRANSACTION"),
        ("SET CONSTRAINTS ALL DEFERRED", "SET CONSTRAINTS"),
        ("SAVEPOINT a", "SAVEPOINT"),
        ("RELEASE a", "RELEASE"),
        ("LOCK TABLE t IN SHARE MODE", "LOCK TABLE"),
        ("LOCK t", "LOCK TABLE"),
        ("DECLARE c CURSOR FOR SELECT 1", "DECLARE without WITH HOLD"),
    ],
)
def test_a_statement_whose_effect_ends_with_its_own_transaction_is_named(statement: str, named: str) -> None:
    (warning,) = review(f"SELECT 1;\n{statement};\n")[1]
    assert warning.startswith(f"2: {named} has no effect, since each statement commits by itself; ")
    assert warning.endswith("put BEGIN before it and COMMIT after what it is for")
    assert review(f"BEGIN;\n{statement};\nCOMMIT;\n")[1] == []


def test_a_temporary_table_that_is_dropped_at_commit_is_named() -> None:
    (warning,) = review("CREATE TEMP TABLE ids (id int) ON COMMIT DROP;")[1]
    assert warning.startswith("1: ON COMMIT DROP drops it at once, since each statement commits by itself; put BEGIN")
