"""Read CREATE and ALTER into actions: one for a new table and one for each column and constraint of it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from kernel.lint.action import CONSTRAINT_KEYWORDS, Action, read_constraint, read_key_columns
from kernel.lint.actions_dml import read_query
from kernel.sql.reader import STRING_KEY, WordReader, contains_words, split_at_commas

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from kernel.sql.reader import Word


# Extensions that reach other servers, files or programs.
_EGRESS_EXTENSIONS = frozenset(
    {"dblink", "postgres_fdw", "file_fdw", "pg_cron", "http", "pg_net", "plpython3u", "plperlu"}
)
_ADJECTIVES = ("GLOBAL", "LOCAL", "TEMP", "TEMPORARY", "UNLOGGED", "RECURSIVE", "UNIQUE", "CONSTRAINT", "TRUSTED")
_TEMPORARY = frozenset({"TEMP", "TEMPORARY"})


def read_create(reader: WordReader) -> Iterator[Action]:
    """Read what CREATE creates; the reader is after that word."""
    traits = {"or replace"} if reader.take("OR", "REPLACE") else set()
    while found := reader.take_any(*_ADJECTIVES):
        if found in _TEMPORARY:
            traits.add("temporary")
    kind = reader.take_any(*_CREATE_READERS)
    if kind:
        yield from _CREATE_READERS[kind](reader, traits)


def _if_not_exists(reader: WordReader) -> set[str]:
    return {"if not exists"} if reader.take("IF", "NOT", "EXISTS") else set()


def _create_table(reader: WordReader, traits: set[str]) -> Iterator[Action]:
    traits |= _if_not_exists(reader)
    relation, other = reader.take_name(), ""
    if reader.take("PARTITION", "OF"):
        other = reader.take_name()
        traits.add("partition")
    items = split_at_commas(reader.take_group())
    rest = reader.take_rest()
    if other and rest[:1] and rest[0].key == "DEFAULT":
        traits.add("default partition")
    yield Action(verb="create table", relation=relation, other=other, traits=traits, words=rest)
    for item in items:
        inner = WordReader(item)
        if inner.key in CONSTRAINT_KEYWORDS:
            yield from read_constraint(relation, item, new=True)
        elif inner.key not in ("LIKE", ""):
            yield _new_column(inner, relation)
    query = WordReader(rest)
    query.take_until("AS")
    if query.take("AS") and not contains_words(rest, "NO", "DATA"):
        yield from read_query(query.take_rest(), verb="fill")


def _new_column(item: WordReader, relation: str) -> Action:
    begin, name = item.begin, item.take_name()
    traits = {"new table"}
    return Action(verb="new column", relation=relation, begin=begin, name=name, words=item.take_rest(), traits=traits)


def _create_index(reader: WordReader, _traits: set[str]) -> Iterator[Action]:
    traits = {"concurrently"} if reader.take("CONCURRENTLY") else set()
    traits |= _if_not_exists(reader)
    name = "" if reader.key == "ON" else reader.take_name()
    reader.take("ON")
    if reader.take("ONLY"):
        traits.add("only")
    relation = reader.take_name()
    if reader.take("USING"):
        reader.take_name()
    keys = read_key_columns(reader.take_group())
    yield Action(
        verb="create index",
        relation=relation,
        name=name,
        traits=traits,
        # A partial index serves no foreign key.
        columns=() if contains_words(reader.take_rest(), "WHERE") else keys,
    )


def _create_materialized_view(reader: WordReader, traits: set[str]) -> Iterator[Action]:
    reader.take("VIEW")
    traits |= _if_not_exists(reader)
    relation, query = reader.take_name(), reader.take_rest()
    yield Action(verb="create materialized view", relation=relation, traits=traits, words=query)
    if not contains_words(query, "NO", "DATA"):
        yield from read_query(query, verb="fill")


def _create_on_table(verb: str, before: str) -> Callable[[WordReader, set[str]], Iterator[Action]]:
    """A reader of what belongs to a table, whose name follows the word `before`."""

    def read(reader: WordReader, traits: set[str]) -> Iterator[Action]:
        name = reader.take_name()
        reader.take_until(before)
        reader.take(before)
        relation = reader.take_name()
        yield Action(verb=verb, relation=relation, name=name, traits=traits)

    return read


def _create_routine(reader: WordReader, traits: set[str]) -> Iterator[Action]:
    name = reader.take_name()
    bodies = tuple(word for word in reader.take_rest() if word.key == STRING_KEY)
    yield Action(verb="create function", name=name, traits=traits, words=bodies)


def _create_named(verb: str) -> Callable[[WordReader, set[str]], Iterator[Action]]:
    """A reader of what has a name of its own."""

    def read(reader: WordReader, traits: set[str]) -> Iterator[Action]:
        traits |= _if_not_exists(reader)
        yield Action(verb=verb, name=reader.take_name(), traits=traits)

    return read


def _create_extension(reader: WordReader, traits: set[str]) -> Iterator[Action]:
    traits |= _if_not_exists(reader)
    name = reader.take_name()
    verb = "reach out" if name in _EGRESS_EXTENSIONS else "create extension"
    yield Action(verb=verb, name=name, traits=traits)


def _create_foreign(reader: WordReader, _traits: set[str]) -> Iterator[Action]:
    words = " ".join(word.text for word in reader.words[1:3])
    yield Action(verb="reach out", name=words)


def _create_relation(verb: str) -> Callable[[WordReader, set[str]], Iterator[Action]]:
    def read(reader: WordReader, traits: set[str]) -> Iterator[Action]:
        traits |= _if_not_exists(reader)
        yield Action(verb=verb, relation=reader.take_name(), traits=traits)

    return read


_CREATE_READERS: dict[str, Callable[[WordReader, set[str]], Iterator[Action]]] = {
    "TABLE": _create_table,
    "INDEX": _create_index,
    "MATERIALIZED": _create_materialized_view,
    "TRIGGER": _create_on_table("create trigger", "ON"),
    "POLICY": _create_on_table("create policy", "ON"),
    "RULE": _create_on_table("create rule", "TO"),
    "FUNCTION": _create_routine,
    "PROCEDURE": _create_routine,
    "TYPE": _create_named("create type"),
    "DOMAIN": _create_named("create domain"),
    "ROLE": _create_named("create role"),
    "GROUP": _create_named("create role"),
    "PUBLICATION": _create_named("create publication"),
    "STATISTICS": _create_named("create statistics"),
    "COLLATION": _create_named("create collation"),
    "EXTENSION": _create_extension,
    "FOREIGN": _create_foreign,
    "SERVER": _create_foreign,
    "SUBSCRIPTION": _create_foreign,
    "USER": lambda reader, traits: (_create_foreign if reader.key == "MAPPING" else _create_named("create role"))(
        reader, traits
    ),
    "SCHEMA": _create_relation("create schema"),
    "SEQUENCE": _create_relation("create sequence"),
    "VIEW": _create_relation("create view"),
}


def read_alter_relation(reader: WordReader, kind: str) -> Iterator[Action]:
    """Read ALTER TABLE, INDEX, VIEW, MATERIALIZED VIEW or SEQUENCE; the reader is after these words."""
    if reader.take("ALL", "IN", "TABLESPACE"):
        yield Action(verb="change storage", name=f"every {kind} of a tablespace")
        return
    traits = {"if exists"} if reader.take("IF", "EXISTS") else set()
    reader.take("ONLY")
    name = reader.take_name()
    reader.take("*")
    begin = 0  # that of the statement
    while reader.key not in ("", ";"):
        for action in _alter_relation_action(WordReader(reader.take_until(",", ";")), name, kind):
            renamed = action.verb in ("rename table", "rename index", "rename object")
            yield replace(action, begin=begin, traits=traits if renamed else action.traits)
        reader.take(",")
        begin = reader.begin


def _alter_relation_action(action: WordReader, name: str, kind: str) -> Iterator[Action]:
    if kind in ("table", "foreign table"):
        yield from _alter_table_action(action, name)
    elif action.take("SET", "TABLESPACE") or (kind != "index" and action.take("SET", "ACCESS", "METHOD")):
        yield Action(verb="change storage", relation=name, name="SET TABLESPACE")
    elif kind != "index":
        yield from _alter_any(action, name, kind)
    elif action.key == "RENAME":
        yield Action(verb="rename index", relation=name)


def read_alter_object(reader: WordReader, kind: str) -> Iterator[Action]:
    """Read ALTER of objects that are not relations: TYPE, DOMAIN, FUNCTION, SCHEMA, EXTENSION, POLICY and so on."""
    reader.take("IF", "EXISTS")
    name = reader.take_name()
    reader.take_group()  # the arguments of a function
    if kind in ("policy", "trigger", "rule") and reader.take("ON"):
        verb = "rename trigger" if kind == "trigger" else f"alter {kind}"
        yield Action(verb=verb, relation=reader.take_name(), name=name)
    elif kind == "extension":
        if reader.key == "UPDATE":
            yield Action(verb="alter extension", name=name)
    elif kind == "domain" and reader.take("ADD"):
        valid = contains_words(reader.take_rest(), "NOT", "VALID")
        yield Action(verb="constrain domain", name=name, traits={"not valid"} if valid else set())
    elif kind == "domain" and reader.take("SET", "NOT", "NULL"):
        yield Action(verb="constrain domain", name=name)
    elif kind == "type" and reader.take("ADD", "VALUE"):
        traits = _if_not_exists(reader)
        value = reader.words[reader.index].text if reader.key else ""
        yield Action(verb="add enum value", name=name, other=value, traits=traits)
    elif kind in ("type", "domain", "schema", "function", "procedure", "routine", "aggregate", "database"):
        yield from _alter_any(reader, name, kind)


def _alter_any(action: WordReader, name: str, kind: str) -> Iterator[Action]:
    if action.take("RENAME", "CONSTRAINT"):
        return
    if action.key == "RENAME" or action.next_is("SET", "SCHEMA"):
        yield Action(verb="rename object", relation=name, name=f"{kind} {name}")
    elif action.take("OWNER", "TO"):
        yield Action(verb="change owner", relation=name, name=f"{kind} {name}")


def _alter_table_action(action: WordReader, table: str) -> Iterator[Action]:  # noqa: C901, PLR0912 - one branch for each action
    if action.take("ADD"):
        if action.key in CONSTRAINT_KEYWORDS or action.next_is("NOT", "NULL"):
            yield from read_constraint(table, action.take_rest(), new=False)
        else:
            yield _add_column(action, table)
    elif action.take("ALTER"):
        action.take("COLUMN")
        yield from _alter_column(action, table)
    elif action.take("DROP"):
        if action.take("CONSTRAINT"):
            traits = {"if exists"} if action.take("IF", "EXISTS") else set()
            yield Action(verb="drop constraint", relation=table, name=action.take_name(), traits=traits)
        elif action.key != "EXPRESSION":
            action.take("COLUMN")
            traits = {"if exists"} if action.take("IF", "EXISTS") else set()
            yield Action(verb="drop column", relation=table, name=action.take_name(), traits=traits)
    elif action.take("VALIDATE", "CONSTRAINT"):
        yield Action(verb="validate", relation=table, name=action.take_name())
    elif action.take("RENAME"):
        yield from _rename_in_table(action, table)
    elif action.take("ATTACH", "PARTITION"):
        yield Action(verb="attach partition", relation=action.take_name(), other=table)
    elif action.take("DETACH", "PARTITION"):
        part = action.take_name()
        traits = {action.take_any("CONCURRENTLY", "FINALIZE").lower()}
        yield Action(verb="detach partition", relation=table, other=part, traits=traits)
    elif action.take("OWNER", "TO"):
        yield Action(verb="change owner", relation=table, name=f"table {table}")
    elif action.key in ("ENABLE", "DISABLE", "FORCE", "NO"):
        yield from _enable_or_disable(action, table)
    elif action.take("SET"):
        if action.key in ("LOGGED", "UNLOGGED", "TABLESPACE", "ACCESS"):
            yield Action(verb="change storage", relation=table, name=f"SET {action.key}")
        elif action.take("SCHEMA"):
            yield Action(verb="rename table", relation=table, other=f"{action.take_name()}.{table}")
        elif action.key == "WITHOUT":
            yield Action(verb="alter table", relation=table)
    elif action.key not in ("CLUSTER", "REPLICA", "RESET", "VALIDATE"):
        yield Action(verb="alter table", relation=table)


def _add_column(action: WordReader, table: str) -> Action:
    action.take("COLUMN")
    traits = {"if not exists"} if action.take("IF", "NOT", "EXISTS") else set()
    name = action.take_name()
    return Action(verb="add column", relation=table, name=name, traits=traits, words=action.take_rest())


def _alter_column(action: WordReader, table: str) -> Iterator[Action]:
    if action.take("CONSTRAINT"):
        yield Action(verb="alter table", relation=table)
        return
    column = action.take_name()
    if action.take("SET", "DATA", "TYPE") or action.take("TYPE"):
        kind = action.take_until("USING", "COLLATE")
        converts = action.take("USING") and not _is_plain_cast(action.take_rest(), column, kind)
        traits = {"using"} if converts else set()
        yield Action(verb="change type", relation=table, name=column, words=kind, traits=traits)
    elif action.take("SET", "NOT", "NULL"):
        yield Action(verb="set not null", relation=table, name=column)
    elif action.take("DROP", "NOT", "NULL"):
        yield Action(verb="drop not null", relation=table, name=column)
    elif action.take("DROP", "DEFAULT"):
        yield Action(verb="drop default", relation=table, name=column)
    elif action.take("ADD", "GENERATED"):
        yield Action(verb="alter table", relation=table, name=column)
    elif action.take("SET", "EXPRESSION"):
        yield Action(verb="set expression", relation=table, name=column)
    elif action.next_is("SET", "DEFAULT") or action.next_is("DROP"):
        yield Action(verb="alter table", relation=table, name=column)


def _is_plain_cast(expression: Sequence[Word], column: str, kind: Sequence[Word]) -> bool:
    """Whether USING says what happens without it: the column, or its cast to the new type."""
    said, new = ([word.text for word in words if word.key not in "()"] for words in (expression, kind))
    return said in ([column], [column, ":", ":", *new], ["cast", column, "as", *new])


def _rename_in_table(action: WordReader, table: str) -> Iterator[Action]:
    if action.take("TO"):
        schema, dot, _ = table.rpartition(".")
        yield Action(verb="rename table", relation=table, other=schema + dot + action.take_name())
    elif not action.take("CONSTRAINT"):
        action.take("COLUMN")
        name = action.take_name()
        action.take("TO")
        yield Action(verb="rename column", relation=table, name=name, other=action.take_name())


def _enable_or_disable(action: WordReader, table: str) -> Iterator[Action]:
    words = action.take_rest()
    if contains_words(words, "ROW", "LEVEL", "SECURITY"):
        yield Action(verb="switch row security", relation=table)
    elif contains_words(words, "TRIGGER") or contains_words(words, "RULE"):
        yield Action(verb="switch trigger", relation=table)
    else:  # NO INHERIT
        yield Action(verb="alter table", relation=table)
