"""The rules of the linter and the rehearsal, as data."""

from __future__ import annotations

from kernel.lint.rules.columns import COLUMN_RULES
from kernel.lint.rules.constraints import CONSTRAINT_RULES, INDEX_RULES
from kernel.lint.rules.locks import LOCK_RULES
from kernel.lint.rules.objects import OBJECT_RULES, TABLE_RULES
from kernel.lint.rules.outcome import OUTCOME_RULES
from kernel.lint.rules.rule import EXAMPLE_SCHEMA, NEXT_FILE_LINE, REVERT_FILE_LINE, Rule, Severity
from kernel.lint.rules.scripts import SCRIPT_RULES

__all__ = [
    "ALL_RULES",
    "EXAMPLE_SCHEMA",
    "NEXT_FILE_LINE",
    "REVERT_FILE_LINE",
    "RULES_BY_ID",
    "Rule",
    "Severity",
]

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
