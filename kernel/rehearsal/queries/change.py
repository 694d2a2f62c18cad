"""What became of a query, and the findings that say so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kernel import units
from kernel.rehearsal import rules
from kernel.rehearsal.result import Finding, Severity

if TYPE_CHECKING:
    from kernel.rehearsal.queries.query import Query

DEARER = 5.0
# The planner's unit is the reading of a page: what stays below costs nobody anything, however many times dearer.
CHEAP = 100.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """What the server said of a query; `message` quotes names and types, never a row."""

    sqlstate: str
    message: str

    def __str__(self) -> str:
        return f"{self.message} ({self.sqlstate})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column of a query's result; `type` as in numeric(12,4)."""

    name: str
    type: str

    def __str__(self) -> str:
        return f"{self.name} {self.type}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How the server would run a query, whatever its parameters are; `cost` in the planner's unit, to the last row."""

    cost: float
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Broken:
    """A query that ran before, and that a session that has just connected cannot run any more."""

    query: Query
    refusal: Refusal


@dataclass(frozen=True, slots=True, kw_only=True)
class Stale:
    """A query that fails where it was prepared before the migration; prepared once more, it runs.

    `before` and `after` are the columns of its result.
    """

    query: Query
    refusal: Refusal
    before: tuple[Column, ...]
    after: tuple[Column, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dearer:
    """A query whose plan costs several times what it did."""

    query: Query
    before: Plan
    after: Plan


Change = Broken | Stale | Dearer


def dearer(before: Plan, after: Plan) -> bool:
    """Whether it is worth telling."""
    return after.cost >= CHEAP and after.cost >= DEARER * before.cost


def finding(change: Change, *, version: str = "", filename: str = "") -> Finding:
    """The finding about a change that a migration made. Both plans stand below its first line."""
    severity: Severity | None = None
    match change:
        case Broken():
            rule, severity = "breaks-running-version", Severity.ERROR  # seen to break, not feared
            message = f"{change.query}: {change.refusal}"
        case Stale():
            rule = "prepared-statements-break"
            message = f"{change.query}: {change.refusal}{_retyped(change)}"
        case Dearer():
            rule = "plan-regression"
            message = (
                f"{change.query}: its plan costs {units.count(round(change.after.cost))}, before "
                f"{units.count(round(change.before.cost))}"
                f"\nbefore:\n{change.before.text}\nafter:\n{change.after.text}"
            )
    known = rules.BY_ID[rule]
    return Finding(
        rule=rule,
        severity=severity or known.severity,
        message=message,
        remedy=known.workaround,
        version=version,
        filename=filename,
    )


def _retyped(change: Stale) -> str:
    """The columns that are not what they were."""
    if change.before == change.after:
        return ""
    gone = ", ".join(str(one) for one in change.before if one not in change.after) or "fewer columns"
    come = ", ".join(str(one) for one in change.after if one not in change.before) or "fewer columns"
    return f"; its result has {come}, before {gone}"
