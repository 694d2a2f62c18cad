"""The statements that give an object of the live database a fact of the files."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from psycopg import sql

from kernel.schema.drift.statements import (
    TABLE_KINDS,
    alter_constraints,
    changed_options,
    comment_statement,
    literal,
    own_name,
    sequence_options,
    setting_value,
    sql_kind,
    sql_name,
)
from kernel.schema.snapshot import fact_items

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from kernel.schema.diff import FactChange
    from kernel.schema.drift.statements import SchemaParts
    from kernel.schema.snapshot import Fact, SchemaObject


_STORAGE_DEFAULT_SINCE = 160000
_GRANT_OPTION = " (and to grant it)"
# The words of GRANT for a kind of object, where they are not those of ALTER.
_GRANT_WORDS = {
    **dict.fromkeys(("view", "materialized view", "foreign table", "system table"), "TABLE"),
    "system function": "FUNCTION",
    "foreign server": "FOREIGN SERVER",
}


def statements_for_change(obj: SchemaObject, change: FactChange, files: SchemaParts) -> Iterator[str]:
    """The statements that give an object of the database the fact of the files, none where no statement does."""
    parent = files.parent(obj)
    if change.label == "comment":
        yield comment_statement(obj, change.before, parent)
    elif change.label == "owner" and (parent is None or obj.kind == "statistics"):
        yield f"ALTER {sql_kind(obj)} {sql_name(obj)} OWNER TO {change.before}"
    elif change.label == "privileges":
        yield from _privilege_statements(obj, parent, change)
    elif obj.kind == "column" and parent:
        yield from _column_statements(obj, parent, change, files)
    elif parent is None and obj.kind in (*TABLE_KINDS, "view", "materialized view"):
        yield from _table_statements(obj, change)
    else:
        yield from _other_statements(obj, parent, change)


def _privilege_statements(obj: SchemaObject, parent: SchemaObject | None, change: FactChange) -> Iterator[str]:
    made, live = fact_items(change.before), fact_items(change.after)
    if obj.kind in ("database", "default privileges", "aggregate"):
        return
    target = f"{_GRANT_WORDS.get(obj.kind, sql_kind(obj))} {sql_name(obj)}"
    columns = ""
    if obj.kind == "column" and parent:
        target, columns = f"TABLE {parent.name}", f" ({own_name(obj, parent)})"
    for item in (one for one in (*live, *made) if not one.endswith(" to its owner")):
        privilege, _, role = item.rpartition(" to ")
        option = " WITH GRANT OPTION" if privilege.endswith(_GRANT_OPTION) else ""
        privilege = f"{privilege.removesuffix(_GRANT_OPTION)}{columns}"
        if item not in made:
            yield f"REVOKE {privilege} ON {target} FROM {role}"
        elif item not in live:
            yield f"GRANT {privilege} ON {target} TO {role}{option}"


def _column_statements(
    column: SchemaObject, parent: SchemaObject, change: FactChange, files: SchemaParts
) -> Iterator[str]:
    name = own_name(column, parent)
    if parent.kind == "composite type":
        if change.label == "type":
            yield f"ALTER TYPE {parent.name} ALTER ATTRIBUTE {name} TYPE {change.before}"
        return
    alter = f"ALTER {'TABLE' if parent.kind in TABLE_KINDS else sql_kind(parent)} {parent.name} ALTER COLUMN {name}"
    made = change.before
    values = {
        "default": f"SET DEFAULT {made}" if made else "DROP DEFAULT",
        "NOT NULL": f"{'SET' if made else 'DROP'} NOT NULL",
        "storage": f"SET STORAGE {str(made).upper() if made else _storage_of_type(column, files)}",
        "compression": f"SET COMPRESSION {made or 'default'}",
        "statistics target": f"SET STATISTICS {made or -1}",
    }
    if change.label in ("type", "collation"):
        yield f"{alter} TYPE {_type_with_collation(column, change)} USING {name}::{column.fact('type')}"
    elif change.label == "identity":
        yield from _identity_statements(alter, change)
    elif change.label == "options":
        yield from _option_statements(alter, change)
    elif change.label == "generated" and made is None:
        yield f"{alter} DROP EXPRESSION"
    elif change.label in values:
        yield f"{alter} {values[change.label]}"


def _type_with_collation(column: SchemaObject, change: FactChange) -> str:
    collation = column.fact("collation")
    if change.label == "collation" and collation is None:
        collation = 'pg_catalog."default"'
    return f"{column.fact('type')}{f' COLLATE {collation}' if collation else ''}"


def _storage_of_type(column: SchemaObject, files: SchemaParts) -> str:
    if files.version >= _STORAGE_DEFAULT_SINCE:
        return "DEFAULT"
    return "MAIN" if str(column.fact("type")).startswith("numeric") else "EXTENDED"


def _identity_statements(alter: str, change: FactChange) -> Iterator[str]:
    if change.before is None:
        yield f"{alter} DROP IDENTITY"
    else:
        how = f"GENERATED {str(change.before).upper()}"
        yield f"{alter} SET {how}" if change.after else f"{alter} ADD {how} AS IDENTITY"


def _option_statements(alter: str, change: FactChange) -> Iterator[str]:
    options = changed_options(change.before, change.after)
    if kept := [f"{name} = {literal(value)}" for name, value in options.items() if value]:
        yield f"{alter} SET ({', '.join(kept)})"
    if reset := [name for name, value in options.items() if not value]:
        yield f"{alter} RESET ({', '.join(reset)})"


def _table_statements(table: SchemaObject, change: FactChange) -> Iterator[str]:
    made, live = change.before, change.after
    alter = f"ALTER {sql_kind(table)} {table.name}"
    values = {
        "persistence": f"SET {'UNLOGGED' if made else 'LOGGED'}",
        "access method": f"SET ACCESS METHOD {made}",
        "tablespace": f"SET TABLESPACE {made or 'pg_default'}",
    }
    if change.label == "options":
        yield from _option_statements(alter, change)
    elif change.label == "row security":
        yield from (f"{alter} {words} ROW LEVEL SECURITY" for words in _row_security_words(made, live))
    elif change.label == "replica identity" and made != "an index":
        yield f"{alter} REPLICA IDENTITY {str(made or 'default').upper()}"
    elif change.label == "partition of":
        yield from _partition_statements(table, change)
    elif change.label == "inherits":
        yield from (f"{alter} NO INHERIT {one}" for one in fact_items(live) if one not in fact_items(made))
        yield from (f"{alter} INHERIT {one}" for one in fact_items(made) if one not in fact_items(live))
    elif change.label in values:
        yield f"{alter} {values[change.label]}"


def _row_security_words(made: Fact, live: Fact) -> Iterator[str]:
    now, then = str(live or "off"), str(made or "off")
    if now.split(",", maxsplit=1)[0] != then.split(",", maxsplit=1)[0]:
        yield "ENABLE" if then.startswith("on") else "DISABLE"
    if now.endswith("forced") != then.endswith("forced"):
        yield "FORCE" if then.endswith("forced") else "NO FORCE"


def _partition_statements(table: SchemaObject, change: FactChange) -> Iterator[str]:
    for fact, words in ((change.after, "DETACH"), (change.before, "ATTACH")):
        if isinstance(fact, str):
            default = fact.endswith(" DEFAULT")
            parent = fact.removesuffix(" DEFAULT") if default else fact.partition(" FOR VALUES ")[0]
            bound = fact.removeprefix(parent) if words == "ATTACH" else ""
            yield f"ALTER TABLE {parent} {words} PARTITION {table.name}{bound}"


def _other_statements(obj: SchemaObject, parent: SchemaObject | None, change: FactChange) -> Iterator[str]:
    made = change.before
    for kind, label, statement in _STATEMENTS:
        if (obj.kind, change.label) == (kind, label):
            yield statement(obj, change)
    if obj.kind == "enum" and change.label == "labels":
        yield from _label_statements(obj, fact_items(made), fact_items(change.after))
    elif obj.kind == "database" and change.label == "settings":
        for name, value in changed_options(made, change.after).items():
            action = f"SET {setting_value(f'{name}={value}')}" if value else f"RESET {name}"
            yield f"DO $$ BEGIN EXECUTE format('ALTER DATABASE %I ' || {literal(action)}, current_database()); END $$"
    elif parent and (on_table := _action_on_table(obj, parent, change)):
        yield f"{alter_constraints(parent)} {on_table}"


def _action_on_table(obj: SchemaObject, parent: SchemaObject, change: FactChange) -> str | None:
    """The action of ALTER TABLE for a fact of a trigger, rule, constraint or index."""
    made, quoted = change.before, sql.Identifier(obj.bare_name).as_string()
    if change.label == "enabled":
        return f"{_FIRING[made]} {sql_kind(obj)} {own_name(obj, parent)}"
    if (obj.kind, change.label, made) == ("constraint", "validated", None):
        return f"VALIDATE CONSTRAINT {own_name(obj, parent)}"
    actions = {
        ("constraint", "triggers"): f"{'DISABLE' if made else 'ENABLE'} TRIGGER ALL",
        ("index", "clustered"): f"CLUSTER ON {quoted}" if made else "SET WITHOUT CLUSTER",
        ("index", "replica identity"): f"REPLICA IDENTITY {f'USING INDEX {quoted}' if made else 'DEFAULT'}",
    }
    return actions.get((obj.kind, change.label))


def _label_statements(enum: SchemaObject, made: tuple[str, ...], live: tuple[str, ...]) -> Iterator[str]:
    if [one for one in live if one not in made]:
        if len(made) == len(live):
            pairs = [(old, new) for old, new in zip(live, made, strict=True) if old != new]
            yield from (f"ALTER TYPE {enum.name} RENAME VALUE {literal(a)} TO {literal(b)}" for a, b in pairs)
        return
    for before, label in pairwise(("", *made)):
        if label not in live:
            following = next((one for one in made[made.index(label) + 1 :] if one in live), None)
            at = f" AFTER {literal(before)}" if before else f" BEFORE {literal(following)}" if following else ""
            yield f"ALTER TYPE {enum.name} ADD VALUE {literal(label)}{at}"


_FIRING: dict[Fact, str] = {
    None: "ENABLE",
    "disabled": "DISABLE",
    "on replicas only": "ENABLE REPLICA",
    "always": "ENABLE ALWAYS",
}
_STATEMENTS: tuple[tuple[str, str, Callable[[SchemaObject, FactChange], str]], ...] = (
    ("sequence", "range", lambda obj, _change: f"ALTER SEQUENCE {obj.name} {sequence_options(obj)}"),
    ("sequence", "type", lambda obj, _change: f"ALTER SEQUENCE {obj.name} {sequence_options(obj)}"),
    ("sequence", "owned by", lambda obj, change: f"ALTER SEQUENCE {obj.name} OWNED BY {change.before or 'NONE'}"),
    (
        *("sequence", "persistence"),
        lambda obj, change: f"ALTER SEQUENCE {obj.name} SET {'UNLOGGED' if change.before else 'LOGGED'}",
    ),
    ("index", "valid", lambda obj, _change: f"REINDEX INDEX CONCURRENTLY {obj.name}"),
    ("statistics", "target", lambda obj, change: f"ALTER STATISTICS {obj.name} SET STATISTICS {change.before or -1}"),
    (
        *("extension", "version"),
        lambda obj, change: f"ALTER EXTENSION {obj.name} UPDATE TO {literal(str(change.before))}",
    ),
    ("extension", "schema", lambda obj, change: f"ALTER EXTENSION {obj.name} SET SCHEMA {change.before}"),
    (
        *("domain", "default"),
        lambda obj, change: (
            f"ALTER DOMAIN {obj.name} {f'SET DEFAULT {change.before}' if change.before else 'DROP DEFAULT'}"
        ),
    ),
    (
        "domain",
        "NOT NULL",
        lambda obj, change: f"ALTER DOMAIN {obj.name} {'SET' if change.before else 'DROP'} NOT NULL",
    ),
    (
        *("event trigger", "enabled"),
        lambda obj, change: f"ALTER EVENT TRIGGER {obj.name} {_FIRING[change.before]}",
    ),
    (
        *("subscription", "enabled"),
        lambda obj, change: f"ALTER SUBSCRIPTION {obj.name} {'DISABLE' if change.before else 'ENABLE'}",
    ),
)
