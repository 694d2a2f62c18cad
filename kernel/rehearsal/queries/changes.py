"""Changes of a query by a migration, and the findings about them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kernel.lint.finding import Finding, Severity
from kernel.lint.rules import RULES_BY_ID
from kernel.units import format_count

if TYPE_CHECKING:
    from kernel.rehearsal.queries.corpus import ApplicationQuery


REGRESSION_FACTOR = 5.0
# In the planner's unit, the sequential read of a page: a cheaper plan is harmless, however much its cost grew.
NEGLIGIBLE_COST = 100.0


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryError:
    """The error of a query; `message` quotes names and types, never a row."""

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
    """The generic plan of a query; `cost` is its total cost in the planner's unit."""

    cost: float
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokenQuery:
    """A query that a new session can no longer run."""

    query: ApplicationQuery
    error: QueryError


@dataclass(frozen=True, slots=True, kw_only=True)
class StalePreparedQuery:
    """A query that fails in a session that prepared it before the migration, and runs when prepared again.

    `before` and `after` are the columns of its result.
    """

    query: ApplicationQuery
    error: QueryError
    before: tuple[ResultColumn, ...]
    after: tuple[ResultColumn, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanRegression:
    """A query whose plan costs several times what it did before."""

    query: ApplicationQuery
    before: QueryPlan
    after: QueryPlan


QueryChange = BrokenQuery | StalePreparedQuery | PlanRegression


def is_plan_regression(before: QueryPlan, after: QueryPlan) -> bool:
    """Whether the plan became five times as expensive, and is not cheap."""
    return after.cost >= NEGLIGIBLE_COST and after.cost >= REGRESSION_FACTOR * before.cost


def finding_for_change(change: QueryChange, *, version: str = "", filename: str = "") -> Finding:
    """The finding about a change that a migration made; for a plan, both plans follow its first line."""
    severity: Severity | None = None
    match change:
        case BrokenQuery():
            rule, severity = "breaks-running-version", Severity.ERROR  # observed, not predicted
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
    definition = RULES_BY_ID[rule]
    return Finding(
        rule=rule,
        severity=severity or definition.severity,
        message=message,
        remedy=definition.workaround,
        version=version,
        filename=filename,
    )


def _describe_changed_columns(change: StalePreparedQuery) -> str:
    """The columns that differ, or ""."""
    if change.before == change.after:
        return ""
    removed = ", ".join(str(one) for one in change.before if one not in change.after) or "fewer columns"
    added = ", ".join(str(one) for one in change.after if one not in change.before) or "fewer columns"
    return f"; its result has {added}, before {removed}"
