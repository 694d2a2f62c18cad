"""The acts of ALTER: of a table one for each action, of anything else its renaming, moving, changing hands."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from kernel.rehearsal.static import columns
from kernel.rehearsal.static.act import Act
from kernel.rehearsal.static.words import Reader, has

if TYPE_CHECKING:
    from collections.abc import Iterator


def relation(reader: Reader, kind: str, begin: int) -> Iterator[Act]:
    """ALTER TABLE, INDEX, VIEW, MATERIALIZED VIEW, SEQUENCE: the reader stands behind that."""
    if reader.take("ALL", "IN", "TABLESPACE"):
        yield Act(verb="change storage", begin=begin, name=f"every {kind} of a tablespace")
        return
    reader.take("IF", "EXISTS")
    reader.take("ONLY")
    name = reader.name()
    reader.take("*")
    first = True
    while reader.key not in ("", ";"):
        words = reader.until(",", ";")
        reader.take(",")
        action = Reader(words)
        at = begin if first else action.begin
        first = False
        if kind in ("table", "foreign table"):
            yield from _action(action, name, at)
        elif kind == "index":
            if action.take("SET", "TABLESPACE"):
                yield Act(verb="change storage", relation=name, begin=at, name="SET TABLESPACE")
        elif action.take("SET", "TABLESPACE") or action.take("SET", "ACCESS", "METHOD"):
            yield Act(verb="change storage", relation=name, begin=at, name="SET TABLESPACE")
        else:
            yield from _general(action, name, kind, at)


def other(reader: Reader, kind: str, begin: int) -> Iterator[Act]:
    """ALTER of what is no relation: TYPE, DOMAIN, FUNCTION, SCHEMA, EXTENSION, POLICY and others."""
    reader.take("IF", "EXISTS")
    name = reader.name()
    reader.group()  # the arguments of a function
    if kind in ("policy", "trigger", "rule") and reader.take("ON"):
        verb = "rename trigger" if kind == "trigger" else f"alter {kind}"
        yield Act(verb=verb, relation=reader.name(), name=name, begin=begin)
    elif kind == "extension":
        if reader.key == "UPDATE":
            yield Act(verb="alter extension", name=name, begin=begin)
    elif kind == "domain" and reader.take("ADD"):
        valid = has(reader.rest(), "NOT", "VALID")
        yield Act(verb="constrain domain", name=name, begin=begin, traits=frozenset({"not valid"} if valid else ()))
    elif kind == "domain" and reader.take("SET", "NOT", "NULL"):
        yield Act(verb="constrain domain", name=name, begin=begin)
    elif kind == "type" and reader.take("ADD", "VALUE"):
        reader.take("IF", "NOT", "EXISTS")
        value = reader.words[reader.at].text if reader.key else ""
        yield Act(verb="add enum value", name=name, other=value, begin=begin)
    elif kind in ("type", "domain", "schema", "function", "procedure", "routine", "aggregate", "database"):
        yield from _general(reader, name, kind, begin)


def _general(action: Reader, name: str, kind: str, begin: int) -> Iterator[Act]:
    if action.take("RENAME", "CONSTRAINT"):
        return
    if action.key == "RENAME" or action.sees("SET", "SCHEMA"):
        yield Act(verb="rename object", relation=name, begin=begin, name=f"{kind} {name}")
    elif action.take("OWNER", "TO"):
        yield Act(verb="change owner", relation=name, begin=begin, name=f"{kind} {name}")


def _action(action: Reader, table: str, begin: int) -> Iterator[Act]:  # noqa: C901, PLR0912 - one branch for each action
    if action.take("ADD"):
        if action.key in columns.CONSTRAINTS or action.sees("NOT", "NULL"):
            for act in columns.constraint(table, action.rest(), new=False):
                yield _placed(act, begin)
        else:
            yield _add_column(action, table, begin)
    elif action.take("ALTER"):
        action.take("COLUMN")
        yield from _alter_column(action, table, begin)
    elif action.take("DROP"):
        if action.take("CONSTRAINT"):
            action.take("IF", "EXISTS")
            yield Act(verb="drop constraint", relation=table, name=action.name(), begin=begin)
        elif action.key != "EXPRESSION":
            action.take("COLUMN")
            traits = frozenset({"if exists"} if action.take("IF", "EXISTS") else ())
            yield Act(verb="drop column", relation=table, name=action.name(), begin=begin, traits=traits)
    elif action.take("VALIDATE", "CONSTRAINT"):
        yield Act(verb="validate", relation=table, name=action.name(), begin=begin)
    elif action.take("RENAME"):
        yield from _rename(action, table, begin)
    elif action.take("ATTACH", "PARTITION"):
        yield Act(verb="attach partition", relation=action.name(), other=table, begin=begin)
    elif action.take("DETACH", "PARTITION"):
        part = action.name()
        traits = frozenset(key.lower() for key in (action.take_any("CONCURRENTLY", "FINALIZE"),) if key)
        yield Act(verb="detach partition", relation=table, other=part, begin=begin, traits=traits)
    elif action.take("OWNER", "TO"):
        yield Act(verb="change owner", relation=table, begin=begin, name=f"table {table}")
    elif action.key in ("ENABLE", "DISABLE", "FORCE", "NO"):
        yield from _switch(action, table, begin)
    elif action.take("SET"):
        if action.key in ("LOGGED", "UNLOGGED", "TABLESPACE", "ACCESS"):
            yield Act(verb="change storage", relation=table, begin=begin, name=f"SET {action.key}")
        elif action.take("SCHEMA"):
            yield Act(verb="rename table", relation=table, other=f"{action.name()}.{table}", begin=begin)
        elif action.key == "WITHOUT":
            yield Act(verb="alter table", relation=table, begin=begin)
    elif action.key not in ("CLUSTER", "REPLICA", "RESET", "VALIDATE"):
        yield Act(verb="alter table", relation=table, begin=begin)


def _placed(act: Act, begin: int) -> Act:
    return replace(act, begin=begin)


def _add_column(action: Reader, table: str, begin: int) -> Act:
    action.take("COLUMN")
    traits = frozenset({"if not exists"} if action.take("IF", "NOT", "EXISTS") else ())
    name = action.name()
    return Act(verb="add column", relation=table, name=name, begin=begin, traits=traits, words=action.rest())


def _alter_column(action: Reader, table: str, begin: int) -> Iterator[Act]:
    if action.take("CONSTRAINT"):
        yield Act(verb="alter table", relation=table, begin=begin)
        return
    column = action.name()
    if action.take("SET", "DATA", "TYPE") or action.take("TYPE"):
        kind = action.until("USING", "COLLATE")
        traits = {"using"} if action.take("USING") else set()
        yield Act(verb="change type", relation=table, name=column, begin=begin, words=kind, traits=frozenset(traits))
    elif action.take("SET", "NOT", "NULL"):
        yield Act(verb="set not null", relation=table, name=column, begin=begin)
    elif action.take("DROP", "NOT", "NULL"):
        yield Act(verb="drop not null", relation=table, name=column, begin=begin)
    elif action.take("DROP", "DEFAULT"):
        yield Act(verb="drop default", relation=table, name=column, begin=begin)
    elif action.take("ADD", "GENERATED"):
        yield Act(verb="alter table", relation=table, name=column, begin=begin)
    elif action.take("SET", "EXPRESSION"):
        yield Act(verb="set expression", relation=table, name=column, begin=begin)
    elif action.sees("SET", "DEFAULT") or action.sees("DROP"):
        yield Act(verb="alter table", relation=table, name=column, begin=begin)


def _rename(action: Reader, table: str, begin: int) -> Iterator[Act]:
    if action.take("TO"):
        schema, dot, _ = table.rpartition(".")
        yield Act(verb="rename table", relation=table, other=schema + dot + action.name(), begin=begin)
    elif not action.take("CONSTRAINT"):
        action.take("COLUMN")
        yield Act(verb="rename column", relation=table, name=action.name(), begin=begin)


def _switch(action: Reader, table: str, begin: int) -> Iterator[Act]:
    words = action.rest()
    if has(words, "ROW", "LEVEL", "SECURITY"):
        yield Act(verb="switch row security", relation=table, begin=begin)
    elif has(words, "TRIGGER") or has(words, "RULE"):
        yield Act(verb="switch trigger", relation=table, begin=begin)
    else:  # NO INHERIT
        yield Act(verb="alter table", relation=table, begin=begin)
