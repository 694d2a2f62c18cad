"""The statements that create and drop an object, from its facts; names and definitions are quoted by the server."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from psycopg import sql

from kernel.schema.snapshot import fact_items

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from kernel.schema.snapshot import Fact, SchemaObject


# The words for a kind of object in SQL, where they are not the name of the kind in capitals.
_SQL_WORDS = {
    "partitioned table": "TABLE",
    "composite type": "TYPE",
    "enum": "TYPE",
    "range type": "TYPE",
    "foreign-data wrapper": "FOREIGN DATA WRAPPER",
    "foreign server": "SERVER",
}
TABLE_KINDS = ("table", "partitioned table", "foreign table")
WITH_ROWS = ("table", "partitioned table")
VIEW_KINDS = ("view", "materialized view")
_RANGE = re.compile(
    r"(?P<min>-?\d+) to (?P<max>-?\d+) by (?P<step>-?\d+) from (?P<start>-?\d+), "
    r"cache (?P<cache>\d+)(?P<cycle>, cycle)?"
)
_ROUTINE_NAME = re.compile(r'(?:"(?:[^"]|"")*"|[^".(]+)\.(?:"(?:[^"]|"")*"|[^"(]+)(?=\()')
_SQL_BODY = re.compile(r"\s*(?:BEGIN ATOMIC\b|RETURN\b)")
_ATTRIBUTES = ("volatility", "strict", "security definer", "leakproof")


class SchemaParts:
    """The objects of a schema by key, and the parts of each; `version` is that of the server."""

    def __init__(self, objects: Iterable[SchemaObject], version: int) -> None:
        self.by_key = {obj.key: obj for obj in objects}
        self.version = version
        self._by_identity = {obj.identity: obj for obj in self.by_key.values()}
        self._parts: dict[str, list[SchemaObject]] = {}
        for obj in self.by_key.values():
            if obj.parent_key:
                self._parts.setdefault(obj.parent_key, []).append(obj)

    def parent(self, obj: SchemaObject) -> SchemaObject | None:
        return self.by_key.get(obj.parent_key)

    def find(self, obj: SchemaObject) -> SchemaObject | None:
        """The object of the same kind and name as one of another schema."""
        return self._by_identity.get(obj.identity)

    def parts(self, obj: SchemaObject, *kinds: str) -> list[SchemaObject]:
        """The parts of these kinds; columns are in their order."""
        found = [part for part in self._parts.get(obj.key, ()) if part.kind in kinds]
        return sorted(found, key=lambda part: part.place)


def sql_kind(obj: SchemaObject) -> str:
    """The words for the kind of an object in SQL."""
    return _SQL_WORDS.get(obj.kind, obj.kind.upper())


def sql_name(obj: SchemaObject) -> str:
    """The name of an object after the words for its kind; that of a part ends with "on" and its table."""
    return f"{obj.name[:-2]}(*)" if obj.kind == "aggregate" and obj.name.endswith("()") else obj.name


def own_name(obj: SchemaObject, parent: SchemaObject) -> str:
    """The quoted name of a part without its table."""
    return obj.name.removeprefix(f"{parent.name}.").removesuffix(f" on {parent.name}")


def literal(text: str) -> str:
    """A string literal."""
    return sql.Literal(text).as_string()


def comment_statement(obj: SchemaObject, comment: Fact, parent: SchemaObject | None = None) -> str:
    """COMMENT ON an object, with None as NULL."""
    value = literal(comment) if isinstance(comment, str) else "NULL"
    kind, name = sql_kind(obj), sql_name(obj)
    if obj.kind == "constraint" and parent is not None and parent.kind == "domain":
        name = f"{own_name(obj, parent)} ON DOMAIN {parent.name}"
    return f"COMMENT ON {kind} {name} IS {value}"


def column_definition(column: SchemaObject, parent: SchemaObject) -> str:
    """A column as in CREATE TABLE."""
    words = [own_name(column, parent), str(column.fact("type"))]
    if collation := column.fact("collation"):
        words.append(f"COLLATE {collation}")
    if generated := column.fact("generated"):
        expression, _, how = str(generated).rpartition(" ")
        words.append(f"GENERATED ALWAYS AS ({expression}) {how.upper()}")
    elif identity := column.fact("identity"):
        words.append(f"GENERATED {str(identity).upper()} AS IDENTITY")
    elif default := column.fact("default"):
        words.append(f"DEFAULT {default}")
    if column.fact("NOT NULL"):
        words.append("NOT NULL")
    return " ".join(words)


def create_statements(obj: SchemaObject, schema: SchemaParts) -> list[str] | None:
    """The statements that create an object with its parts; None for a kind whose facts are not all that it is."""
    parent = schema.parent(obj)
    made = _create_part(obj, parent, schema) if parent else _create_object(obj, schema)
    if made is None:
        return None
    if obj.fact("comment") is not None:
        made.append(comment_statement(obj, obj.fact("comment"), parent))
    return made


def _create_object(obj: SchemaObject, schema: SchemaParts) -> list[str] | None:
    create = _OBJECT_STATEMENTS.get(obj.kind)
    return create(obj, schema) if create else None


def _create_part(obj: SchemaObject, parent: SchemaObject, schema: SchemaParts) -> list[str] | None:
    create = _PART_STATEMENTS.get(obj.kind)
    return create(obj, parent, schema) if create else None


def _create_view(view: SchemaObject, schema: SchemaParts) -> list[str]:
    definition = str(view.fact("definition")).strip().rstrip(";")
    made = [f"CREATE {sql_kind(view)} {view.name}{with_options(view)} AS {definition}"]
    return made + [one for part in _other_parts(view, schema) for one in create_statements(part, schema) or ()]


def _create_composite_type(composite: SchemaObject, schema: SchemaParts) -> list[str]:
    columns = ", ".join(column_definition(one, composite) for one in schema.parts(composite, "column"))
    return [f"CREATE TYPE {composite.name} AS ({columns})"]


def _add_column(column: SchemaObject, parent: SchemaObject, schema: SchemaParts) -> list[str] | None:
    if parent.kind == "composite type":
        return [f"ALTER TYPE {parent.name} ADD ATTRIBUTE {column_definition(column, parent)}"]
    if parent.kind not in TABLE_KINDS:
        return None
    adding = f"ALTER TABLE {parent.name} ADD COLUMN {column_definition(column, parent)}"
    sequences = [one for one in schema.parts(parent, "sequence") if one.origin_key == column.key]
    return _with_sequences([adding], [] if column.fact("identity") else sequences)


def _add_constraint(constraint: SchemaObject, parent: SchemaObject, _schema: SchemaParts) -> list[str]:
    unchecked = " NOT VALID" if constraint.fact("validated") else ""
    name = own_name(constraint, parent)
    return [f"{alter_constraints(parent)} ADD CONSTRAINT {name} {constraint.fact('definition')}{unchecked}"]


def alter_constraints(parent: SchemaObject) -> str:
    """The words before an action on the constraints of a table or a domain."""
    return f"ALTER {'DOMAIN' if parent.kind == 'domain' else 'TABLE'} {parent.name}"


def _create_index(index: SchemaObject, parent: SchemaObject, _schema: SchemaParts) -> list[str]:
    unique = "UNIQUE " if index.fact("unique") else ""
    name = sql.Identifier(index.bare_name).as_string() if '"' in index.name else index.bare_name
    return [f"CREATE {unique}INDEX {name} ON {parent.name} {str(index.fact('definition')).strip()}"]


def _create_by_definition(obj: SchemaObject, parent: SchemaObject, _schema: SchemaParts) -> list[str]:
    return [str(obj.fact("definition")).rstrip(";"), *enabled_statements(obj, parent)]


def _publish_table(obj: SchemaObject, publication: SchemaObject, _schema: SchemaParts) -> list[str]:
    return [f"ALTER PUBLICATION {publication.name} ADD TABLE {_published(obj, publication)}"]


def _publish_schema(obj: SchemaObject, publication: SchemaObject, _schema: SchemaParts) -> list[str]:
    return [f"ALTER PUBLICATION {publication.name} ADD TABLES IN SCHEMA {_in_publication(obj, publication)}"]


def _in_publication(obj: SchemaObject, publication: SchemaObject) -> str:
    return obj.name.removesuffix(f" in {publication.name}")


def _published(obj: SchemaObject, publication: SchemaObject) -> str:
    columns = fact_items(obj.fact("columns"))
    listed = f" ({', '.join(sql.Identifier(one).as_string() for one in columns)})" if columns else ""
    rows = f" WHERE {obj.fact('rows')}" if obj.fact("rows") else ""
    return f"{_in_publication(obj, publication)}{listed}{rows}"


def with_options(obj: SchemaObject) -> str:
    """The WITH clause of a table or view."""
    options = fact_items(obj.fact("options"))
    return f" WITH ({', '.join(options)})" if options else ""


def _create_table(table: SchemaObject, schema: SchemaParts) -> list[str]:
    unlogged = "UNLOGGED " if table.fact("persistence") else ""
    head = f"CREATE {unlogged}TABLE {table.name}"
    tail = "".join(
        (
            f" PARTITION BY {table.fact('partition key')}" if table.fact("partition key") else "",
            with_options(table),
        )
    )
    columns = schema.parts(table, "column")
    if partition := table.fact("partition of"):
        made = [f"{head} PARTITION OF {partition}{tail}"]
    else:
        parents = fact_items(table.fact("inherits"))
        inherits = f" INHERITS ({', '.join(parents)})" if parents else ""
        listed = ", ".join(column_definition(one, table) for one in columns if not (parents and one.origin_key))
        made = [f"{head} ({listed}){inherits}{tail}"]
    sequences = [one for one in schema.parts(table, "sequence") if not _is_of_identity(one, schema)]
    made = _with_sequences(made, sequences)
    made += row_security_statements(table)
    for part in _other_parts(table, schema):
        made += create_statements(part, schema) or ()
    for column in columns:
        if column.fact("comment") is not None:
            made.append(comment_statement(column, column.fact("comment")))
    return made


def _other_parts(table: SchemaObject, schema: SchemaParts) -> Iterator[SchemaObject]:
    """The parts of a new table that its own statement does not make."""
    for kind in ("constraint", "index", "statistics", "trigger", "rule", "policy"):
        yield from (part for part in schema.parts(table, kind) if not part.origin_key)


def _is_of_identity(sequence: SchemaObject, schema: SchemaParts) -> bool:
    column = schema.by_key.get(sequence.origin_key)
    return column is not None and column.fact("identity") is not None


def _with_sequences(made: list[str], sequences: list[SchemaObject]) -> list[str]:
    """A statement whose columns have these sequences as defaults, between those that make and own them."""
    creating = [_create_sequence(one)[0] for one in sequences]
    return [*creating, *made, *(f"ALTER SEQUENCE {one.name} OWNED BY {one.fact('owned by')}" for one in sequences)]


def sequence_options(sequence: SchemaObject) -> str:
    """The options of CREATE and ALTER SEQUENCE."""
    found = _RANGE.fullmatch(str(sequence.fact("range")))
    if found is None:
        return ""
    return (
        f"AS {sequence.fact('type')} INCREMENT BY {found['step']} MINVALUE {found['min']} MAXVALUE {found['max']} "
        f"START WITH {found['start']} CACHE {found['cache']} {'CYCLE' if found['cycle'] else 'NO CYCLE'}"
    )


def _create_sequence(sequence: SchemaObject) -> list[str]:
    unlogged = "UNLOGGED " if sequence.fact("persistence") else ""
    made = [f"CREATE {unlogged}SEQUENCE {sequence.name} {sequence_options(sequence)}"]
    if owner := sequence.fact("owned by"):
        made.append(f"ALTER SEQUENCE {sequence.name} OWNED BY {owner}")
    return made


def _create_domain(domain: SchemaObject, schema: SchemaParts) -> list[str]:
    words = [f"CREATE DOMAIN {domain.name} AS {domain.fact('type')}"]
    words += [f"COLLATE {domain.fact('collation')}"] if domain.fact("collation") else []
    words += [f"DEFAULT {domain.fact('default')}"] if domain.fact("default") else []
    words += ["NOT NULL"] if domain.fact("NOT NULL") else []
    made = [" ".join(words)]
    for constraint in schema.parts(domain, "constraint"):
        made += create_statements(constraint, schema) or ()
    return made


def _create_policy(policy: SchemaObject) -> str:
    words = [f"CREATE POLICY {policy.name}"]
    words += ["AS RESTRICTIVE"] if policy.fact("kind") else []
    words += [f"FOR {policy.fact('command')} TO {', '.join(fact_items(policy.fact('roles')))}"]
    words += [f"USING ({policy.fact('using')})"] if policy.fact("using") else []
    words += [f"WITH CHECK ({policy.fact('check')})"] if policy.fact("check") else []
    return " ".join(words)


def _create_routine(routine: SchemaObject) -> list[str] | None:
    name = _ROUTINE_NAME.match(routine.name)
    body, language = str(routine.fact("body")), str(routine.fact("language"))
    if name is None or language in ("c", "internal") or body.endswith(" WINDOW"):
        return None
    is_function = routine.kind == "function"
    words = [f"CREATE OR REPLACE {sql_kind(routine)} {name[0]}({routine.fact('arguments')})"]
    words += [f"RETURNS {routine.fact('returns')}"] if is_function else []
    words.append(f"LANGUAGE {language}")
    if is_function:
        words += [str(routine.fact(label)).upper() for label in _ATTRIBUTES if routine.fact(label)]
        words.append(f"PARALLEL {str(routine.fact('parallel')).upper()} COST {routine.fact('cost')}")
        words += [f"ROWS {routine.fact('rows')}"] if routine.fact("rows") else []
    elif routine.fact("security definer"):
        words.append("SECURITY DEFINER")
    words += [f"SET {setting_value(one)}" for one in fact_items(routine.fact("settings"))]
    words.append(body.strip() if language == "sql" and _SQL_BODY.match(body) else f"AS {dollar_quoted(body)}")
    return [" ".join(words)]


def setting_value(setting: str) -> str:
    """name=value of a catalog as in SET; lists of names stay lists."""
    name, _, value = setting.partition("=")
    listed = name in ("search_path", "temp_tablespaces", "session_preload_libraries", "local_preload_libraries")
    return f"{name} TO {value or literal('')}" if listed else f"{name} TO {literal(value)}"


def dollar_quoted(text: str) -> str:
    """The text between dollar quotes that it does not contain."""
    tag = "$$"
    number = 0
    while tag in text or text.endswith("$"):
        number += 1
        tag = f"$body{number}$"
        if tag not in text:
            break
    return f"{tag}{text}{tag}"


def enabled_statements(obj: SchemaObject, parent: SchemaObject) -> list[str]:
    """The statement for a trigger or rule that does not fire as a new one does."""
    how = {"disabled": "DISABLE", "on replicas only": "ENABLE REPLICA", "always": "ENABLE ALWAYS"}
    state = obj.fact("enabled")
    words = how.get(str(state)) if state else None
    return [f"ALTER TABLE {parent.name} {words} {sql_kind(obj)} {own_name(obj, parent)}"] if words else []


def row_security_statements(table: SchemaObject) -> list[str]:
    """The statements for the row security of a new table."""
    state = str(table.fact("row security") or "")
    made = [f"ALTER TABLE {table.name} ENABLE ROW LEVEL SECURITY"] if state.startswith("on") else []
    return made + ([f"ALTER TABLE {table.name} FORCE ROW LEVEL SECURITY"] if state.endswith("forced") else [])


def drop_statement(obj: SchemaObject, schema: SchemaParts) -> str | None:
    """The statement that drops an object, None for what is no object of SQL, and for a column of a view."""
    parent = schema.parent(obj)
    if parent is None:
        return None if obj.kind in _NO_OBJECTS else f"DROP {sql_kind(obj)} {sql_name(obj)}"
    if obj.kind == "column":
        name = own_name(obj, parent)
        if parent.kind == "composite type":
            return f"ALTER TYPE {parent.name} DROP ATTRIBUTE {name}"
        return f"ALTER TABLE {parent.name} DROP COLUMN {name}" if parent.kind in TABLE_KINDS else None
    if obj.kind == "constraint":
        return f"{alter_constraints(parent)} DROP CONSTRAINT {own_name(obj, parent)}"
    return _drop_other_part(obj, parent)


def _drop_other_part(obj: SchemaObject, parent: SchemaObject) -> str:
    if obj.kind in _PUBLISHED:
        return f"ALTER PUBLICATION {parent.name} DROP {_PUBLISHED[obj.kind]} {_in_publication(obj, parent)}"
    if obj.kind == "user mapping":
        return f"DROP USER MAPPING FOR {obj.name.removesuffix(f' on {parent.name}')} SERVER {parent.name}"
    return f"DROP {sql_kind(obj)} {obj.name}"


_PUBLISHED = {"published table": "TABLE", "published schema": "TABLES IN SCHEMA"}
_NO_OBJECTS = ("database", "role", "default privileges", "system table", "system function")


def changed_options(before: Fact, after: Fact) -> Mapping[str, str]:
    """Name=value items as a mapping: what has to be set again, and "" for what has to be reset."""
    old, new = (dict(item.partition("=")[::2] for item in fact_items(fact)) for fact in (before, after))
    return {name: value for name, value in old.items() if new.get(name) != value} | {
        name: "" for name in new if name not in old
    }


_OBJECT_STATEMENTS: dict[str, Callable[[SchemaObject, SchemaParts], list[str] | None]] = {
    "schema": lambda obj, _schema: [f"CREATE SCHEMA {obj.name}"],
    "extension": lambda obj, _schema: [f"CREATE EXTENSION {obj.name} WITH SCHEMA {obj.fact('schema')}"],
    "table": _create_table,
    "partitioned table": _create_table,
    "view": _create_view,
    "materialized view": _create_view,
    "sequence": lambda obj, _schema: _create_sequence(obj),
    "enum": lambda obj, _schema: [
        f"CREATE TYPE {obj.name} AS ENUM ({', '.join(map(literal, fact_items(obj.fact('labels'))))})"
    ],
    "composite type": _create_composite_type,
    "domain": _create_domain,
    "function": lambda obj, _schema: _create_routine(obj),
    "procedure": lambda obj, _schema: _create_routine(obj),
}
_PART_STATEMENTS: dict[str, Callable[[SchemaObject, SchemaObject, SchemaParts], list[str] | None]] = {
    "column": _add_column,
    "constraint": _add_constraint,
    "index": _create_index,
    "trigger": _create_by_definition,
    "rule": _create_by_definition,
    "policy": lambda obj, _parent, _schema: [_create_policy(obj)],
    "statistics": lambda obj, _parent, _schema: [str(obj.fact("definition"))],
    "sequence": lambda obj, _parent, _schema: _create_sequence(obj),
    "published table": _publish_table,
    "published schema": _publish_schema,
}
