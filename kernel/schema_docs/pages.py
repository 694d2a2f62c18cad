"""The Markdown pages: the index with its diagrams, and a section or a page for each table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kernel.migrations.migration import version_of_file
from kernel.report.safe_text import to_one_line
from kernel.schema_docs.markdown import code, code_block, link, prose, table
from kernel.schema_docs.mermaid import clusters, diagram
from kernel.schema_docs.model import constraint_kind, granted, text_of
from kernel.units import format_quantity

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from kernel.schema.snapshot import SchemaObject
    from kernel.schema_docs.model import DocumentedSchema, ForeignKey, Relation


MARK = "<!-- Made by inv db.docs from the migrations. Do not edit: the next run replaces it. -->"

_TRIGGER_STATE = {"": "", "disabled": "disabled", "always": "also on replicas", "on replicas only": "on replicas only"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Where links of one page lead: `to_relation` by the name of a table or view, `to_file` of a migration's name."""

    schema: DocumentedSchema
    to_relation: Mapping[str, str]
    to_file: Callable[[str], str]

    def relation(self, name: str) -> str:
        """A table's name, as a link if it has a section."""
        return link(code(name), self.to_relation[name]) if name in self.to_relation else code(name)

    def version(self, filename: str) -> str:
        """The version of a migration, as a link to its file."""
        return link(version_of_file(filename), self.to_file(filename))

    def since(self, obj: SchemaObject) -> str:
        """The migration that made an object and the one that changed it last."""
        return self._since(self.schema.files_of(obj))

    def relation_since(self, relation: Relation) -> str:
        """The same for a table; a change of a part, such as a new column, is one of the table."""
        return self._since(relation.files)

    def _since(self, files: tuple[str, ...]) -> str:
        if not files:
            return ""
        changed = f", changed {self.version(files[-1])}" if len(files) > 1 else ""
        return self.version(files[0]) + changed


def index_lines(page: Page, title: str) -> list[str]:
    """The index: how much there is, all tables with their purpose, diagrams, views, types and functions."""
    schema = page.schema
    columns = [column for relation in schema.tables for column in relation.columns]
    lines = [MARK, "", f"# {title}", ""]
    counts = (
        (len(schema.tables), "table"),
        (len(columns), "column"),
        (len(schema.views), "view"),
        (len(schema.functions), "function"),
        (len(schema.types), "type"),
    )
    lines.append(", ".join(format_quantity(count, noun) for count, noun in counts if count) + ". " + _coverage(schema))
    lines.append("Each object names the migration that made it, and the one that changed it last.")
    if schema.extensions:
        names = ", ".join(code(extension.bare_name) for extension in schema.extensions)
        lines += ["", f"Extensions: {names}."]
    if schema.left_out:
        names = ", ".join(link(code(name), page.to_file(name)) for name in schema.left_out)
        lines += ["", f"Not included, since it cannot run on an empty database: {names}."]
    for heading, relations in (("Tables", schema.tables), ("Views", schema.views)):
        if relations:
            lines += ["", f"## {heading}", "", *_relation_table(page, relations)]
    for number, group in enumerate(groups := clusters(schema), start=1):
        heading = "## Diagram" if len(groups) == 1 else f"## Diagram {number} of {len(groups)}"
        lines += ["", heading, "", *_group_diagram(group)]
    return [*lines, *_types(page), *_functions(page)]


def relation_lines(page: Page, relation: Relation, *, heading: str, own_page: bool) -> list[str]:
    """The section of a table or view; on a page of its own with a diagram of its neighbours."""
    obj = relation.obj
    lines = [f"{heading} {prose(to_one_line(relation.name))}", ""]
    if comment := text_of(obj, "comment"):
        lines += [prose(comment), ""]
    lines += [*_properties(page, relation), ""]
    lines += _column_table(page, relation)
    for title, block in (
        ("Keys and checks", _constraints(page, relation)),
        ("Indexes", _indexes(page, relation)),
        ("Triggers", _triggers(page, relation)),
        ("Policies", _policies(page, relation)),
        ("Rules", _definitions(page, relation, "rule")),
        ("Statistics", _definitions(page, relation, "statistics")),
        ("Partitions", _partitions(relation)),
        ("Privileges", [f"- {prose(item)}" for item in relation.privileges]),
        ("Referenced by", _referenced_by(page, relation)),
    ):
        if block:
            lines += ["", f"**{title}**", "", *block]
    if definition := text_of(obj, "definition"):
        lines += ["", "**Definition**", "", *code_block(definition, "sql")]
    if own_page and relation.is_table and (neighbours := _neighbour_diagram(page.schema, relation)):
        lines += ["", "**Neighbours**", "", *neighbours]
    if relation.files:
        names = ", ".join(link(code(name), page.to_file(name)) for name in relation.files)
        lines += ["", f"Migrations: {names}"]
    return lines


def _coverage(schema: DocumentedSchema) -> str:
    objects = [one for relation in schema.relations for one in (relation.obj, *relation.columns)]
    commented = sum(1 for one in objects if one.fact("comment"))
    share = f"{100 * commented // len(objects)} %" if objects else "none"
    return f"{commented} of {len(objects)} tables, views and columns have a comment ({share})."


def _relation_table(page: Page, relations: Iterable[Relation]) -> list[str]:
    rows = [
        (
            page.relation(relation.name),
            prose(text_of(relation.obj, "comment")),
            str(len(relation.columns)),
            page.relation_since(relation),
        )
        for relation in relations
    ]
    return table(("name", "purpose", "columns", "since"), rows)


def _group_diagram(group: tuple[Relation, ...]) -> list[str]:
    keys = [key for relation in group for key in relation.foreign_keys]
    names = {relation.name for relation in group} | {key.parent for key in keys}
    return diagram(group, keys, names=names)


def _neighbour_diagram(schema: DocumentedSchema, relation: Relation) -> list[str]:
    keys = {key.constraint.key: key for key in (*relation.foreign_keys, *schema.references_to(relation.name))}
    if not keys:
        return []
    names = {name for key in keys.values() for name in (key.table, key.parent)}
    return diagram([one for one in schema.tables if one.name in names], list(keys.values()), names=names)


def _properties(page: Page, relation: Relation) -> list[str]:
    obj = relation.obj
    labels = ("persistence", "partition key", "inherits", "row security", "options", "server", "populated")
    facts = [f"{label}: {code(text)}" for label in labels if (text := text_of(obj, label))]
    made = page.relation_since(relation)
    kind = obj.kind.capitalize()
    return [", ".join((f"{kind}, since {made}" if made else kind, *facts)) + "."]


def _column_table(page: Page, relation: Relation) -> list[str]:
    references: dict[str, list[ForeignKey]] = {}
    for key in relation.foreign_keys:
        for name in key.columns:
            references.setdefault(name, []).append(key)
    rows = [
        (
            code(column.bare_name),
            code(" COLLATE ".join(filter(None, (text_of(column, "type"), text_of(column, "collation"))))),
            "" if column.fact("NOT NULL") or not relation.is_table else "yes",
            code(text_of(column, "default")) or _generated(column),
            ", ".join(page.relation(key.parent) for key in references.get(column.bare_name, ())),
            prose(text_of(column, "comment")),
            page.since(column),
        )
        for column in relation.columns
    ]
    return table(("column", "type", "null", "default", "references", "comment", "since"), rows) if rows else []


def _generated(column: SchemaObject) -> str:
    if identity := text_of(column, "identity"):
        return f"identity, {identity}"
    expression = text_of(column, "generated")
    return f"generated {code(expression)}" if expression else ""


def _constraints(page: Page, relation: Relation) -> list[str]:
    order = {"PRIMARY KEY": 0, "UNIQUE": 1, "FOREIGN KEY": 2}
    constraints = sorted(
        relation.parts.get("constraint", ()), key=lambda one: (order.get(constraint_kind(one), 3), one.bare_name)
    )
    rows = [
        (
            code(one.bare_name),
            code(text_of(one, "definition")),
            ", ".join(filter(None, (text_of(one, "validated"), text_of(one, "triggers")))),
            prose(text_of(one, "comment")),
            page.since(one),
        )
        for one in constraints
    ]
    return table(("name", "definition", "state", "comment", "since"), rows) if rows else []


def _indexes(page: Page, relation: Relation) -> list[str]:
    """The indexes that are not part of a constraint."""
    rows = [
        (
            code(one.bare_name),
            code(" ".join(filter(None, (text_of(one, "unique"), text_of(one, "definition"))))),
            ", ".join(filter(None, (text_of(one, label) for label in ("valid", "clustered", "replica identity")))),
            prose(text_of(one, "comment")),
            page.since(one),
        )
        for one in relation.parts.get("index", ())
        if not one.origin_key.startswith("pg_constraint:")
    ]
    return table(("name", "definition", "state", "comment", "since"), rows) if rows else []


def _triggers(page: Page, relation: Relation) -> list[str]:
    rows = [
        (
            code(one.bare_name),
            code(text_of(one, "definition")),
            _TRIGGER_STATE[text_of(one, "enabled")],
            prose(text_of(one, "comment")),
            page.since(one),
        )
        for one in relation.parts.get("trigger", ())
    ]
    return table(("name", "definition", "fires", "comment", "since"), rows) if rows else []


def _policies(page: Page, relation: Relation) -> list[str]:
    rows = [
        (
            code(one.bare_name),
            " ".join(filter(None, (text_of(one, "kind"), text_of(one, "command")))),
            prose(text_of(one, "roles")),
            code(text_of(one, "using")),
            code(text_of(one, "check")),
            prose(text_of(one, "comment")),
            page.since(one),
        )
        for one in relation.parts.get("policy", ())
    ]
    return table(("name", "command", "roles", "using", "check", "comment", "since"), rows) if rows else []


def _definitions(page: Page, relation: Relation, kind: str) -> list[str]:
    rows = [
        (code(one.bare_name), code(text_of(one, "definition")), prose(text_of(one, "comment")), page.since(one))
        for one in relation.parts.get(kind, ())
    ]
    return table(("name", "definition", "comment", "since"), rows) if rows else []


def _partitions(relation: Relation) -> list[str]:
    return [
        f"- {code(one.name)} {code(text_of(one, 'partition of').removeprefix(f'{relation.name} '))}"
        for one in relation.partitions
    ]


def _referenced_by(page: Page, relation: Relation) -> list[str]:
    return [
        f"- {page.relation(key.table)}: {code(', '.join(key.columns))} by {code(key.constraint.bare_name)}"
        for key in page.schema.references_to(relation.name)
    ]


def _execute_privileges(function: SchemaObject) -> str:
    """Who may call a function, "" for all, which is the default."""
    privileges = granted(function)
    return "" if privileges == ("EXECUTE to public",) else prose(", ".join(privileges)) or "its owner alone"


def _types(page: Page) -> list[str]:
    rows = [
        (
            code(one.obj.name),
            one.obj.kind,
            code(", ".join(one.values)),
            prose(text_of(one.obj, "comment")),
            page.since(one.obj),
        )
        for one in page.schema.types
    ]
    return ["", "## Types", "", *table(("name", "kind", "values", "comment", "since"), rows)] if rows else []


def _functions(page: Page) -> list[str]:
    rows = [
        (
            code(one.name),
            one.kind,
            code(text_of(one, "returns")),
            ", ".join(
                filter(None, (text_of(one, "language"), text_of(one, "volatility"), text_of(one, "security definer")))
            ),
            prose(text_of(one, "comment")),
            _execute_privileges(one),
            page.since(one),
        )
        for one in page.schema.functions
    ]
    head = ("name", "kind", "returns", "properties", "comment", "privileges", "since")
    return ["", "## Functions", "", *table(head, rows)] if rows else []
