"""A migration that failed in the rehearsal: why, and how many rows are in its way."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel.rehearsal.judge import finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kernel.rehearsal.result import Failed, Finding, Run

# Classes of SQLSTATE (PostgreSQL documentation, Appendix A): integrity constraint violation, data exception.
_CONSTRAINT, _DATA = "23", "22"
_ENUM_VALUE_TOO_NEW = "55P04"


def told(run: Run) -> Iterator[Finding]:
    """The finding of a migration that failed, none of one that was applied."""
    if run.failed is None:
        return
    failure = run.failed.failure
    statement = None
    if failure and failure.line is not None:
        statement = next((one for one in reversed(run.statements) if one.line <= failure.line), None)
    found = finding.of(
        _rule(run.failed),
        _sentence(run.failed),
        run=run,
        statement=statement,
        relation=run.failed.violations[0].relation if run.failed.violations else "",
        remedy=_remedy(run.failed),
    )
    yield found


def _rule(failed: Failed) -> str:
    state = (failed.failure.sqlstate if failed.failure else None) or ""
    if state == _ENUM_VALUE_TOO_NEW:
        return "enum-value-used-at-once"
    return {_CONSTRAINT: "constraint-violated", _DATA: "data-does-not-fit"}.get(state[:2], "migration-failed")


def _sentence(failed: Failed) -> str:
    state = failed.failure.sqlstate if failed.failure else None
    first = f"{failed.message} ({state})" if state else failed.message
    return "; ".join([first, *(f"{one.rows:,} rows of {one.relation} are in its way" for one in failed.violations)])


def _remedy(failed: Failed) -> str:
    queries = [f"list them: {one.query}" for one in failed.violations if one.query]
    return "; ".join(queries) or failed.hint
