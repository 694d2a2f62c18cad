"""Every script has the same effects as with psql, or is refused before it runs, or stops at the same statement."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pytest

from kernel.errors import FilesInvalid
from kernel.sql.lexer import PartKind, split_script
from tests.differential import cases

if TYPE_CHECKING:
    from tests.differential.cases import Case
    from tests.differential.databases import DatabasePair, ServerMessage

pytestmark = pytest.mark.slow

# The warning of COMMIT outside a transaction: psql gets it, the runner always has a transaction.
_NO_TRANSACTION = "25P01"


def params(chosen: list[Case]) -> list[object]:
    return [pytest.param(case, id=case.name, marks=() if case.quick else (pytest.mark.slow,)) for case in chosen]


SAME = [case for case in cases.ALL if not case.fails and not case.refusals]
FAILING = [case for case in cases.ALL if case.fails]
REFUSED = [case for case in cases.ALL if case.refusals]


def need(case: Case, databases: DatabasePair) -> None:
    """Skip a script that this server cannot run."""
    major = databases.query_value("SELECT current_setting('server_version_num')::integer / 10000")
    if major < case.major or (case.below and major >= case.below):
        limit = f"{case.major} or later" if case.major else f"older than {case.below}"
        pytest.skip(f"needs PostgreSQL {limit}, and this is {major}")
    known = databases.query_value(f"SELECT count(*) FROM pg_available_extensions WHERE name = '{case.extension}'")
    if case.extension and not known:
        pytest.skip(f"this PostgreSQL has no extension {case.extension}")


def spans(script: bytes) -> list[tuple[int, set[int]]]:
    """(first line, last lines) of each statement; with COPY data, the last lines of the statement and of the data."""
    found: list[tuple[int, set[int]]] = []
    for part in split_script(io.BytesIO(script).read):
        end = part.line + part.sql.rstrip().count(b"\n")
        if part.kind is PartKind.STATEMENT:
            found.append((part.line, {end}))
        elif part.kind is PartKind.COPY_END:
            found[-1][1].add(part.line)
    return found


def same_statement(script: bytes, psql_line: int, kernel_line: int) -> bool:
    """Whether psql's line, the last of a statement, and the project's line, any of it, are in the same statement."""
    return any(psql_line in ends and first <= kernel_line <= max(ends) for first, ends in spans(script))


def assert_same_notices(
    script: bytes, psql_notices: tuple[ServerMessage, ...], kernel_notices: tuple[ServerMessage, ...]
) -> None:
    expected = tuple(notice for notice in psql_notices if notice.sqlstate != _NO_TRANSACTION)
    assert [(notice.severity, notice.message) for notice in kernel_notices] == [
        (notice.severity, notice.message) for notice in expected
    ]
    for psql_notice, notice in zip(expected, kernel_notices, strict=True):
        assert same_statement(script, psql_notice.line, notice.line), f"line {psql_notice.line} or {notice.line}"


@pytest.mark.parametrize("case", params(SAME))
def test_a_script_has_the_same_effects_and_notices_as_with_psql(databases: DatabasePair, case: Case) -> None:
    need(case, databases)
    psql_outcome = databases.run_psql(databases.write_script(case.script), one_transaction=bool(case.one_transaction))
    kernel_outcome = databases.migrate()
    assert (psql_outcome.error, kernel_outcome.error) == (None, None)
    assert_same_notices(case.script, psql_outcome.notices, kernel_outcome.notices)
    assert databases.dump_contents(databases.kernel_conninfo) == databases.dump_contents(databases.psql_conninfo)


@pytest.mark.parametrize("case", params(FAILING))
def test_a_script_that_fails_stops_at_the_statement_of_psql_and_is_rolled_back(
    databases: DatabasePair, case: Case, empty: str
) -> None:
    need(case, databases)
    path = databases.write_script(case.script)
    psql_error = databases.run_psql(path, one_transaction=bool(case.one_transaction)).error
    error = databases.migrate().error
    assert psql_error is not None
    assert error is not None
    assert (error.failure.sqlstate, str(error).partition("\n")[0]) == (case.fails, psql_error.message)
    assert psql_error.sqlstate == case.fails
    if error.failure.line:
        assert same_statement(case.script, psql_error.line, error.failure.line)
    else:  # at the end of the transaction; the file's own COMMIT is not sent
        assert case.script.splitlines()[psql_error.line - 1] == b"COMMIT;"
    in_steps = case.script.startswith(b"-- migrate: no-transaction")
    assert databases.dump_contents(databases.kernel_conninfo) == (
        databases.dump_contents(databases.psql_conninfo) if in_steps else empty
    )
    assert databases.query_value("SELECT count(*) FROM schema_migrations") == 0


@pytest.mark.parametrize("case", params(REFUSED))
def test_a_refused_script_runs_no_statement_and_every_fault_has_line_and_remedy(
    databases: DatabasePair, case: Case
) -> None:
    databases.write_script(case.script)
    with pytest.raises(FilesInvalid) as refused:
        databases.migrate()
    problems = refused.value.problems
    assert [problem.line for problem in problems] == [refusal.line for refusal in case.refusals]
    for problem, refusal in zip(problems, case.refusals, strict=True):
        assert refusal.remedy in problem.message
    assert databases.is_empty()
