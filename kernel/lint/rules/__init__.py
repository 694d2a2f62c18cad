"""The rules: every hazard that a rehearsal or the linter knows, as data."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel.lint.rules.columns import COLUMN_RULES
from kernel.lint.rules.constraints import CONSTRAINT_RULES, INDEX_RULES
from kernel.lint.rules.locks import LOCK_RULES
from kernel.lint.rules.objects import OBJECT_RULES, TABLE_RULES
from kernel.lint.rules.outcome import OUTCOME_RULES
from kernel.lint.rules.scripts import SCRIPT_RULES

if TYPE_CHECKING:
    from kernel.lint.finding import Rule


ALL_RULES: tuple[Rule, ...] = (
    *INDEX_RULES,
    *CONSTRAINT_RULES,
    *COLUMN_RULES,
    *TABLE_RULES,
    *LOCK_RULES,
    *OBJECT_RULES,
    *SCRIPT_RULES,
    *OUTCOME_RULES,
)
RULES_BY_ID = {rule.id: rule for rule in ALL_RULES}
