"""What became of a query, and the findings that say so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kernel.lint.finding import Finding, Severity
from kernel.lint.rules import RULES_BY_ID
from kernel.units import format_count

if TYPE_CHECKING:
    from kernel.rehearsal.queries.corpus import ApplicationQuery


REGRESSION_FACTOR = 5.0
# The planner's unit is the reading of a page: what stays below costs nobody anything, however many times dearer.
NEGLIGIBLE_COST = 100.0


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryError:
    """What the server said of a query; `message` quotes names and types, never a row."""

    sqlstate: str
    message: str

    def __str__(self) -> str:
        return f"{self.message} ({self.sqlstate})"


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultColumn:
    """A column of a query's result; `type` as in numeric(12,4)."""

    name: str
    type: str

    def __str__(self) -> str:
        return f"{self.name} {self.type}"


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryPlan:
    """How the server would run a query, whatever its parameters are; `cost` in the planner's unit, to the last row."""

    cost: float
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokenQuery:
    """A query that ran before, and that a session that has just connected cannot run any more."""

    query: ApplicationQuery
    error: QueryError


@dataclass(frozen=True, slots=True, kw_only=True)
class StalePreparedQuery:
    """A query that fails where it was prepared before the migration; prepared once more, it runs.

    `before` and `after` are the columns of its result.
    """

    query: ApplicationQuery
    error: QueryError
    before: tuple[ResultColumn, ...]
    after: tuple[ResultColumn, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanRegression:
    """A query whose plan costs several times what it did."""

    query: ApplicationQuery
    before: QueryPlan
    after: QueryPlan


QueryChange = BrokenQuery | StalePreparedQuery | PlanRegression


def is_plan_regression(before: QueryPlan, after: QueryPlan) -> bool:
    """Whether it is worth telling."""
    return after.cost >= NEGLIGIBLE_COST and after.cost >= REGRESSION_FACTOR * before.cost


def finding_for_change(change: QueryChange, *, version: str = "", filename: str = "") -> Finding:
    """The finding about a change that a migration made. Both plans stand below its first line."""
    severity: Severity | None = None
    match change:
        case BrokenQuery():
            rule, severity = "breaks-running-version", Severity.ERROR  # seen to break, not feared
            message = f"{change.query}: {change.error}"
        case StalePreparedQuery():
            rule = "prepared-statements-break"
            message = f"{change.query}: {change.error}{_describe_changed_columns(change)}"
        case PlanRegression():
            rule = "plan-regression"
            message = (
                f"{change.query}: its plan costs {format_count(round(change.after.cost))}, before "
                f"{format_count(round(change.before.cost))}"
                f"\nbefore:\n{change.before.text}\nafter:\n{change.after.text}"
            )
    known = RULES_BY_ID[rule]
    return Finding(
        rule=rule,
        severity=severity or known.severity,
        message=message,
        remedy=known.workaround,
        version=version,
        filename=filename,
    )


def _describe_changed_columns(change: StalePreparedQuery) -> str:
    """The columns that are not what they were."""
    if change.before == change.after:
        return ""
    gone = ", ".join(str(one) for one in change.before if one not in change.after) or "fewer columns"
    come = ", ".join(str(one) for one in change.after if one not in change.before) or "fewer columns"
    return f"; its result has {come}, before {gone}"
