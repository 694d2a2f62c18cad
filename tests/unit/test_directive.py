"""Our directives are obeyed where they may stand."""

from __future__ import annotations

import pytest

from kernel.migrations.directives import (
    Allow,
    Directives,
    misplaced_directive_problems,
    parse_allows,
    parse_directives,
)


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
