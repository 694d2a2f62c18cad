"""Which rule a statement meets that was seen to read or rewrite a table under a lock, judged by what it does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel.rehearsal.judge import deed
from kernel.rehearsal.static.words import has

if TYPE_CHECKING:
    from kernel.rehearsal.judge.harm import Harm
    from kernel.rehearsal.result import Statement
    from kernel.rehearsal.static.act import Act

_BY_VERB = {
    "create index": "create-index-not-concurrently",
    "reindex": "reindex-not-concurrently",
    "add check": "check-validated-under-lock",
    "add foreign key": "foreign-key-validated-under-lock",
    "add unique": "unique-builds-index-under-lock",
    "add primary key": "unique-builds-index-under-lock",
    "add exclusion": "exclusion-constraint",
    "set not null": "set-not-null-scans",
    "attach partition": "attach-partition-scans",
    "detach partition": "detach-partition",
    "change storage": "storage-change-rewrites",
    "rewrite table": "vacuum-full-or-cluster",
    "refresh": "refresh-locks-view",
    "constrain domain": "domain-constraint-scans",
    "validate": "validate-in-same-transaction",
    **dict.fromkeys(("insert", "update", "delete", "merge", "copy"), "schema-and-data-mixed"),
}
# The same for what no text tells, by the commands that the server told of.
_BY_COMMAND = {
    "CREATE INDEX": "create-index-not-concurrently",
    "REINDEX": "reindex-not-concurrently",
    "REFRESH MATERIALIZED VIEW": "refresh-locks-view",
    "ALTER TABLE": "hidden-ddl",
}
# Rows go with these; what became of them, the receipts say.
_MEANT = frozenset({"truncate", "drop table", "drop column", "lock table"})


def of(statement: Statement, seen: Harm) -> str | None:
    """The id of the rule, None where what was seen is what the statement is for."""
    acts = deed.acts(statement)
    if any(act.verb in _MEANT for act in acts):
        return None
    for act in acts:
        if rule := _by_act(act, seen):
            return rule
    if deed.begins(statement) == ("ALTER", "DOMAIN"):
        return "domain-constraint-scans"
    for command in statement.commands:
        if rule := next((_BY_COMMAND[known] for known in _BY_COMMAND if command.startswith(f"{known} ")), None):
            return rule
    return "work-under-exclusive-lock" if seen.rewrites or _exclusive(seen) else "work-under-share-lock"


def of_type_change(seen: Harm) -> str:
    """The id of the rule that a change of type meets, by what became of the table."""
    if seen.rewrites:
        return "type-change-rewrites"
    if seen.rebuilds:
        return "type-change-rebuilds-indexes"
    return "type-change-rewrites" if seen.scans else "type-change-harmless"


def _by_act(act: Act, seen: Harm) -> str | None:
    match act.verb:
        case "change type":
            return of_type_change(seen)
        case "add column":
            return _added_column(act, seen)
        case "create table" if "partition" in act.traits:
            return "partition-beside-default"
        case "add primary key" if "using index" in act.traits:
            return "primary-key-sets-not-null"
    return _BY_VERB.get(act.verb)


def _added_column(act: Act, seen: Harm) -> str | None:
    """The rule by what was read or written for a new column: its default, its parent, its CHECK."""
    if seen.rewrites:
        return "volatile-default"
    if has(act.words, "REFERENCES"):
        return "foreign-key-locks-parent"
    return "check-validated-under-lock" if has(act.words, "CHECK") else None


def _exclusive(seen: Harm) -> bool:
    return any(scan.under == "ACCESS EXCLUSIVE" for scan in seen.scans)
