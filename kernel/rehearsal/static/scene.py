"""Where a statement stands: what its file has made, in which transaction it runs, what that has locked so far."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kernel.rehearsal.modes import STRENGTH

if TYPE_CHECKING:
    from kernel.rehearsal.result import Severity
    from kernel.rehearsal.static.act import Act
    from kernel.rehearsal.static.knowledge import Knowledge

_EXCLUSIVE, _SHARE_ROW, _SHARE = "ACCESS EXCLUSIVE", "SHARE ROW EXCLUSIVE", "SHARE"

# What an act locks its relation in. Source: PostgreSQL documentation, "Explicit Locking" and "ALTER TABLE".
MODES = {
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
class Hit:
    """A rule met by an act. `severity` and `says`, what is wrong, are the rule's own where they are None and ""."""

    rule: str
    act: Act
    relation: str = ""
    severity: Severity | None = None
    says: str = ""


class Scene:
    """One file, statement after statement. `transaction` is None for what runs outside of any."""

    def __init__(self, knowledge: Knowledge, *, later: frozenset[str] = frozenset()) -> None:
        self.knowledge = knowledge
        self.later = later
        """Views and tables that the file makes anywhere: an old name that stays in use."""
        self.transaction: int | None = None
        self.statement = 0
        self.created: set[str] = set()
        self.not_valid: dict[tuple[str, str], int | None] = {}
        self.open_ends: list[tuple[int, Act]] = []
        """By statement: foreign keys that need an index, constraints that need to be validated, here or later."""
        self.enum_values: dict[str, tuple[int, bool]] = {}
        """The transaction that added a value, and whether the file made the type as well."""
        self.renamed: dict[str, str] = {}
        self.set_not_null: set[str] = set()
        self.defaults: set[tuple[str, str]] = set()
        self.timeouts_off: set[str] = set()
        self.written: dict[int, Act] = {}
        self._schema = ""  # the first of the search path, where the file sets one
        self.told: set[tuple[str, int | None]] = set()
        self._locked: defaultdict[int, dict[str, tuple[str, int]]] = defaultdict(dict)

    def existing(self, relation: str) -> bool:
        """Whether a relation was there before the file: nobody else knows one that the file makes."""
        return bool(relation) and relation not in self.created and not _catalog(relation)

    def locked(self, least: str) -> list[str]:
        """The relations that earlier statements of this transaction hold in a mode of at least this strength."""
        if self.transaction is None:
            return []
        held = self._locked[self.transaction].items()
        return [name for name, (mode, since) in held if STRENGTH[mode] >= STRENGTH[least] and since < self.statement]

    def once(self, rule: str) -> bool:
        """Whether a rule is met for the first time in this transaction."""
        key = (rule, self.transaction)
        if key in self.told:
            return False
        self.told.add(key)
        return True

    def passed(self, act: Act) -> None:  # noqa: C901 - one case for each kind of act
        """Take an act into account, once it has been judged."""
        match act.verb:
            case "create table" | "create materialized view" | "create view" | "create sequence" | "create schema":
                self._create(act.relation)
            case "create type" | "create function":
                self.created.add(act.name)
            case "create index":
                self._created_index(act)
            case "rename table":
                self.renamed[act.other] = act.relation
                if act.relation in self.created:
                    self.created.add(act.other)
            case "add check" | "add foreign key" | "add not null" if "not valid" in act.traits:
                self.not_valid[act.relation, act.name] = self.transaction
                if self.existing(act.relation):
                    self.open_ends.append((self.statement, act))
            case "add enum value" if self.transaction is not None:
                self.enum_values[act.other] = (self.transaction, act.name in self.created)
            case "set not null":
                self.set_not_null.add(act.relation)
            case "add column":
                self.defaults.add((act.relation, act.name))
            case "set":
                self._set(act)
        self.knowledge.learn(act)
        self._lock(act)

    def _create(self, relation: str) -> None:
        """Know a new relation by its name, and by the other that it has on the file's own search path."""
        self.created.add(relation)
        schema, _, name = relation.rpartition(".")
        if self._schema and schema in ("", self._schema):
            self.created |= {name, f"{self._schema}.{name}"}

    def _created_index(self, act: Act) -> None:
        if not self.existing(act.relation):
            self.created.add(act.name)

    def _set(self, act: Act) -> None:
        if act.name == "search_path":
            first = act.other.partition(",")[0]
            self._schema = "" if first == "public" else first
        off = act.other.strip("'").rstrip("msinhd ") == "0"
        (self.timeouts_off.add if off else self.timeouts_off.discard)(act.name)

    def _lock(self, act: Act) -> None:
        mode = MODES.get(act.verb)
        if act.verb == "lock table":
            mode = act.other if act.other in STRENGTH else _EXCLUSIVE
        if self.transaction is None or not mode or "concurrently" in act.traits:
            return
        for name in (act.relation, act.other if act.verb == "add foreign key" else ""):
            if self.existing(name):
                before = self._locked[self.transaction].get(name)
                if before is None or STRENGTH[before[0]] < STRENGTH[mode]:
                    self._locked[self.transaction][name] = (mode, self.statement)


def _catalog(relation: str) -> bool:
    return relation.startswith(("pg_", "information_schema."))
