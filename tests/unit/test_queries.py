from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from kernel.errors import FilesInvalid
from kernel.rehearsal.queries.changes import QueryPlan, is_plan_regression
from kernel.rehearsal.queries.corpus import ApplicationQuery, only_reads, read_query_file

if TYPE_CHECKING:
    from pathlib import Path


def test_a_file_s_queries_are_named_by_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "queries.sql"
    path.write_text("-- who\nSELECT 1;\n\nUPDATE t SET a = ';' WHERE b = $1;;\n/* last */ (VALUES (2))")
    assert [(one.name, one.text) for one in read_query_file(path)] == [
        ("queries.sql:2", "SELECT 1"),
        ("queries.sql:4", "UPDATE t SET a = ';' WHERE b = $1"),
        ("queries.sql:5", "(VALUES (2))"),
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "queries.sql: holds no query; write SQL statements, each with its semicolon"),
        ("SELECT 1;\nVACUUM;\n", "queries.sql:2: VACUUM is no query that can be prepared; take it out"),
        (
            "SELECT 1;\nCOPY t FROM stdin;\n1\n\\.\n",
            "queries.sql:2: COPY is no query that can be prepared; take it out",
        ),
        ("SELECT 1;\n\\d\n", "queries.sql:2:1: "),
        ("SELECT 'a", "queries.sql:1:8: unterminated quote"),
    ],
)
def test_a_file_with_what_is_no_query_is_refused_with_its_line(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "queries.sql"
    path.write_text(text)
    with pytest.raises(FilesInvalid) as refused:
        read_query_file(path)
    assert str(refused.value).startswith(problem)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FilesInvalid, match=r"^queries\.sql: cannot be read: No such file or directory$"):
        read_query_file(tmp_path / "queries.sql")


def test_a_query_is_shown_short_on_one_line_and_without_passwords() -> None:
    shown = str(ApplicationQuery(name="q", text="SELECT\n  dblink('password=hidden', " + "$1, " * 100 + "$2)"))
    assert shown.startswith("q: SELECT dblink('password=…")
    assert "hidden" not in shown
    assert len(shown) <= 170


@pytest.mark.parametrize(
    ("text", "reads"),
    [
        ("SELECT 1", True),
        ("-- a\n(SELECT 'update')", True),
        ("WITH a AS (SELECT 1) SELECT * FROM a", True),
        ("WITH a AS (DELETE FROM t RETURNING 1) SELECT * FROM a", False),
        ("SELECT * FROM t FOR UPDATE", False),
        ("SELECT * FROM t FOR KEY SHARE", False),
        ("SELECT 1 INTO t", False),
        ("UPDATE t SET a = 1", False),
    ],
)
def test_only_what_says_nowhere_that_it_writes_is_executed(text: str, reads: bool) -> None:
    assert only_reads(text) is reads


@pytest.mark.parametrize(
    ("before", "after", "worse"), [(8, 3774, True), (100, 499, False), (100, 500, True), (1, 99, False), (0, 100, True)]
)
def test_dearer_is_five_times_the_cost_and_not_next_to_nothing(before: float, after: float, worse: bool) -> None:
    assert is_plan_regression(QueryPlan(cost=before, text=""), QueryPlan(cost=after, text="")) is worse
