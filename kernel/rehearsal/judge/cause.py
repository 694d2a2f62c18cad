"""Which rule a statement meets that was seen to read or rewrite a table under a lock, judged by what it does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel.rehearsal.static import statement as acts
from kernel.rehearsal.static import words

if TYPE_CHECKING:
    from kernel.rehearsal.judge.harm import Harm
    from kernel.rehearsal.result import Statement

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
}
# Rows go with these; what became of them, the receipts say.
_MEANT = ("truncate", "drop table", "drop column", "validate", "lock table")


def of(statement: Statement, seen: Harm) -> str | None:
    """The id of the rule, None where what was seen is what the statement is for."""
    verbs = [act.verb for act in acts.acts(words.of(statement.sql.encode()))]
    if any(verb in _MEANT for verb in verbs):
        return None
    if "change type" in verbs:
        return "type-change-rewrites" if seen.rewrites or seen.scans else "type-change-rebuilds-indexes"
    if "add column" in verbs and seen.rewrites:
        return "volatile-default"
    if "create table" in verbs:
        return "partition-beside-default"
    for verb in verbs:
        if rule := _BY_VERB.get(verb):
            return rule
    return "work-under-exclusive-lock" if seen.rewrites or _exclusive(seen) else "work-under-share-lock"


def _exclusive(seen: Harm) -> bool:
    return any(lock.mode == "ACCESS EXCLUSIVE" for lock in seen.locks)
