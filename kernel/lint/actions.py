"""Read statements into actions, including the statements in bodies of DO and functions.

A statement that is not listed here has no action that a rule is about.
Source: PostgreSQL documentation, "SQL Commands".
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from kernel.lint.action import Action
from kernel.lint.actions_ddl import read_alter_object, read_alter_relation, read_create
from kernel.lint.actions_dml import read_change, read_copy, read_insert, read_merge, read_query
from kernel.sql.plpgsql import STATEMENT_STARTS_AFTER, executed_text
from kernel.sql.reader import STRING_KEY, Word, WordReader, contains_words, read_words

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence


def read_actions(words: Sequence[Word]) -> Iterator[Action]:
    """The actions of a statement in their order; none for a statement that no rule is about."""
    reader = WordReader(words)
    if read := _READERS.get(reader.key):
        reader.index += 1
        for action in read(reader):
            yield action if action.begin else replace(action, begin=reader.first_begin)
    elif reader.key == "(":
        yield from read_query(words)


def _drop(reader: WordReader) -> Iterator[Action]:
    if reader.take("OWNED"):
        yield Action(verb="drop schema", name="everything owned by a role")
        return
    kind = _object_kind(reader)
    traits = {"concurrently"} if reader.take("CONCURRENTLY") else set()
    if reader.take("IF", "EXISTS"):
        traits.add("if exists")
    if kind in ("trigger", "policy", "rule"):
        name = reader.take_name()
        reader.take("ON")
        yield Action(verb=f"drop {kind}", relation=reader.take_name(), name=name, traits=traits)
        return
    verb = {"database": "drop schema", "foreign table": "drop table"}.get(kind, f"drop {kind}")
    for name in _dropped_names(reader):
        yield Action(verb=verb, relation=name, name=name, traits=traits)


def _dropped_names(reader: WordReader) -> Iterator[str]:
    """The names that a DROP lists; the arguments of functions are skipped."""
    while name := reader.take_name():
        yield name
        reader.take_group()
        if reader.take("USING"):  # an operator class
            reader.take_name()
        if not reader.take(","):
            return


def _object_kind(reader: WordReader) -> str:
    """The kind of object that is altered or dropped, such as "materialized view"."""
    first = reader.key
    reader.index += bool(first)
    second = {"MATERIALIZED": "VIEW", "FOREIGN": "TABLE", "EVENT": "TRIGGER"}.get(first, "")
    if second and reader.take(second):
        return f"{first} {second}".lower()
    return first.lower()


def _alter(reader: WordReader) -> Iterator[Action]:
    kind = _object_kind(reader)
    if kind in ("table", "foreign table", "materialized view", "index", "view", "sequence"):
        yield from read_alter_relation(reader, kind)
    elif kind in ("subscription", "server") or (kind == "user" and reader.next_is("MAPPING")):
        yield Action(verb="reach out", name=kind)
    else:
        yield from read_alter_object(reader, kind)


def _truncate(reader: WordReader) -> Iterator[Action]:
    reader.take("TABLE")
    for name in reader.take_names():
        yield Action(verb="truncate", relation=name)


def _lock_table(reader: WordReader) -> Iterator[Action]:
    reader.take("TABLE")
    names = reader.take_names()
    mode = " ".join(word.key for word in reader.take_until("MODE")) if reader.take("IN") else "ACCESS EXCLUSIVE"
    for name in names:
        yield Action(verb="lock table", relation=name, other=mode)


def _reindex(reader: WordReader) -> Iterator[Action]:
    concurrently = reader.take_options().get("CONCURRENTLY", False)
    kind = reader.take_any("INDEX", "TABLE", "SCHEMA", "DATABASE", "SYSTEM").lower()
    traits = {"concurrently"} if reader.take("CONCURRENTLY") or concurrently else set()
    yield Action(verb="reindex", relation=reader.take_name(), name=kind, traits=traits)


def _vacuum(reader: WordReader) -> Iterator[Action]:
    if reader.take_options().get("FULL") or reader.take("FULL"):
        while reader.take_any("FREEZE", "VERBOSE", "ANALYZE"):
            pass
        yield Action(verb="rewrite table", relation=reader.take_name(), name="VACUUM FULL")


def _cluster(reader: WordReader) -> Iterator[Action]:
    reader.take_group()
    reader.take("VERBOSE")
    yield Action(verb="rewrite table", relation=reader.take_name(), name="CLUSTER")


def _refresh(reader: WordReader) -> Iterator[Action]:
    reader.take("MATERIALIZED", "VIEW")
    concurrently = {"concurrently"} if reader.take("CONCURRENTLY") else set()
    relation = reader.take_name()
    no_data = {"no data"} if contains_words(reader.take_rest(), "NO", "DATA") else set()
    yield Action(verb="refresh", relation=relation, traits=concurrently | no_data)


def _revoke(reader: WordReader) -> Iterator[Action]:
    reader.take_until("ON")
    if reader.take("ON"):
        kind = reader.take_any("TABLE", "SEQUENCE", "FUNCTION", "SCHEMA", "DATABASE", "TYPE", "ALL", "PROCEDURE")
        if kind == "ALL":
            reader.take_until("SCHEMA")
            reader.take("SCHEMA")
        for name in reader.take_names():
            yield Action(verb="revoke", relation=name, name=kind.lower())


def _reassign(_reader: WordReader) -> Iterator[Action]:
    yield Action(verb="change owner", name="everything owned by a role")


def _do(reader: WordReader) -> Iterator[Action]:
    bodies = tuple(word for word in reader.take_rest() if word.key == STRING_KEY)
    yield Action(verb="do", words=bodies)


def _set(reader: WordReader) -> Iterator[Action]:
    reader.take_any("SESSION", "LOCAL")
    name = reader.take_name()
    reader.take_any("=", "TO")
    value = "".join(word.text for word in reader.take_rest())
    yield Action(verb="set", name=name, other=value)


def _explain(reader: WordReader) -> Iterator[Action]:
    """EXPLAIN runs its statement with ANALYZE only."""
    if reader.take_options().get("ANALYZE") or reader.take("ANALYZE"):
        reader.take("VERBOSE")
        yield from read_actions(reader.take_rest())


def _import(_reader: WordReader) -> Iterator[Action]:
    yield Action(verb="reach out", name="import foreign schema")


_READERS: dict[str, Callable[[WordReader], Iterator[Action]]] = {
    "CREATE": read_create,
    "DROP": _drop,
    "ALTER": _alter,
    "TRUNCATE": _truncate,
    "LOCK": _lock_table,
    "REINDEX": _reindex,
    "VACUUM": _vacuum,
    "CLUSTER": _cluster,
    "REFRESH": _refresh,
    "REVOKE": _revoke,
    "REASSIGN": _reassign,
    "DO": _do,
    "SET": _set,
    "IMPORT": _import,
    "EXPLAIN": _explain,
    "INSERT": read_insert,
    "UPDATE": read_change,
    "DELETE": read_change,
    "MERGE": read_merge,
    "COPY": read_copy,
    "SELECT": lambda reader: read_query(reader.words),
    "PERFORM": lambda reader: read_query(reader.words),
    "WITH": lambda reader: read_query(reader.words),
    "CALL": lambda reader: read_query(reader.words, verb="call"),
}
# The first words of these statements, by which statements in bodies are recognised.
KNOWN_COMMANDS = frozenset(_READERS)
# Of these, those that change the schema.
SCHEMA_COMMANDS = frozenset({"CREATE", "DROP", "ALTER", "TRUNCATE", "REINDEX", "CLUSTER", "REFRESH", "VACUUM"})


@dataclass(frozen=True, slots=True, kw_only=True)
class InnerStatement:
    """A statement of a body. `execute_begin` is where its EXECUTE begins, None without EXECUTE.

    A statement that EXECUTE takes from a variable has no words.
    """

    words: tuple[Word, ...]
    execute_begin: int | None = None

    @property
    def changes_schema(self) -> bool:
        """Whether it is DDL. TRUNCATE does not count, since functions may well use it."""
        return bool(self.words) and self.words[0].key in SCHEMA_COMMANDS - {"TRUNCATE"}


def read_inner_statements(body: Word) -> Iterator[InnerStatement]:
    """The statements of a body, a string of PL/pgSQL or SQL, that the rules are about."""
    reader = WordReader(read_words(body.text.encode(), body.inner))
    is_start = True
    while reader.key:
        if is_start and reader.key in KNOWN_COMMANDS:
            yield InnerStatement(words=reader.take_until(";"))
        elif is_start and reader.key == "EXECUTE":
            begin = reader.begin
            yield from _executed_statements(reader.take_until(";")[1:], begin)
        else:
            is_start = reader.key in STATEMENT_STARTS_AFTER
            reader.index += 1


def _executed_statements(expression: Sequence[Word], begin: int) -> Iterator[InnerStatement]:
    """The statements in the strings of EXECUTE, with UNKNOWN_NAME for each part that is not a string."""
    text = executed_text(expression)
    if text is None:
        yield InnerStatement(words=(), execute_begin=begin)
        return
    whole = WordReader(read_words(text.encode()))
    while whole.key:
        if found := whole.take_until(";"):
            yield InnerStatement(words=tuple(word._replace(begin=begin) for word in found), execute_begin=begin)
        whole.take(";")
