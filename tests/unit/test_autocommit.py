"""What a file that runs statement by statement loses between its statements, and at the end of its session."""

from __future__ import annotations

import io

import pytest

from kernel.migrations.autocommit import review_statements
from kernel.sql.lexer import split_script


def review(text: str) -> tuple[list[tuple[str, str, int, int]], list[str]]:
    """(kind, name, line made, line needed) of each object of the session, and the warnings but those for objects."""
    objects, warnings = review_statements(split_script(io.BytesIO(text.encode()).read))
    shown = [(each.kind, each.name, each.made_line, each.needed_line) for each in objects]
    of_objects = {str(each.warning()) for each in objects}
    return shown, [str(warning) for warning in warnings if str(warning) not in of_objects]


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


def test_an_object_is_lost_between_its_transaction_and_the_last_statement_that_needs_it() -> None:
    text = "SELECT 1; BEGIN; CREATE TEMP TABLE ids (id int); COMMIT; SELECT 2; SELECT * FROM ids; SELECT 3;"
    (ids,), (warning,) = review_statements(split_script(io.BytesIO(text.encode()).read))
    assert [finished for finished in range(8) if ids.is_lost(finished)] == [4, 5]
    assert str(warning) == (
        "1: the temporary table ids is gone with its session: if the run stops before line 1, the file has to run from "
        "its beginning; put BEGIN before it and COMMIT after line 1, or make something that stays"
    )


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
