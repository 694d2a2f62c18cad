"""The table locks that files take, as far as their text shows: for each relation the strongest mode, and where.

What functions and triggers lock is known only when they run.
Source: PostgreSQL documentation, "Explicit Locking", and the notes on locks of each command.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kernel.lint.action import Action, read_column_definition
from kernel.lint.actions import read_actions, read_inner_statements
from kernel.lint.lock_modes import LOCK_MODE_STRENGTH
from kernel.lint.state import LOCK_MODE_BY_VERB
from kernel.sql.plpgsql import UNKNOWN_NAME
from kernel.sql.reader import WordReader, contains_words

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kernel.lint.source import SourceFile
    from kernel.sql.reader import Word

_EXCLUSIVE, _SHARE_ROW, _SHARE_UPDATE = "ACCESS EXCLUSIVE", "SHARE ROW EXCLUSIVE", "SHARE UPDATE EXCLUSIVE"
# The verbs of which no rule of the linter needs the mode.
_OTHER_MODE_BY_VERB = {
    **dict.fromkeys(("insert", "update", "delete", "merge", "copy"), "ROW EXCLUSIVE"),
    **dict.fromkeys(("drop index", "drop view", "drop materialized view", "drop sequence"), _EXCLUSIVE),
    **dict.fromkeys(("detach partition", "change owner", "rename object", "refresh", "alter view"), _EXCLUSIVE),
    "reindex": "SHARE",
    "alter index": _SHARE_UPDATE,
    "validate": _SHARE_UPDATE,
    "select": "ACCESS SHARE",
}
_EXCLUSIVE_INDEX_FORMS = (("SET", "TABLESPACE"), ("DEPENDS", "ON"))
# Objects of other kinds, such as functions, can have the name of a table.
_RELATION_KINDS = ("table", "view", "materialized view", "sequence")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectedLock:
    """A lock that the statement at `filename`:`line` takes on `relation`, a name with or without its schema.

    `related_mode`: the mode on the table of `relation` when that is an index, else on its indexes; "" for none.
    `concurrently`: the statement also waits for every transaction that is older than it.
    `drops`: it locks the tables that foreign keys connect with this one as well.
    """

    relation: str
    mode: str
    filename: str
    line: int
    related_mode: str = ""
    concurrently: bool = False
    drops: bool = False


def expected_locks(sources: Sequence[SourceFile]) -> tuple[ExpectedLock, ...]:
    """The strongest lock on each relation that the files use, the first of equal ones, by name.

    A relation is there twice when a statement with a `related_mode` and one without use it.
    """
    strongest: dict[tuple[str, bool], ExpectedLock] = {}
    for lock in (lock for source in sources for lock in _file_locks(source)):
        key = (lock.relation, bool(lock.related_mode))
        known = strongest.get(key)
        if known is None or _rank(lock) > _rank(known):
            strongest[key] = lock
    return tuple(strongest[key] for key in sorted(strongest))


def _rank(lock: ExpectedLock) -> tuple[int, int, bool, bool]:
    related_strength = LOCK_MODE_STRENGTH.get(lock.related_mode, -1)
    return LOCK_MODE_STRENGTH[lock.mode], related_strength, lock.drops, lock.concurrently


def _file_locks(source: SourceFile) -> Iterator[ExpectedLock]:
    for statement in source.statements:
        for action in _actions_with_blocks(statement.words):
            for relation, mode, related_mode in _relations_and_modes(action):
                if relation and UNKNOWN_NAME not in relation:
                    yield ExpectedLock(
                        relation=relation,
                        mode=mode,
                        filename=source.migration.filename,
                        line=statement.part.line + statement.part.sql[: action.begin].count(b"\n"),
                        related_mode=related_mode,
                        concurrently="concurrently" in action.traits and action.verb != "refresh",
                        drops=action.verb == "drop table",
                    )


def _actions_with_blocks(words: Sequence[Word]) -> Iterator[Action]:
    """The actions of a statement, and those in the bodies of DO."""
    for action in _statement_actions(words):
        yield action
        if action.verb == "do":
            for body in action.words:
                for inner in read_inner_statements(body):
                    yield from _statement_actions(inner.words)


def _statement_actions(words: Sequence[Word]) -> Iterator[Action]:
    """The actions that the linter reads, and one for ALTER VIEW or INDEX, of which it reads some forms only."""
    reader = WordReader(words)
    kind = reader.take_any("VIEW", "INDEX").lower() if reader.take("ALTER") else ""
    if not kind or reader.next_is("ALL", "IN", "TABLESPACE"):
        yield from read_actions(words)
        return
    reader.take("IF", "EXISTS")
    name = reader.take_name()
    other = reader.take_name() if kind == "index" and reader.take("ATTACH", "PARTITION") else ""
    yield Action(verb=f"alter {kind}", relation=name, begin=reader.first_begin, other=other, words=reader.take_rest())


def _relations_and_modes(action: Action) -> Iterator[tuple[str, str, str]]:
    """Each relation with the mode on it and the mode on its table or its indexes, "" for none."""
    if "temporary" in action.traits:
        return
    yield from ((relation, mode, "") for relation, mode in _other_relations(action))
    if action.verb == "lock table":
        yield action.relation, action.other if action.other in LOCK_MODE_STRENGTH else _EXCLUSIVE, ""
    elif mode := _action_mode(action):
        if "concurrently" in action.traits:
            mode = "EXCLUSIVE" if action.verb == "refresh" else _SHARE_UPDATE
        yield from _with_related_mode(action, mode)


def _action_mode(action: Action) -> str:
    """The mode of an action on its relation without CONCURRENTLY, "" for none."""
    verb = action.verb
    if verb in ("rename object", "change owner") and not action.name.startswith(_RELATION_KINDS):
        return ""
    if verb == "create view":
        return _EXCLUSIVE if "or replace" in action.traits else ""
    if verb == "alter index" and any(contains_words(action.words, *form) for form in _EXCLUSIVE_INDEX_FORMS):
        return _EXCLUSIVE
    return LOCK_MODE_BY_VERB.get(verb) or _OTHER_MODE_BY_VERB.get(verb, "")


def _with_related_mode(action: Action, mode: str) -> Iterator[tuple[str, str, str]]:
    if action.verb == "drop index":
        yield action.relation, mode, mode
    elif action.verb != "reindex":
        yield action.relation, mode, ""
    elif action.name in ("index", "table"):
        index_mode = mode if "concurrently" in action.traits else _EXCLUSIVE
        yield (action.relation, index_mode, mode) if action.name == "index" else (action.relation, mode, index_mode)


def _other_relations(action: Action) -> Iterator[tuple[str, str]]:
    """The second relation of an action: the parent of a foreign key or of a partition, an index that is attached."""
    if action.verb == "add foreign key":
        yield action.other, _SHARE_ROW
    elif action.verb in ("add column", "new column"):
        yield read_column_definition(action.words).parent_table, _SHARE_ROW
    elif action.verb == "attach partition":
        yield action.other, _SHARE_UPDATE
    elif action.verb == "alter index":
        yield action.other, _EXCLUSIVE  # ATTACH PARTITION
    elif action.verb == "detach partition" or (action.verb == "create table" and "partition" in action.traits):
        yield action.other, _EXCLUSIVE
