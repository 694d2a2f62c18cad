"""Our directives are obeyed where they may stand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from kernel.errors import FilesInvalid
from kernel.migrations.directives import (
    Allow,
    Directives,
    misplaced_directive_problems,
    parse_allows,
    parse_directives,
)
from kernel.migrations.script import parse_script

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("comments", "directives"),
    [
        ("", Directives()),
        ("-- Migration: 016 - Add user preferences\n", Directives()),
        ("-- migrate: no-transaction\n", Directives(no_transaction=True)),
        ("--migrate:no-transaction", Directives(no_transaction=True)),
        ("\t-- migrate : no-transaction\r\n", Directives(no_transaction=True)),
        ("-- Adds an index.\n\n-- migrate: no-transaction\n", Directives(no_transaction=True)),
        ("-- migrate: lock_timeout=2s\n", Directives(lock_timeout_ms=2000)),
        ("-- migrate: lock_timeout=0\n", Directives(lock_timeout_ms=0)),
        ("-- migrate: no-transaction, lock_timeout=1min", Directives(no_transaction=True, lock_timeout_ms=60_000)),
        (
            "-- migrate: no-transaction\n-- migrate: lock_timeout=50",
            Directives(no_transaction=True, lock_timeout_ms=50),
        ),
        ("/* see the manual: -- migrate: no-transaction */", Directives()),
        ("-- how to migrate: read the manual", Directives()),
    ],
)
def test_our_directives_are_read(comments: str, directives: Directives) -> None:
    assert parse_directives(comments.encode(), "001_a.sql") == (directives, ())


@pytest.mark.parametrize(
    ("comments", "problem"),
    [
        ("\n-- migrate: no_transaction", "001_a.sql:2: -- migrate: no_transaction: no such directive; "),
        ("-- migrate: NO-TRANSACTION", "001_a.sql:1: -- migrate: NO-TRANSACTION: no such directive; "),
        ("-- migrate:", "001_a.sql:1: -- migrate: (nothing): no such directive; "),
        ("-- migrate: statement_timeout=1s", "001_a.sql:1: -- migrate: statement_timeout=1s: no such directive; "),
        (
            "\r\n\r\n-- migrate: lock_timeout=soon",
            "001_a.sql:3: -- migrate: lock_timeout: expected a duration such as 5s",
        ),
        ("-- migrate: lock_timeout", "001_a.sql:1: -- migrate: lock_timeout: expected a duration such as 5s"),
    ],
)
def test_an_unknown_directive_is_refused_with_its_line(comments: str, problem: str) -> None:
    _, problems = parse_directives(comments.encode(), "001_a.sql")
    (found,) = problems
    assert str(found).startswith(problem)


@pytest.mark.parametrize(
    ("comments", "line"),
    [
        ("-- Migrate: phase=after", 1),
        ("-- MIGRATE : PHASE = AFTER", 1),
        ("--- migrate: phase=after", 1),
        ("-- migrate phase=after", 1),
        ("-- migrate no-transaction, phase=after", 1),
        ("/* migrate: phase=after */", 1),
        ("-- Users\n\n/*\n * migrate: phase=after\n */", 4),
        ("/* Users */ -- migrate: phase=after", 1),
        ("-- Migrate: batch=100 by=users.id", 1),
        ("/* migrate: check every order has a total */", 1),
        ("-- Migrate: ignore-drift=scratch_* of the analysts", 1),
    ],
)
def test_a_directive_in_another_form_is_refused_with_its_line(comments: str, line: int) -> None:
    _, (problem,) = parse_directives(comments.encode(), "001_a.sql")
    assert (problem.file, problem.line) == ("001_a.sql", line)
    assert problem.message.endswith(
        ": not read as a directive; a directive is a comment of its own that begins with -- migrate: in lower case"
    )
    (misplaced,) = misplaced_directive_problems(comments.encode(), "001_a.sql", 10)
    assert misplaced.line == line + 9


@pytest.mark.parametrize(
    "form",
    ["-- Migrate: {}", "--- migrate: {}", "/* migrate: {} */", "/* Migrate: {} */", "/*\n * migrate: {}\n */"],
)
@pytest.mark.parametrize("words", ["phase=after", "no-transaction", "lock_timeout=2s", "no-transaction, phase=after"])
@pytest.mark.parametrize("above", ["", "-- not in a transaction\n"])
def test_a_directive_in_another_form_is_reported_once(tmp_path: Path, form: str, words: str, above: str) -> None:
    path = tmp_path / "001_a.sql"
    path.write_text(f"{above}{form.format(words)}\nSELECT 1;\n")
    with pytest.raises(FilesInvalid) as caught:
        parse_script(path, path.name)
    (problem,) = caught.value.problems
    assert words in problem.message
    assert "not read as a directive" in problem.message


@pytest.mark.parametrize(
    "comment",
    [
        "-- Migrate: users to accounts",
        "/* migrate: users to accounts */",
        "-- Migrate: after the release, by hand",
        "-- Migrate: CHECK constraints of users",
        "-- Migrate: check every order has a total",
        "-- Migrate: status='x'",
        "-- how to Migrate: phase=after",
        "-- Migration: 017 - batch=1",
        "-- MIGRATE: phases of the moon",
    ],
)
def test_prose_about_migrating_is_no_directive(comment: str) -> None:
    assert parse_directives(comment.encode(), "001_a.sql") == (Directives(), ())
    assert list(misplaced_directive_problems(comment.encode(), "001_a.sql", 10)) == []


def test_every_wrong_directive_is_reported() -> None:
    _, problems = parse_directives(b"-- migrate: a, b\n-- migrate: lock_timeout=x\n", "001_a.sql")
    assert [problem.line for problem in problems] == [1, 1, 2]


def test_our_directive_below_the_first_statement_is_refused_with_its_line() -> None:
    (problem,) = misplaced_directive_problems(b"\n\n-- migrate: no-transaction\n", "001_a.sql", 10)
    assert str(problem) == "001_a.sql:12: a directive below the first statement; move it to the top"


def test_an_allow_may_stand_anywhere_and_is_no_matter_of_the_runner() -> None:
    comment = b"-- migrate: allow=drop-column nobody reads it, no-transaction or not\n"
    assert parse_directives(comment, "001_a.sql") == (Directives(), ())
    assert list(misplaced_directive_problems(comment, "001_a.sql", 10)) == []


@pytest.mark.parametrize(
    ("comments", "allows"),
    [
        (
            "-- migrate: allow=drop-column nobody reads it\n",
            [Allow(rule="drop-column", reason="nobody reads it", line=3)],
        ),
        ("\n\t--migrate:allow = a , b\r\n", [Allow(rule="a", reason="b", line=4)]),
        (
            "-- migrate: allow=a\n-- migrate: allow=",
            [Allow(rule="a", reason="", line=3), Allow(rule="", reason="", line=4)],
        ),
        ("-- migrate: no-transaction\n-- allow=a b\n", []),
    ],
)
def test_what_is_allowed_is_read_with_its_reason_and_line(comments: str, allows: list[Allow]) -> None:
    assert list(parse_allows(comments.encode(), 3)) == allows


def test_a_directive_that_only_begins_like_allow_is_unknown() -> None:
    _, problems = parse_directives(b"-- migrate: allow-out-of-order\n-- migrate: allow\n", "001_a.sql")
    assert [problem.line for problem in problems] == [1, 2]
