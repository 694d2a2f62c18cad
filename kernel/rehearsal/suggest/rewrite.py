"""Files that hold too much for one transaction: where they can be put apart, and which must stay one.

To put a file apart gives up that all of it happens or nothing. That is lost knowingly for each suggestion, and not at
all where the file asks for it in words, or where one statement leaves something in the session for the next.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from kernel.lint.state import LOCK_MODE_BY_VERB
from kernel.rehearsal.result import RefusedSuggestion, Suggestion
from kernel.rehearsal.suggest.alter_table import keep_actions, parse_alter_table, read_changed_tables
from kernel.rehearsal.suggest.backfill import add_column_with_default
from kernel.rehearsal.suggest.catalog import CatalogState
from kernel.rehearsal.suggest.constraints import add_check, add_foreign_key, add_unique, set_not_null
from kernel.rehearsal.suggest.files import compose_files
from kernel.rehearsal.suggest.indexes import create_index_concurrently, drop_index_concurrently, reindex_concurrently
from kernel.rehearsal.suggest.model import CannotRewrite, RewriteStep, StatementRewrite
from kernel.rehearsal.suggest.type_change import change_column_type
from kernel.sql.classify import StatementEffect
from kernel.sql.tokens import first_tokens

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from kernel.lint.finding import Finding
    from kernel.rehearsal.result import Leftover
    from kernel.rehearsal.suggest.alter_table import AlterTable, AlterTableAction
    from kernel.rehearsal.suggest.catalog import TableCatalog
    from kernel.rehearsal.suggest.source import MigrationUnits, StatementUnit


# The rules whose remedy is another file, and no other statement.
SPLIT_RULES = frozenset(
    {
        *("schema-and-data-mixed", "several-tables-locked", "work-under-exclusive-lock", "work-under-share-lock"),
        "validate-in-same-transaction",
    }
)
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


def reason_not_to_split(source: MigrationUnits) -> str:
    """Why a file must stay one, in a sentence; "" where nothing is lost but that it is one."""
    if source.has_own_transaction and len(source.units) > 1:
        return (
            "the file asks for one transaction by its own BEGIN and COMMIT, which several files cannot give; "
            "take the pair out if that is not meant"
        )
    for unit in source.units:
        if sets_timeout(unit) and not source.directives.no_transaction:
            continue
        first = unit.sql.split(None, 1)[0].rstrip(b";").upper()
        if unit.effect in _TRANSACTION_EFFECTS:
            return "the file has transactions of its own"
        if unit.effect in _SETTING_EFFECTS or first in (b"SET", b"DECLARE", b"LISTEN", b"PREPARE"):
            return f"{first.decode()} in line {unit.line} holds for what stands behind it, but not in another file"
        if first in (b"SAVEPOINT", b"RELEASE", b"LOCK"):
            return f"{first.decode()} in line {unit.line} is about the transaction that the file runs in"
        if any("temporary" in act.traits for act in unit.actions):
            return f"line {unit.line} makes a temporary table, which is gone in the next file"
    return ""


def sets_timeout(unit: StatementUnit) -> bool:
    """Whether a statement limits waiting, which every file of a divided one can do again."""
    words = first_tokens(unit.sql, limit=3)
    if words[:1] != ("SET",):
        return False
    return words[2 if words[1:2] in (("LOCAL",), ("SESSION",)) else 1 :][:1] in _TIMEOUT_SETTINGS


class FileBoundaries:
    """Goes through the units of a file, and says of each whether it has to begin another file."""

    def __init__(self, rules: Collection[str]) -> None:
        self._by_table = "several-tables-locked" in rules
        self._by_data = "schema-and-data-mixed" in rules
        self._locked: set[str] = set()
        self._created: set[str] = set()
        self._writes: bool | None = None

    def starts_file(self, unit: StatementUnit, rules: Collection[str]) -> bool:
        """Whether a new file begins with this unit, of which `rules` were found."""
        shut = {act.relation for act in unit.actions if LOCK_MODE_BY_VERB.get(act.verb) == _EXCLUSIVE} - self._created
        self._created |= {act.relation for act in unit.actions if act.verb.startswith("create ")}
        writes = any(act.verb in _WRITE_VERBS and "bulk" in act.traits for act in unit.actions)
        begins = bool(SPLIT_RULES & set(rules))
        begins |= self._by_table and bool(shut) and bool(self._locked - shut)
        begins |= self._by_data and self._writes is not None and writes is not self._writes
        self._locked = shut if begins else self._locked | shut
        self._writes = writes
        return begins


def join_rules(rules: Iterable[Collection[str]]) -> frozenset[str]:
    """All rules of a file."""
    return frozenset(rule for its_rules in rules for rule in its_rules)


# A migration written anew: each statement with a finding becomes the pieces that reach the same end safely.


_STATEMENT_RECIPES: Mapping[str, Callable[[bytes, CatalogState], StatementRewrite]] = {
    "create-index-not-concurrently": create_index_concurrently,
    "drop-index-not-concurrently": drop_index_concurrently,
    "reindex-not-concurrently": reindex_concurrently,
}
# By rule: the verbs of the actions of ALTER TABLE that meet it, and what becomes of them.
_ACTION_RECIPES: Mapping[
    str, Mapping[str, Callable[[AlterTable, AlterTableAction, CatalogState], StatementRewrite]]
] = {
    "check-validated-under-lock": {"add check": add_check},
    "foreign-key-validated-under-lock": {"add foreign key": add_foreign_key},
    "unique-builds-index-under-lock": {"add unique": add_unique, "add primary key": add_unique},
    "set-not-null-scans": {"set not null": set_not_null},
    "volatile-default": {"add column": add_column_with_default},
    "type-change-rewrites": {"change type": change_column_type},
}
MECHANICAL_RULES = frozenset({*_STATEMENT_RECIPES, *_ACTION_RECIPES, *SPLIT_RULES})


def rules_by_unit(source: MigrationUnits, findings: Iterable[Finding]) -> dict[int, frozenset[str]]:
    """The rules whose workaround is mechanical, by the place of the unit that meets them."""
    found: dict[int, frozenset[str]] = {}
    for one in findings:
        place = source.unit_index_at(one.line)
        if one.rule in MECHANICAL_RULES and place is not None:
            found[place] = found.get(place, frozenset()) | {one.rule}
    return found


def rewrite_migration(
    source: MigrationUnits, findings: Iterable[Finding], facts: TableCatalog, *, first: int
) -> Suggestion:
    """The files to have instead, numbered from `first`; what nothing is suggested for stays as it is, in its place."""
    rules = rules_by_unit(source, findings)
    work = _Rewriter(catalog=CatalogState(facts))
    if hindrance := reason_not_to_split(source):
        work.refused = [
            RefusedSuggestion(rule=rule, line=source.units[place].line, reason=hindrance)
            for place in sorted(rules)
            for rule in sorted(rules[place])
        ]
    else:
        work.rewrite_units(source, rules)
    changed = work.changed and not hindrance
    return Suggestion(
        version=source.version,
        filename=source.filename,
        files=compose_files(source, work.steps, first=first, settings=work.settings) if changed else (),
        leftovers=tuple(work.leftovers),
        nondeterministic_columns=tuple(work.nondeterministic_columns),
        refused=tuple(work.refused),
    )


@dataclass(slots=True, kw_only=True)
class _Rewriter:
    """What has been written so far."""

    catalog: CatalogState
    steps: list[RewriteStep] = field(default_factory=list)
    settings: list[str] = field(default_factory=list)
    leftovers: list[Leftover] = field(default_factory=list)
    nondeterministic_columns: list[tuple[str, str]] = field(default_factory=list)
    refused: list[RefusedSuggestion] = field(default_factory=list)
    changed: bool = False

    def rewrite_units(self, source: MigrationUnits, rules: Mapping[int, frozenset[str]]) -> None:
        """Go through the units in their order."""
        boundaries = FileBoundaries(join_rules(rules.values()))
        for place, unit in enumerate(source.units):
            its_rules = rules.get(place, frozenset())
            if sets_timeout(unit):
                self.settings.append(unit.text)
                continue
            way = self._rewrite_unit(unit, its_rules)
            begins = boundaries.starts_file(unit, its_rules) and bool(self.steps)
            if way is None:
                self.steps.append(RewriteStep(sql=unit.text, starts_file=begins))
            else:
                self._add_steps(unit, way, begins=begins)
            self.changed |= way is not None or (begins and not source.directives.no_transaction)
            self.catalog.apply(next(read_changed_tables(unit.sql), ""), unit.actions)

    def _rewrite_unit(self, unit: StatementUnit, rules: frozenset[str]) -> StatementRewrite | None:
        """What becomes of a unit, None where it stays; what nothing can be done about is noted."""
        for rule in sorted(rules - SPLIT_RULES):
            try:
                if recipe := _STATEMENT_RECIPES.get(rule):
                    return recipe(unit.sql, self.catalog)
            except CannotRewrite as reason:
                self.refused.append(RefusedSuggestion(rule=rule, line=unit.line, reason=str(reason)))
        if wanted := sorted(rules & _ACTION_RECIPES.keys()):
            return self._rewrite_alter_table(unit, wanted)
        return None

    def _rewrite_alter_table(self, unit: StatementUnit, rules: list[str]) -> StatementRewrite | None:
        recipes = {verb: (rule, recipe) for rule in rules for verb, recipe in _ACTION_RECIPES[rule].items()}
        try:
            altered = parse_alter_table(unit.sql)
        except CannotRewrite as reason:
            self.refused += [RefusedSuggestion(rule=rule, line=unit.line, reason=str(reason)) for rule in rules]
            return None
        ways: list[StatementRewrite] = []
        kept: list[AlterTableAction] = []
        for action in altered.actions:
            rule, recipe = recipes.get(action.action.verb if action.action else "", ("", None))
            way = None
            if recipe:
                try:
                    way = recipe(altered, action, self.catalog)
                except CannotRewrite as reason:
                    self.refused.append(RefusedSuggestion(rule=rule, line=unit.line, reason=str(reason)))
            if way:
                ways += [StatementRewrite(steps=tuple(keep_actions(altered, kept))), way]
                kept = []
            else:
                kept.append(action)
            self.catalog.apply(altered.table_name, [action.action] if action.action else ())
        verbs = {action.action.verb for action in altered.actions if action.action}
        self.refused += [
            RefusedSuggestion(
                rule=rule, line=unit.line, reason="it is part of a definition, which cannot be put apart mechanically"
            )
            for rule in rules
            if verbs.isdisjoint(_ACTION_RECIPES[rule])
        ]
        if not ways:
            return None
        ways.append(StatementRewrite(steps=tuple(keep_actions(altered, kept))))
        return StatementRewrite(
            steps=tuple(piece for way in ways for piece in way.steps),
            leftovers=tuple(one for way in ways for one in way.leftovers),
            nondeterministic_columns=tuple(one for way in ways for one in way.nondeterministic_columns),
        )

    def _add_steps(self, unit: StatementUnit, way: StatementRewrite, *, begins: bool) -> None:
        """The pieces with the comments that stood around the statement."""
        ahead, behind = (text.decode().strip("\r\n") for text in (unit.leading, unit.trailing))
        for at, piece in enumerate(way.steps):
            above = "".join(f"{text.strip()}\n" for text in (ahead, behind) if text.strip()) if not at else ""
            self.steps.append(
                replace(piece, sql=f"{above}{piece.sql}", starts_file=piece.starts_file or (begins and not at))
            )
        self.leftovers += way.leftovers
        self.nondeterministic_columns += way.nondeterministic_columns
