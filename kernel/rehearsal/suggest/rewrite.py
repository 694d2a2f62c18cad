"""Rewrite a migration: each statement with a finding becomes steps that reach the same result and block less.

More than one file means that not all of it happens or nothing. The user chooses that with each suggestion; where the
file demands one transaction, or where a statement leaves something in the session for the next, nothing is suggested.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from kernel.lint.state import LOCK_MODE_BY_VERB
from kernel.rehearsal.alter_table import StatementText, parse_alter_table
from kernel.rehearsal.result import RefusedSuggestion, Suggestion
from kernel.rehearsal.suggest.backfill import add_column_with_default
from kernel.rehearsal.suggest.constraints import add_check, add_foreign_key, add_unique, set_not_null
from kernel.rehearsal.suggest.files import compose_files
from kernel.rehearsal.suggest.indexes import create_index_concurrently, drop_index_concurrently, reindex_concurrently
from kernel.rehearsal.suggest.model import CannotRewrite, RewriteStep, read_quoted_name
from kernel.sql.classify import StatementEffect
from kernel.sql.tokens import first_tokens

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from kernel.lint.finding import Finding
    from kernel.rehearsal.alter_table import AlterTable, AlterTableAction
    from kernel.rehearsal.suggest.catalog import TableCatalog
    from kernel.rehearsal.suggest.source import MigrationUnits, StatementUnit


_STATEMENT_REWRITES: Mapping[str, Callable[[bytes, TableCatalog], list[RewriteStep]]] = {
    "create-index-not-concurrently": create_index_concurrently,
    "drop-index-not-concurrently": drop_index_concurrently,
    "reindex-not-concurrently": reindex_concurrently,
}
# By rule: the verbs of the ALTER TABLE actions that it finds, and their rewrite.
_ACTION_REWRITES: Mapping[
    str, Mapping[str, Callable[[AlterTable, AlterTableAction, TableCatalog], list[RewriteStep]]]
] = {
    "check-validated-under-lock": {"add check": add_check},
    "foreign-key-validated-under-lock": {"add foreign key": add_foreign_key},
    "unique-builds-index-under-lock": {"add unique": add_unique, "add primary key": add_unique},
    "set-not-null-scans": {"set not null": set_not_null},
    "volatile-default": {"add column": add_column_with_default},
}
# The rules whose remedy is another file with the same statement.
SPLIT_RULES = frozenset(
    {
        *("schema-and-data-mixed", "several-tables-locked", "work-under-exclusive-lock", "work-under-share-lock"),
        "validate-in-same-transaction",
    }
)
MECHANICAL_RULES = frozenset({*_STATEMENT_REWRITES, *_ACTION_REWRITES, *SPLIT_RULES})

_TIMEOUT_SETTINGS = (("LOCK_TIMEOUT",), ("STATEMENT_TIMEOUT",), ("IDLE_IN_TRANSACTION_SESSION_TIMEOUT",))
_EXCLUSIVE = "ACCESS EXCLUSIVE"
_WRITE_VERBS = frozenset({"insert", "update", "delete", "merge"})
_SETTING_EFFECTS = (StatementEffect.SETTING, StatementEffect.LEXICAL)
_TRANSACTION_EFFECTS = (
    StatementEffect.BEGIN,
    StatementEffect.COMMIT,
    StatementEffect.ROLLBACK,
    StatementEffect.TWO_PHASE,
)


def rules_by_unit(source: MigrationUnits, findings: Iterable[Finding]) -> dict[int, frozenset[str]]:
    """The rules with a mechanical remedy, by the index of the unit that they were found in."""
    rules: dict[int, frozenset[str]] = {}
    for finding in findings:
        index = source.unit_index_at(finding.offset)
        if finding.rule in MECHANICAL_RULES and index is not None:
            rules[index] = rules.get(index, frozenset()) | {finding.rule}
    return rules


def rewrite_migration(
    source: MigrationUnits, findings: Iterable[Finding], catalog: TableCatalog, *, first: int
) -> Suggestion:
    """The files to have instead, numbered from `first`; a statement without a rewrite stays as it is, in its place."""
    rules = rules_by_unit(source, findings)
    rewriter = _Rewriter(catalog=replace(catalog))  # a new one: names are reserved for each file
    if reason := reason_not_to_split(source):
        for index in sorted(rules):
            rewriter.refuse(source.units[index], rules[index], reason)
    else:
        rewriter.rewrite_units(source, rules)
    return Suggestion(
        version=source.version,
        filename=source.filename,
        files=compose_files(source, rewriter.steps, first=first, settings=rewriter.settings)
        if rewriter.changed
        else (),
        nondeterministic_columns=tuple(column for step in rewriter.steps for column in step.nondeterministic_columns),
        refused=tuple(rewriter.refused),
    )


def reason_not_to_split(source: MigrationUnits) -> str:
    """Why a file must stay one file; "" if it may be split."""
    if source.has_own_transaction and len(source.units) > 1:
        return (
            "the file demands one transaction by its own BEGIN and COMMIT, which several files cannot give; "
            "remove the pair if that is not intended"
        )
    for unit in source.units:
        if sets_timeout(unit) and not source.directives.no_transaction:
            continue
        first = unit.sql.split(None, 1)[0].rstrip(b";").upper()
        if unit.effect in _TRANSACTION_EFFECTS:
            return "the file has transactions of its own"
        if unit.effect in _SETTING_EFFECTS or first in (b"SET", b"DECLARE", b"LISTEN", b"PREPARE"):
            return f"{first.decode()} in line {unit.part.line} holds for later statements, but not in another file"
        if first in (b"SAVEPOINT", b"RELEASE", b"LOCK"):
            return f"{first.decode()} in line {unit.part.line} is about the transaction that the file runs in"
        if any("temporary" in action.traits for action in unit.actions):
            return f"line {unit.part.line} creates a temporary table, which does not exist in the next file"
    return ""


def sets_timeout(unit: StatementUnit) -> bool:
    """Whether a statement sets a timeout, which each of several files can repeat."""
    words = first_tokens(unit.sql, limit=3)
    if words[:1] != ("SET",):
        return False
    return words[2 if words[1:2] in (("LOCAL",), ("SESSION",)) else 1 :][:1] in _TIMEOUT_SETTINGS


class FileBoundaries:
    """Walks through the units of a file and decides which have to start another file."""

    def __init__(self, rules: Collection[str]) -> None:
        self._by_table = "several-tables-locked" in rules
        self._by_data = "schema-and-data-mixed" in rules
        self._locked: set[str] = set()
        self._created: set[str] = set()
        self._writes: bool | None = None

    def starts_file(self, unit: StatementUnit, rules: Collection[str]) -> bool:
        """Whether a new file starts with this unit, which `rules` were found in."""
        exclusive = {action.relation for action in unit.actions if LOCK_MODE_BY_VERB.get(action.verb) == _EXCLUSIVE}
        locked = exclusive - self._created
        self._created |= {action.relation for action in unit.actions if action.verb.startswith("create ")}
        writes = any(action.verb in _WRITE_VERBS and "bulk" in action.traits for action in unit.actions)
        starts = bool(SPLIT_RULES & set(rules))
        starts |= self._by_table and bool(locked) and bool(self._locked - locked)
        starts |= self._by_data and self._writes is not None and writes is not self._writes
        self._locked = locked if starts else self._locked | locked
        self._writes = writes
        return starts


def _execution_pass(action: AlterTableAction) -> int:
    """PostgreSQL runs the actions in passes, whatever their order is.

    Source: AlterTablePass in PostgreSQL's source (src/backend/commands/tablecmds.c).
    """
    verb = action.action.verb
    return 0 if verb.startswith("drop ") else {"change type": 1, "add column": 2}.get(verb, 3)


def _keep_actions(altered: AlterTable, actions: Iterable[AlterTableAction]) -> list[RewriteStep]:
    """One statement with these actions as they are written; [] for none."""
    texts = [altered.statement.text(action.begin, action.end) for action in actions]
    return [RewriteStep(sql=altered.alter_sql(*texts))] if texts else []


def _changed_table(sql: bytes) -> str:
    """The catalog key of the table that ALTER TABLE or CREATE INDEX is about; "" for other statements."""
    if altered := parse_alter_table(sql):
        return altered.quoted_name
    reader = StatementText(sql).reader()
    if reader.key != "CREATE":
        return ""
    reader.take_until("ON")
    reader.take("ON", "ONLY") or reader.take("ON")
    return read_quoted_name(reader)


@dataclass(slots=True, kw_only=True)
class _Rewriter:
    """The steps and refusals so far."""

    catalog: TableCatalog
    steps: list[RewriteStep] = field(default_factory=list)
    settings: list[str] = field(default_factory=list)
    refused: list[RefusedSuggestion] = field(default_factory=list)
    changed: bool = False

    def refuse(self, unit: StatementUnit, rules: Iterable[str], reason: str) -> None:
        self.refused += [RefusedSuggestion(rule=rule, line=unit.part.line, reason=reason) for rule in sorted(rules)]

    def rewrite_units(self, source: MigrationUnits, rules: Mapping[int, frozenset[str]]) -> None:
        """Rewrite the units in their order."""
        boundaries = FileBoundaries(frozenset().union(*rules.values()))
        for index, unit in enumerate(source.units):
            unit_rules = rules.get(index, frozenset())
            if sets_timeout(unit):
                self.settings.append(unit.text)
                continue
            steps = self._rewrite_unit(unit, unit_rules)
            starts_file = boundaries.starts_file(unit, unit_rules) and bool(self.steps)
            if steps:
                self._add_steps(unit, steps, starts_file=starts_file)
            else:
                self.steps.append(RewriteStep(sql=unit.text, starts_file=starts_file))
            self.changed |= bool(steps) or (starts_file and not source.directives.no_transaction)
            self.catalog.apply(_changed_table(unit.sql), unit.actions)

    def _rewrite_unit(self, unit: StatementUnit, rules: frozenset[str]) -> list[RewriteStep]:
        """The steps of a unit, [] if it stays; notes a refusal for each rule without a rewrite."""
        rules &= _STATEMENT_REWRITES.keys() | _ACTION_REWRITES.keys()
        if not StatementText(unit.sql).complete:
            self.refuse(unit, rules, "the statement is too long")
            return []
        for rule in sorted(rules & _STATEMENT_REWRITES.keys()):
            try:
                return _STATEMENT_REWRITES[rule](unit.sql, self.catalog)
            except CannotRewrite as reason:
                self.refuse(unit, [rule], str(reason))
        action_rules = rules & _ACTION_REWRITES.keys()
        return self._rewrite_alter_table(unit, action_rules) if action_rules else []

    def _rewrite_alter_table(self, unit: StatementUnit, rules: frozenset[str]) -> list[RewriteStep]:
        altered = parse_alter_table(unit.sql)
        if altered is None or altered.if_exists:
            unknown = "with IF EXISTS it is not known whether the table exists"
            self.refuse(unit, rules, unknown if altered else "the statement is not ALTER TABLE")
            return []
        verbs = {action.action.verb for action in altered.actions}
        inline = [rule for rule in rules if verbs.isdisjoint(_ACTION_REWRITES[rule])]
        self.refuse(unit, inline, "it is part of a column definition, which cannot be taken apart mechanically")
        rule_by_verb = {verb: rule for rule in rules for verb in _ACTION_REWRITES[rule]}
        steps: list[RewriteStep] = []
        kept: list[AlterTableAction] = []
        for action in sorted(altered.actions, key=_execution_pass):
            verb, rewritten = action.action.verb, []
            if rule := rule_by_verb.get(verb):
                try:
                    rewritten = _ACTION_REWRITES[rule][verb](altered, action, self.catalog)
                except CannotRewrite as reason:
                    self.refuse(unit, [rule], str(reason))
            if rewritten:
                steps += [*_keep_actions(altered, kept), *rewritten]
                kept = []
            else:
                kept.append(action)
            self.catalog.apply(altered.quoted_name, [action.action])
        return [*steps, *_keep_actions(altered, kept)] if steps else []

    def _add_steps(self, unit: StatementUnit, steps: list[RewriteStep], *, starts_file: bool) -> None:
        """Add the steps; the comments around the statement stand above the first."""
        comments = [text.decode().strip("\r\n").strip() for text in (unit.leading, unit.trailing)]
        first, *others = steps
        above = "".join(f"{text}\n" for text in comments if text)
        self.steps += [replace(first, sql=f"{above}{first.sql}", starts_file=first.starts_file or starts_file), *others]
