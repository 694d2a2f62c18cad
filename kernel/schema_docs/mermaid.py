"""Entity-relationship diagrams in Mermaid, https://mermaid.js.org/syntax/entityRelationshipDiagram.html.

Names and types are text of the database: entities have generated names with the real one as a label, and what Mermaid
does not read in a word is replaced.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from kernel.report.safe_text import show_hidden_characters

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from kernel.schema_docs.model import DocumentedSchema, ForeignKey, Relation


CLUSTER_TABLES = 40
# A table that more than a quarter of all others reference (tenants, users) would join all clusters into one.
_HUB_SHARE = 4
_WORD = re.compile(r"[^A-Za-z0-9_()\[\]-]+")
# Mermaid takes a label for Markdown, whatever code a character has.
LOOKALIKES = str.maketrans({"*": "∗", "_": "ˍ", "~": "∼"})  # noqa: RUF001 - similar is the purpose
_EMPHASIS = re.compile(r"[*~]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")
_IN_LABEL = re.compile(r"[^\w .,()$-]|_{2,}")


def diagram(tables: Sequence[Relation], keys: Collection[ForeignKey], *, names: Collection[str]) -> list[str]:
    """The lines of a diagram of tables with their keys; `names` are all entities, also those shown without columns."""
    identifiers = {name: f"t{number}" for number, name in enumerate(sorted(names))}
    lines = ["```mermaid", "erDiagram"]
    for key in sorted(keys, key=lambda key: (key.parent, key.table, key.columns, key.constraint.bare_name)):
        if key.parent in identifiers and key.table in identifiers:
            child = "|o" if key.single else "}o"
            parent = "o|" if key.optional else "||"
            label = _label(", ".join(key.columns))
            lines.append(f'    {identifiers[key.table]} {child}--{parent} {identifiers[key.parent]} : "{label}"')
    shown = {table.name: table for table in tables}
    for name, identifier in identifiers.items():
        entity = f'    {identifier}["{_label(name)}"]'
        columns = _columns(shown[name]) if name in shown else []
        lines += [f"{entity} {{", *columns, "    }"] if columns else [entity]
    return [*lines, "```"]


def clusters(schema: DocumentedSchema) -> list[tuple[Relation, ...]]:
    """The tables of each diagram: all in one, or groups of at most CLUSTER_TABLES that reference each other."""
    tables = schema.tables
    if len(tables) <= CLUSTER_TABLES:
        return [tables] if tables else []
    by_name = {table.name: table for table in tables}
    neighbours: dict[str, set[str]] = {name: set() for name in by_name}
    references = {name: len({key.table for key in schema.references_to(name)}) for name in by_name}
    hubs = {name for name, count in references.items() if count * _HUB_SHARE > len(tables)}
    for table in tables:
        for key in table.foreign_keys:
            if key.parent in by_name and not {key.table, key.parent} & hubs:
                neighbours[key.table].add(key.parent)
                neighbours[key.parent].add(key.table)
    found: list[list[str]] = []
    for component in _components(neighbours):
        for start in range(0, len(component), CLUSTER_TABLES):
            piece = component[start : start + CLUSTER_TABLES]
            if found and len(found[-1]) + len(piece) <= CLUSTER_TABLES:
                found[-1] += piece
            else:
                found.append(piece)
    return [tuple(by_name[name] for name in sorted(names)) for names in found]


def _components(neighbours: dict[str, set[str]]) -> list[list[str]]:
    """The connected groups, each in the order of a search from its first name, so that a cut keeps neighbours."""
    seen: set[str] = set()
    found = []
    for first in sorted(neighbours):
        if first in seen:
            continue
        seen.add(first)
        component = [first]
        for name in component:  # grows while it is read
            following = sorted(neighbours[name] - seen)
            seen.update(following)
            component += following
        found.append(component)
    return found


def _columns(table: Relation) -> list[str]:
    """The lines of the columns that are keys; a diagram of all columns cannot be read."""
    referencing = {name for key in table.foreign_keys for name in key.columns}
    lines = []
    for column in table.columns:
        name = column.bare_name
        marks = [
            mark
            for mark, applies in (
                ("PK", name in table.primary_key),
                ("FK", name in referencing),
                ("UK", (name,) in table.unique_keys and (name,) != table.primary_key),
            )
            if applies
        ]
        if marks:
            lines.append(f"        {_word(str(column.fact('type')))} {_word(name)} {', '.join(marks)}")
    return lines


def _word(text: str) -> str:
    """`text` as a word that Mermaid reads: it begins with no digit, and _word_ would be emphasis."""
    word = _WORD.sub("_", text).strip("_-")
    return word if re.match("[A-Za-z]", word) else f"_{word}"


def _label(text: str) -> str:
    """`text` between double quotes, by Mermaid's codes of characters."""
    shown = _EMPHASIS.sub(lambda match: match[0].translate(LOOKALIKES), show_hidden_characters(" ".join(text.split())))
    return _IN_LABEL.sub(lambda match: "".join(f"#{ord(character)};" for character in match[0]), shown)
