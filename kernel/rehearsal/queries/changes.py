"""Findings about queries that a migration changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kernel.lint.finding import Finding, Severity
from kernel.lint.rules import RULES_BY_ID
from kernel.units import format_count

if TYPE_CHECKING:
    from collections.abc import Sequence

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


def is_plan_regression(before: QueryPlan, after: QueryPlan) -> bool:
    """Whether the plan became five times as expensive, and is not cheap."""
    return after.cost >= NEGLIGIBLE_COST and after.cost >= REGRESSION_FACTOR * before.cost


def make_broken_finding(
    query: ApplicationQuery, error: QueryError, *, severity: Severity = Severity.ERROR, place: str = ""
) -> Finding:
    """The finding of a query that a new session can no longer run: an error, since it is observed and not predicted.

    `place` says where it was observed, unless that is after a migration.
    """
    message = f"{query}: {place}: {error}" if place else f"{query}: {error}"
    return _make_finding("breaks-running-version", message, severity)


def make_stale_finding(
    query: ApplicationQuery, error: QueryError, before: Sequence[ResultColumn], after: Sequence[ResultColumn]
) -> Finding:
    """The finding of a query that fails where it was prepared before the migration, and runs when prepared again.

    `before` and `after` are the columns of its result.
    """
    removed = ", ".join(str(one) for one in before if one not in after) or "fewer columns"
    added = ", ".join(str(one) for one in after if one not in before) or "fewer columns"
    changed = "" if before == after else f"; its result has {added}, before {removed}"
    return _make_finding("prepared-statements-break", f"{query}: {error}{changed}")


def make_plan_finding(query: ApplicationQuery, before: QueryPlan, after: QueryPlan) -> Finding:
    """The finding of a query whose plan costs several times what it did; both plans follow the first line."""
    costs = f"{format_count(round(after.cost))}, before {format_count(round(before.cost))}"
    plans = f"\nbefore:\n{before.text}\nafter:\n{after.text}"
    return _make_finding("plan-regression", f"{query}: its plan costs {costs}{plans}")


def _make_finding(rule: str, message: str, severity: Severity | None = None) -> Finding:
    known = RULES_BY_ID[rule]
    return Finding(rule=rule, severity=severity or known.severity, message=message, remedy=known.workaround)
