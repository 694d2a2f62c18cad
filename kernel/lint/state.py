"""What is known before a statement: the schema that earlier files created, and what its own file did so far.

A database may hold what no file created, so the answers are positive knowledge only.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from kernel.lint.action import read_column_definition
from kernel.lint.lock_modes import LOCK_MODE_STRENGTH
from kernel.sql.reader import contains_words

if TYPE_CHECKING:
    from kernel.lint.action import Action


class SchemaState:
    """Types, indexes, constraints and default partitions, learned from actions in the order in which they run."""

    def __init__(self) -> None:
        self.column_types: dict[tuple[str, str], str] = {}
        self.indexes: defaultdict[str, list[tuple[str, ...]]] = defaultdict(list)
        self.default_partitions: dict[str, str] = {}
        self.partitioned: set[str] = set()
        self.pending: set[tuple[str, str]] = set()
        """(table, "") and (table, column) of what the pending files create: no application uses it yet."""
        self.validated: set[tuple[str, str]] = set()
        """(table, constraint) of each VALIDATE CONSTRAINT."""
        self._checks: dict[tuple[str, str], frozenset[str]] = {}  # the columns that a CHECK proves not NULL
        self._valid: set[tuple[str, str]] = set()

    def apply(self, action: Action) -> None:  # noqa: C901 - one case for each kind of action
        """Take an action into account."""
        table = action.relation
        match action.verb:
            case "new column" | "add column":
                column = read_column_definition(action.words)
                self.column_types[table, action.name] = column.type
                if column.clauses & {"primary key", "unique"}:
                    self.indexes[table].append((action.name,))
            case "change type":
                self.column_types[table, action.name] = read_column_definition(action.words).type
            case "create index" | "add unique" | "add primary key":
                self.indexes[table].append(action.columns)
            case "create table" if "default partition" in action.traits:
                self.default_partitions[action.other] = table
            case "create table" if contains_words(action.words, "PARTITION", "BY"):
                self.partitioned.add(table)
            case "add check":
                self._checks[table, action.name] = frozenset(_not_null_columns(action))
                if "not valid" not in action.traits:
                    self._valid.add((table, action.name))
            case "validate":
                self.validated.add((table, action.name))
                self._valid.add((table, action.name))
            case "rename table":
                self._rename(table, action.other)
            case "rename column" if kind := self.column_types.get((table, action.name)):
                self.column_types[table, action.other] = kind

    def _rename(self, old: str, new: str) -> None:
        self.indexes[new] = self.indexes.pop(old, [])
        self.column_types |= {
            (new, column): kind for (table, column), kind in self.column_types.items() if table == old
        }

    def is_valid(self, table: str, constraint: str) -> bool:
        """Whether a constraint is known to hold for every row."""
        return (table, constraint) in self._valid

    def is_proven_not_null(self, table: str, column: str) -> bool:
        """Whether a validated CHECK proves it; one that no file adds counts if its name contains the column."""
        return any(
            column in self._checks[key] if key in self._checks else column in key[1]
            for key in self._valid
            if key[0] == table
        )

    def has_valid_check(self, table: str) -> bool:
        """Whether a table has a validated CHECK, which may be that of its bounds as a partition."""
        return any(key[0] == table for key in self._valid)

    def has_index(self, table: str, wanted: tuple[str, ...]) -> bool:
        """Whether an index begins with these columns, in any order."""
        return any(set(found[: len(wanted)]) == set(wanted) for found in self.indexes[table])


def _not_null_columns(action: Action) -> list[str]:
    """The columns of `CHECK (a IS NOT NULL AND b IS NOT NULL)`; none if there is an OR."""
    if contains_words(action.words, "OR"):
        return []
    found = []
    for at, word in enumerate(action.words[:-3]):
        if [one.key for one in action.words[at + 1 : at + 4]] == ["IS", "NOT", "NULL"]:
            found.append(word.text)
    return found


_EXCLUSIVE, _SHARE_ROW, _SHARE = "ACCESS EXCLUSIVE", "SHARE ROW EXCLUSIVE", "SHARE"

# The mode in which an action locks its relation. Source: PostgreSQL documentation, "Explicit Locking", "ALTER TABLE".
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


class FileState:
    """What a file did before a statement: created objects, settings, locks. `transaction` is None outside of any."""

    def __init__(self, schema: SchemaState, *, created_anywhere: frozenset[str] = frozenset()) -> None:
        self.schema = schema
        self.created_anywhere = created_anywhere
        """Names that the file creates anywhere, so that an old name may stay in use."""
        self.transaction: int | None = None
        self.in_batches = False
        self.statement_index = 0
        self.created: set[str] = set()
        self.not_valid: dict[tuple[str, str], int | None] = {}
        self.unresolved: list[tuple[int, Action]] = []
        """By statement: foreign keys that still need an index, constraints that still need to be validated."""
        self.enum_values: dict[str, tuple[int, bool]] = {}
        """The transaction that added a value, and whether the file created the type as well."""
        self.renamed: dict[str, str] = {}
        self.set_not_null: set[str] = set()
        self.added_columns: set[tuple[str, str]] = set()
        self.disabled_timeouts: set[str] = set()
        self.bulk_writes: dict[int, Action] = {}
        self._search_path_schema = ""  # the first of the search path, if the file sets it
        self._reported: set[tuple[str, int | None, bool]] = set()
        self._locked: defaultdict[int, dict[str, tuple[str, int]]] = defaultdict(dict)

    def existed_before(self, relation: str) -> bool:
        """Whether a relation existed before the file; other sessions cannot use one that the file creates."""
        return bool(relation) and relation not in self.created and not _is_catalog(relation)

    def is_pending(self, relation: str, column: str) -> bool:
        """Whether the column, or its whole table, was created by this file or by another one that is pending."""
        pending = self.added_columns | self.schema.pending
        return (relation, "") in pending or (relation, column) in pending

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

    def is_first_report(self, rule: str, *, of_statement: bool = False) -> bool:
        """Whether a rule is met for the first time in this transaction, or in this statement."""
        key = (rule, self.statement_index if of_statement else self.transaction, of_statement)
        if key in self._reported:
            return False
        self._reported.add(key)
        return True

    def apply(self, action: Action) -> None:  # noqa: C901 - one case for each kind of action
        """Take an action into account, after it has been checked."""
        match action.verb:
            case "create table" | "create materialized view" | "create view" | "create sequence" | "create schema":
                self._record_created(action.relation)
            case "create type" | "create domain" | "create function":
                self.created.add(action.name)
            case "create index" if not self.existed_before(action.relation):
                self.created.add(action.name)
            case "rename table":
                self._record_renamed_table(action.relation, action.other)
            case "rename column" if self.is_pending(action.relation, action.name):
                self.added_columns.add((action.relation, action.other))
            case "add check" | "add foreign key" | "add not null" if "not valid" in action.traits:
                self.not_valid[action.relation, action.name] = self.transaction
                if self.existed_before(action.relation):
                    self.unresolved.append((self.statement_index, action))
            case "add enum value" if self.transaction is not None:
                self.enum_values[action.other] = (self.transaction, action.name in self.created)
            case "set not null":
                self.set_not_null.add(action.relation)
            case "add column":
                self.added_columns.add((action.relation, action.name))
            case "set":
                self._record_setting(action)
        self.schema.apply(action)
        self._record_lock(action)

    def _record_created(self, relation: str) -> None:
        """Add a new relation under its name with and without the schema of the file's search path."""
        self.created.add(relation)
        schema, _, name = relation.rpartition(".")
        if self._search_path_schema and schema in ("", self._search_path_schema):
            self.created |= {name, f"{self._search_path_schema}.{name}"}

    def _record_renamed_table(self, old: str, new: str) -> None:
        self.renamed[new] = old
        if old in self.created:
            self.created.add(new)
        if (old, "") in self.schema.pending:
            self.schema.pending.add((new, ""))

    def _record_setting(self, action: Action) -> None:
        if action.name == "search_path":
            first = action.other.partition(",")[0]
            self._search_path_schema = "" if first == "public" else first
        off = action.other.strip("'").rstrip("msinhd ") == "0"
        (self.disabled_timeouts.add if off else self.disabled_timeouts.discard)(action.name)

    def _record_lock(self, action: Action) -> None:
        mode = LOCK_MODE_BY_VERB.get(action.verb)
        if action.verb == "lock table":
            mode = action.other if action.other in LOCK_MODE_STRENGTH else _EXCLUSIVE
        if self.transaction is None or not mode or "concurrently" in action.traits:
            return
        for name in (action.relation, action.other if action.verb == "add foreign key" else ""):
            if self.existed_before(name):
                before = self._locked[self.transaction].get(name)
                if before is None or LOCK_MODE_STRENGTH[before[0]] < LOCK_MODE_STRENGTH[mode]:
                    self._locked[self.transaction][name] = (mode, self.statement_index)


def _is_catalog(relation: str) -> bool:
    return relation.startswith(("pg_", "information_schema."))
