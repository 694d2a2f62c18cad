"""The same as psql, or refused before anything runs, or stopped at the same statement: nothing else, for any script."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pytest

from kernel.errors import FilesInvalid
from kernel.sql.lexer import PartKind, split_script
from tests.differential import cases

if TYPE_CHECKING:
    from tests.differential.cases import Case
    from tests.differential.twins import Said, Twins

# What psql is told of the absence of a transaction, which in ours is never absent.
_NO_TRANSACTION = "25P01"


def params(chosen: list[Case]) -> list[object]:
    return [pytest.param(case, id=case.name, marks=() if case.quick else (pytest.mark.slow,)) for case in chosen]


SAME = [case for case in cases.ALL if not case.fails and not case.refusals]
FAILING = [case for case in cases.ALL if case.fails]
REFUSED = [case for case in cases.ALL if case.refusals]


def need(case: Case, twins: Twins) -> None:
    """Skip what this server cannot run."""
    major = twins.ask("SELECT current_setting('server_version_num')::integer / 10000")
    if major < case.major or (case.below and major >= case.below):
        limit = f"{case.major} or later" if case.major else f"older than {case.below}"
        pytest.skip(f"needs PostgreSQL {limit}, and this is {major}")
    known = twins.ask(f"SELECT count(*) FROM pg_available_extensions WHERE name = '{case.extension}'")
    if case.extension and not known:
        pytest.skip(f"this PostgreSQL has no extension {case.extension}")


def spans(script: bytes) -> list[tuple[int, set[int]]]:
    """(first line, last lines) of each statement; of one with COPY data, both its own last line and theirs."""
    found: list[tuple[int, set[int]]] = []
    for part in split_script(io.BytesIO(script).read):
        end = part.line + part.sql.rstrip().count(b"\n")
        if part.kind is PartKind.STATEMENT:
            found.append((part.line, {end}))
        elif part.kind is PartKind.COPY_END:
            found[-1][1].add(part.line)
    return found


def same_statement(script: bytes, theirs: int, ours: int) -> bool:
    """Whether psql's line, the last of a statement, and ours, any of it, mean the same one."""
    return any(theirs in ends and first <= ours <= max(ends) for first, ends in spans(script))


def assert_same_notices(script: bytes, theirs: tuple[Said, ...], ours: tuple[Said, ...]) -> None:
    theirs = tuple(one for one in theirs if one.sqlstate != _NO_TRANSACTION)
    assert [(one.severity, one.message) for one in ours] == [(one.severity, one.message) for one in theirs]
    for their, our in zip(theirs, ours, strict=True):
        assert same_statement(script, their.line, our.line), f"psql says line {their.line}, we say {our.line}"


@pytest.mark.parametrize("case", params(SAME))
def test_a_script_leaves_behind_and_tells_what_it_does_with_psql(twins: Twins, case: Case) -> None:
    need(case, twins)
    theirs = twins.run_psql(twins.put(case.script), one_transaction=bool(case.one_transaction))
    ours = twins.migrate()
    assert (theirs.error, ours.error) == (None, None)
    assert_same_notices(case.script, theirs.notices, ours.notices)
    assert twins.left(twins.ours) == twins.left(twins.theirs)


@pytest.mark.parametrize("case", params(FAILING))
def test_a_script_that_fails_stops_where_psql_stops_and_leaves_nothing(twins: Twins, case: Case, empty: str) -> None:
    need(case, twins)
    theirs = twins.run_psql(twins.put(case.script), one_transaction=bool(case.one_transaction)).error
    ours = twins.migrate().error
    assert theirs is not None
    assert ours is not None
    assert (ours.failure.sqlstate, str(ours).partition("\n")[0]) == (case.fails, theirs.message)
    assert theirs.sqlstate == case.fails
    if ours.failure.line:
        assert same_statement(case.script, theirs.line, ours.failure.line)
    else:  # only at the end, which is no statement of the file when the file's own COMMIT is dropped
        assert case.script.splitlines()[theirs.line - 1] == b"COMMIT;"
    in_steps = case.script.startswith(b"-- migrate: no-transaction")
    assert twins.left(twins.ours) == (twins.left(twins.theirs) if in_steps else empty)
    assert twins.ask("SELECT count(*) FROM schema_migrations") == 0


@pytest.mark.parametrize("case", params(REFUSED))
def test_a_script_is_refused_before_anything_runs_with_line_and_remedy_of_every_fault(twins: Twins, case: Case) -> None:
    twins.put(case.script)
    with pytest.raises(FilesInvalid) as refused:
        twins.migrate()
    problems = refused.value.problems
    assert [problem.line for problem in problems] == [refusal.line for refusal in case.refusals]
    for problem, refusal in zip(problems, case.refusals, strict=True):
        assert refusal.remedy in problem.message
    assert twins.untouched()
