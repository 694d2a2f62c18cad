"""The acts of CREATE: of a table one for itself, and one for each column and constraint."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel.rehearsal.static import columns, data
from kernel.rehearsal.static.act import Act
from kernel.rehearsal.static.words import STRING, Reader, has, split

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# Extensions made to reach other servers, files or programs.
_REACHING = frozenset({"dblink", "postgres_fdw", "file_fdw", "pg_cron", "http", "pg_net", "plpython3u", "plperlu"})
_ADJECTIVES = ("GLOBAL", "LOCAL", "TEMP", "TEMPORARY", "UNLOGGED", "RECURSIVE", "UNIQUE", "CONSTRAINT", "TRUSTED")
_TEMPORARY = frozenset({"TEMP", "TEMPORARY"})


def acts(reader: Reader) -> Iterator[Act]:
    """What CREATE makes; the reader stands behind that word."""
    traits = {"or replace"} if reader.take("OR", "REPLACE") else set()
    while found := reader.take_any(*_ADJECTIVES):
        if found in _TEMPORARY:
            traits.add("temporary")
    kind = reader.take_any(*_KINDS)
    if kind:
        yield from _KINDS[kind](reader, traits)


def _if_not_exists(reader: Reader) -> set[str]:
    return {"if not exists"} if reader.take("IF", "NOT", "EXISTS") else set()


def _table(reader: Reader, traits: set[str]) -> Iterator[Act]:
    traits |= _if_not_exists(reader)
    relation, other = reader.name(), ""
    if reader.take("PARTITION", "OF"):
        other = reader.name()
        traits.add("partition")
    items = split(reader.group())
    rest = reader.rest()
    if other and rest[:1] and rest[0].key == "DEFAULT":
        traits.add("default partition")
    begin = reader.begin_of_all
    yield Act(verb="create table", relation=relation, other=other, begin=begin, traits=frozenset(traits), words=rest)
    for item in items:
        inner = Reader(item)
        if inner.key in columns.CONSTRAINTS:
            yield from columns.constraint(relation, item, new=True)
        elif inner.key not in ("LIKE", ""):
            yield _column(inner, relation)
    query = Reader(rest)
    query.until("AS")
    if query.take("AS") and not has(rest, "NO", "DATA"):
        yield from data.query(query.rest(), verb="fill")


def _column(item: Reader, relation: str) -> Act:
    begin, name = item.begin, item.name()
    traits = frozenset({"new table"})
    return Act(verb="new column", relation=relation, begin=begin, name=name, words=item.rest(), traits=traits)


def _index(reader: Reader, _traits: set[str]) -> Iterator[Act]:
    traits = {"concurrently"} if reader.take("CONCURRENTLY") else set()
    traits |= _if_not_exists(reader)
    name = "" if reader.key == "ON" else reader.name()
    reader.take("ON")
    if reader.take("ONLY"):
        traits.add("only")
    relation = reader.name()
    if reader.take("USING"):
        reader.name()
    keys = columns.names(reader.group())
    yield Act(
        verb="create index",
        relation=relation,
        name=name,
        begin=reader.begin_of_all,
        traits=frozenset(traits),
        # A partial index serves no foreign key.
        columns=() if has(reader.rest(), "WHERE") else keys,
    )


def _materialized_view(reader: Reader, traits: set[str]) -> Iterator[Act]:
    reader.take("VIEW")
    traits |= _if_not_exists(reader)
    relation, query = reader.name(), reader.rest()
    begin = reader.begin_of_all
    yield Act(verb="create materialized view", relation=relation, begin=begin, traits=frozenset(traits), words=query)
    if not has(query, "NO", "DATA"):
        yield from data.query(query, verb="fill")


def _on_a_table(verb: str, before: str) -> Callable[[Reader, set[str]], Iterator[Act]]:
    """What belongs to a table, which stands behind the word `before`."""

    def read(reader: Reader, traits: set[str]) -> Iterator[Act]:
        name = reader.name()
        reader.until(before)
        reader.take(before)
        relation, begin = reader.name(), reader.begin_of_all
        yield Act(verb=verb, relation=relation, name=name, begin=begin, traits=frozenset(traits))

    return read


def _routine(reader: Reader, traits: set[str]) -> Iterator[Act]:
    name = reader.name()
    bodies = tuple(word for word in reader.rest() if word.key == STRING)
    begin = reader.begin_of_all
    yield Act(verb="create function", name=name, begin=begin, traits=frozenset(traits), words=bodies)


def _type(reader: Reader, _traits: set[str]) -> Iterator[Act]:
    yield Act(verb="create type", name=reader.name(), begin=reader.begin_of_all)


def _extension(reader: Reader, traits: set[str]) -> Iterator[Act]:
    traits |= _if_not_exists(reader)
    name = reader.name()
    verb = "reach out" if name in _REACHING else "create extension"
    yield Act(verb=verb, name=name, begin=reader.begin_of_all, traits=frozenset(traits))


def _foreign(reader: Reader, _traits: set[str]) -> Iterator[Act]:
    words = " ".join(word.text for word in reader.words[1:3])
    yield Act(verb="reach out", name=words, begin=reader.begin_of_all)


def _plain(verb: str) -> Callable[[Reader, set[str]], Iterator[Act]]:
    def read(reader: Reader, traits: set[str]) -> Iterator[Act]:
        traits |= _if_not_exists(reader)
        yield Act(verb=verb, relation=reader.name(), begin=reader.begin_of_all, traits=frozenset(traits))

    return read


_KINDS: dict[str, Callable[[Reader, set[str]], Iterator[Act]]] = {
    "TABLE": _table,
    "INDEX": _index,
    "MATERIALIZED": _materialized_view,
    "TRIGGER": _on_a_table("create trigger", "ON"),
    "POLICY": _on_a_table("create policy", "ON"),
    "RULE": _on_a_table("create rule", "TO"),
    "FUNCTION": _routine,
    "PROCEDURE": _routine,
    "TYPE": _type,
    "DOMAIN": _type,
    "EXTENSION": _extension,
    "FOREIGN": _foreign,
    "SERVER": _foreign,
    "SUBSCRIPTION": _foreign,
    "USER": lambda reader, traits: _foreign(reader, traits) if reader.key == "MAPPING" else iter(()),
    "SCHEMA": _plain("create schema"),
    "SEQUENCE": _plain("create sequence"),
    "VIEW": _plain("create view"),
}
