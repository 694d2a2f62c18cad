"""The rules: every hazard that a rehearsal or the linter knows, as data."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel.rehearsal.rules import columns, constraints, indexes, locks, objects, outcome, scripts, tables

if TYPE_CHECKING:
    from kernel.rehearsal.rules.rule import Rule

ALL: tuple[Rule, ...] = (
    *indexes.RULES,
    *constraints.RULES,
    *columns.RULES,
    *tables.RULES,
    *locks.RULES,
    *objects.RULES,
    *scripts.RULES,
    *outcome.RULES,
)
BY_ID = {rule.id: rule for rule in ALL}
