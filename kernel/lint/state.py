"""What the files up to a statement tell of the schema: types, indexes, constraints, default partitions.

Nothing here is certain, since a database may hold what no file made; so it only ever answers what is known.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kernel.lint.action import read_column_definition
from kernel.lint.lock_modes import LOCK_MODE_STRENGTH
from kernel.sql.reader import contains_words

if TYPE_CHECKING:
    from kernel.lint.action import Action
    from kernel.lint.finding import Severity


class SchemaState:
    """Learns from acts in the order in which they are run."""

    def __init__(self) -> None:
        self.column_types: dict[tuple[str, str], str] = {}
        self.indexes: defaultdict[str, list[tuple[str, ...]]] = defaultdict(list)
        self.default_partitions: dict[str, str] = {}
        self.validated: set[tuple[str, str]] = set()
        """(table, constraint) of what VALIDATE CONSTRAINT named."""
        self._checks: dict[tuple[str, str], frozenset[str]] = {}  # the columns that a CHECK rules NULL out for
        self._valid: set[tuple[str, str]] = set()

    def apply(self, act: Action) -> None:
        """Take an act into account."""
        table = act.relation
        match act.verb:
            case "new column" | "add column":
                column = read_column_definition(act.words)
                self.column_types[table, act.name] = column.type
                if column.clauses & {"primary key", "unique"}:
                    self.indexes[table].append((act.name,))
            case "change type":
                self.column_types[table, act.name] = read_column_definition(act.words).type
            case "create index" | "add unique" | "add primary key":
                self.indexes[table].append(act.columns)
            case "create table" if "default partition" in act.traits:
                self.default_partitions[act.other] = table
            case "add check":
                self._checks[table, act.name] = frozenset(_not_null_columns(act))
                if "not valid" not in act.traits:
                    self._valid.add((table, act.name))
            case "validate":
                self.validated.add((table, act.name))
                self._valid.add((table, act.name))
            case "rename table":
                self._rename(table, act.other)

    def _rename(self, old: str, new: str) -> None:
        self.indexes[new] = self.indexes.pop(old, [])
        self.column_types |= {
            (new, column): kind for (table, column), kind in self.column_types.items() if table == old
        }

    def is_valid(self, table: str, constraint: str) -> bool:
        """Whether a constraint is known to hold for every row."""
        return (table, constraint) in self._valid

    def is_proven_not_null(self, table: str, column: str) -> bool:
        """Whether a validated CHECK rules NULL out.

        A constraint whose CHECK no file shows counts when its name tells of the column.
        """
        return any(
            column in self._checks[key] if key in self._checks else _name_mentions(key[1], column)
            for key in self._valid
            if key[0] == table
        )

    def has_valid_check(self, table: str) -> bool:
        """Whether a table has a validated CHECK, which may be that of its bounds as a partition."""
        return any(key[0] == table for key in self._valid)

    def has_index(self, table: str, wanted: tuple[str, ...]) -> bool:
        """Whether an index begins with these columns, in any order."""
        return any(set(found[: len(wanted)]) == set(wanted) for found in self.indexes[table])


def _name_mentions(constraint: str, column: str) -> bool:
    return column in constraint


def _not_null_columns(act: Action) -> list[str]:
    """The columns of `CHECK (a IS NOT NULL AND b IS NOT NULL)`; none where an OR is."""
    if contains_words(act.words, "OR"):
        return []
    found = []
    for at, word in enumerate(act.words[:-3]):
        if [one.key for one in act.words[at + 1 : at + 4]] == ["IS", "NOT", "NULL"]:
            found.append(word.text)
    return found


# Where a statement stands: what its file has made, in which transaction it runs, what that has locked so far.


_EXCLUSIVE, _SHARE_ROW, _SHARE = "ACCESS EXCLUSIVE", "SHARE ROW EXCLUSIVE", "SHARE"

# What an act locks its relation in. Source: PostgreSQL documentation, "Explicit Locking" and "ALTER TABLE".
LOCK_MODE_BY_VERB = {
    **dict.fromkeys(
        (
            *("add column", "drop column", "change type", "set not null", "drop not null", "drop default"),
            *("set expression", "alter table", "add check", "add not null", "add unique", "add primary key"),
            *("add exclusion", "drop constraint", "rename table", "rename column", "change storage"),
            *("rewrite table", "truncate", "drop table", "attach partition", "switch row security", "create policy"),
            *("alter policy", "drop policy", "create rule", "drop rule", "drop trigger", "rename trigger"),
        ),
        _EXCLUSIVE,
    ),
    **dict.fromkeys(("add foreign key", "create trigger", "switch trigger"), _SHARE_ROW),
    "create index": _SHARE,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleMatch:
    """A rule met by an act. `severity` and `says`, what is wrong, are the rule's own where they are None and ""."""

    rule: str
    action: Action
    relation: str = ""
    severity: Severity | None = None
    message: str = ""


class FileState:
    """One file, statement after statement. `transaction` is None for what runs outside of any."""

    def __init__(self, knowledge: SchemaState, *, created_anywhere: frozenset[str] = frozenset()) -> None:
        self.schema = knowledge
        self.created_anywhere = created_anywhere
        """Views and tables that the file makes anywhere: an old name that stays in use."""
        self.transaction: int | None = None
        self.statement_index = 0
        self.created: set[str] = set()
        self.not_valid: dict[tuple[str, str], int | None] = {}
        self.unresolved: list[tuple[int, Action]] = []
        """By statement: foreign keys that need an index, constraints that need to be validated, here or later."""
        self.enum_values: dict[str, tuple[int, bool]] = {}
        """The transaction that added a value, and whether the file made the type as well."""
        self.renamed: dict[str, str] = {}
        self.set_not_null: set[str] = set()
        self.added_columns: set[tuple[str, str]] = set()
        self.disabled_timeouts: set[str] = set()
        self.bulk_writes: dict[int, Action] = {}
        self._search_path_schema = ""  # the first of the search path, where the file sets one
        self.reported: set[tuple[str, int | None]] = set()
        self._locked: defaultdict[int, dict[str, tuple[str, int]]] = defaultdict(dict)

    def existed_before(self, relation: str) -> bool:
        """Whether a relation was there before the file: nobody else knows one that the file makes."""
        return bool(relation) and relation not in self.created and not _is_catalog(relation)

    def locked_relations(self, least: str) -> list[str]:
        """The relations that earlier statements of this transaction hold in a mode of at least this strength."""
        if self.transaction is None:
            return []
        held = self._locked[self.transaction].items()
        return [
            name
            for name, (mode, since) in held
            if LOCK_MODE_STRENGTH[mode] >= LOCK_MODE_STRENGTH[least] and since < self.statement_index
        ]

    def is_first_report(self, rule: str) -> bool:
        """Whether a rule is met for the first time in this transaction."""
        key = (rule, self.transaction)
        if key in self.reported:
            return False
        self.reported.add(key)
        return True

    def apply(self, act: Action) -> None:  # noqa: C901 - one case for each kind of act
        """Take an act into account, once it has been judged."""
        match act.verb:
            case "create table" | "create materialized view" | "create view" | "create sequence" | "create schema":
                self._record_created(act.relation)
            case "create type" | "create function":
                self.created.add(act.name)
            case "create index":
                self._record_created_index(act)
            case "rename table":
                self.renamed[act.other] = act.relation
                if act.relation in self.created:
                    self.created.add(act.other)
            case "add check" | "add foreign key" | "add not null" if "not valid" in act.traits:
                self.not_valid[act.relation, act.name] = self.transaction
                if self.existed_before(act.relation):
                    self.unresolved.append((self.statement_index, act))
            case "add enum value" if self.transaction is not None:
                self.enum_values[act.other] = (self.transaction, act.name in self.created)
            case "set not null":
                self.set_not_null.add(act.relation)
            case "add column":
                self.added_columns.add((act.relation, act.name))
            case "set":
                self._record_setting(act)
        self.schema.apply(act)
        self._record_lock(act)

    def _record_created(self, relation: str) -> None:
        """Know a new relation by its name, and by the other that it has on the file's own search path."""
        self.created.add(relation)
        schema, _, name = relation.rpartition(".")
        if self._search_path_schema and schema in ("", self._search_path_schema):
            self.created |= {name, f"{self._search_path_schema}.{name}"}

    def _record_created_index(self, act: Action) -> None:
        if not self.existed_before(act.relation):
            self.created.add(act.name)

    def _record_setting(self, act: Action) -> None:
        if act.name == "search_path":
            first = act.other.partition(",")[0]
            self._search_path_schema = "" if first == "public" else first
        off = act.other.strip("'").rstrip("msinhd ") == "0"
        (self.disabled_timeouts.add if off else self.disabled_timeouts.discard)(act.name)

    def _record_lock(self, act: Action) -> None:
        mode = LOCK_MODE_BY_VERB.get(act.verb)
        if act.verb == "lock table":
            mode = act.other if act.other in LOCK_MODE_STRENGTH else _EXCLUSIVE
        if self.transaction is None or not mode or "concurrently" in act.traits:
            return
        for name in (act.relation, act.other if act.verb == "add foreign key" else ""):
            if self.existed_before(name):
                before = self._locked[self.transaction].get(name)
                if before is None or LOCK_MODE_STRENGTH[before[0]] < LOCK_MODE_STRENGTH[mode]:
                    self._locked[self.transaction][name] = (mode, self.statement_index)


def _is_catalog(relation: str) -> bool:
    return relation.startswith(("pg_", "information_schema."))
