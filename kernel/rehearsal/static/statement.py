"""A statement's words read into acts.

What is not listed here does nothing that a rule asks about. Source of the forms: PostgreSQL documentation, "SQL
Commands".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel.rehearsal.static import alter, create, data
from kernel.rehearsal.static.act import Act
from kernel.rehearsal.static.words import STRING, Reader, has

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from kernel.rehearsal.static.words import Word


def acts(words: Sequence[Word]) -> Iterator[Act]:
    """What the statement does, in order; nothing for one that no rule is about."""
    reader = Reader(words)
    first = reader.key
    if read := _READERS.get(first):
        reader.at += 1
        yield from read(reader)
    elif first == "(":
        yield from data.query(words)


def _drop(reader: Reader) -> Iterator[Act]:
    begin = reader.begin_of_all
    if reader.take("OWNED"):
        yield Act(verb="drop schema", begin=begin, name="everything owned by a role")
        return
    kind = _kind(reader)
    traits = {"concurrently"} if reader.take("CONCURRENTLY") else set()
    if reader.take("IF", "EXISTS"):
        traits.add("if exists")
    if kind in ("trigger", "policy", "rule"):
        name = reader.name()
        reader.take("ON")
        yield Act(verb=f"drop {kind}", relation=reader.name(), name=name, begin=begin, traits=frozenset(traits))
        return
    verb = {"database": "drop schema", "foreign table": "drop table"}.get(kind, f"drop {kind}")
    for name in _dropped(reader):
        yield Act(verb=verb, relation=name, name=name, begin=begin, traits=frozenset(traits))


def _dropped(reader: Reader) -> Iterator[str]:
    """The names that a DROP lists; those of functions have their arguments behind them."""
    while name := reader.name():
        yield name
        reader.group()
        if reader.take("USING"):  # an operator class
            reader.name()
        if not reader.take(","):
            return


def _kind(reader: Reader) -> str:
    """What is altered or dropped, as "materialized view"."""
    first = reader.key
    reader.at += bool(first)
    second = {"MATERIALIZED": "VIEW", "FOREIGN": "TABLE", "EVENT": "TRIGGER"}.get(first, "")
    if second and reader.take(second):
        return f"{first} {second}".lower()
    return first.lower()


def _alter(reader: Reader) -> Iterator[Act]:
    begin = reader.begin_of_all
    kind = _kind(reader)
    if kind in ("table", "foreign table", "materialized view", "index", "view", "sequence"):
        yield from alter.relation(reader, kind, begin)
    elif kind in ("subscription", "server") or (kind == "user" and reader.sees("MAPPING")):
        yield Act(verb="reach out", name=kind, begin=begin)
    else:
        yield from alter.other(reader, kind, begin)


def _truncate(reader: Reader) -> Iterator[Act]:
    begin = reader.begin_of_all
    reader.take("TABLE")
    for name in reader.names():
        yield Act(verb="truncate", relation=name, begin=begin)


def _lock(reader: Reader) -> Iterator[Act]:
    begin = reader.begin_of_all
    reader.take("TABLE")
    names = reader.names()
    mode = " ".join(word.key for word in reader.until("MODE")[1:]) if reader.take("IN") or reader.key else ""
    for name in names:
        yield Act(verb="lock table", relation=name, begin=begin, other=mode)


def _reindex(reader: Reader) -> Iterator[Act]:
    begin = reader.begin_of_all
    concurrently = any(word.key == "CONCURRENTLY" for word in reader.words)
    reader.group()
    reader.take_any("INDEX", "TABLE", "SCHEMA", "DATABASE", "SYSTEM")
    reader.take("CONCURRENTLY")
    traits = frozenset({"concurrently"} if concurrently else ())
    yield Act(verb="reindex", relation=reader.name(), begin=begin, traits=traits)


def _vacuum(reader: Reader) -> Iterator[Act]:
    begin = reader.begin_of_all
    options = reader.group()
    if has(options, "FULL") or reader.take("FULL"):
        while reader.take_any("FREEZE", "VERBOSE", "ANALYZE"):
            pass
        yield Act(verb="rewrite table", relation=reader.name(), begin=begin, name="VACUUM FULL")


def _cluster(reader: Reader) -> Iterator[Act]:
    begin = reader.begin_of_all
    reader.group()
    reader.take("VERBOSE")
    yield Act(verb="rewrite table", relation=reader.name(), begin=begin, name="CLUSTER")


def _refresh(reader: Reader) -> Iterator[Act]:
    begin = reader.begin_of_all
    reader.take("MATERIALIZED", "VIEW")
    concurrently = {"concurrently"} if reader.take("CONCURRENTLY") else set()
    relation = reader.name()
    no_data = {"no data"} if has(reader.rest(), "NO", "DATA") else set()
    yield Act(verb="refresh", relation=relation, begin=begin, traits=frozenset(concurrently | no_data))


def _revoke(reader: Reader) -> Iterator[Act]:
    begin = reader.begin_of_all
    reader.until("ON")
    if reader.take("ON"):
        kind = reader.take_any("TABLE", "SEQUENCE", "FUNCTION", "SCHEMA", "DATABASE", "TYPE", "ALL", "PROCEDURE")
        if kind == "ALL":
            reader.until("SCHEMA")
            reader.take("SCHEMA")
        for name in reader.names():
            yield Act(verb="revoke", relation=name, name=kind.lower(), begin=begin)


def _reassign(reader: Reader) -> Iterator[Act]:
    yield Act(verb="change owner", begin=reader.begin_of_all, name="everything owned by a role")


def _do(reader: Reader) -> Iterator[Act]:
    bodies = tuple(word for word in reader.rest() if word.key == STRING)
    yield Act(verb="do", begin=reader.begin_of_all, words=bodies)


def _set(reader: Reader) -> Iterator[Act]:
    begin = reader.begin_of_all
    reader.take_any("SESSION", "LOCAL")
    name = reader.name()
    reader.take_any("=", "TO")
    value = "".join(word.text for word in reader.rest())
    yield Act(verb="set", name=name, other=value, begin=begin)


def _import(reader: Reader) -> Iterator[Act]:
    yield Act(verb="reach out", name="import foreign schema", begin=reader.begin_of_all)


_READERS: dict[str, Callable[[Reader], Iterator[Act]]] = {
    "CREATE": create.acts,
    "DROP": _drop,
    "ALTER": _alter,
    "TRUNCATE": _truncate,
    "LOCK": _lock,
    "REINDEX": _reindex,
    "VACUUM": _vacuum,
    "CLUSTER": _cluster,
    "REFRESH": _refresh,
    "REVOKE": _revoke,
    "REASSIGN": _reassign,
    "DO": _do,
    "SET": _set,
    "IMPORT": _import,
    "INSERT": data.insert,
    "UPDATE": data.update,
    "DELETE": data.delete,
    "MERGE": data.merge,
    "COPY": data.copy,
    "SELECT": lambda reader: data.query(reader.words),
    "PERFORM": lambda reader: data.query(reader.words),
    "WITH": lambda reader: data.query(reader.words),
    "CALL": lambda reader: data.query(reader.words, verb="call"),
}
# The first words of all that the rules are about, to find statements inside of bodies by.
COMMANDS = frozenset(_READERS)
# Of these, the ones that change the schema.
SCHEMA_CHANGES = frozenset({"CREATE", "DROP", "ALTER", "TRUNCATE", "REINDEX", "CLUSTER", "REFRESH", "VACUUM"})
