"""The sections below the measurements: the practices, the schema, and where it all took place."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel.report.page import figures
from kernel.report.page.blocks import pairs, section
from kernel.report.page.markup import name, tag

if TYPE_CHECKING:
    from kernel.rehearsal.result import Practice, Rehearsal
    from kernel.report.page.markup import Html

_HELD = {True: ("held", "harmless"), False: ("not held", "error"), None: ("not tried", None)}


def practices(rehearsal: Rehearsal) -> Html | None:
    """Each practice, whether it held, and why."""
    if not rehearsal.practices:
        return None
    return section("practices", "Practices", tag("ul", [_practice(one) for one in rehearsal.practices], class_="held"))


def _practice(practice: Practice) -> Html:
    word, class_ = _HELD[practice.held]
    return tag(
        "li",
        tag("span", practice.name),
        tag("strong", word, class_=class_) if class_ else tag("span", word),
        tag("ul", [tag("li", detail) for detail in practice.details]) if practice.details else None,
    )


def schema(rehearsal: Rehearsal) -> Html | None:
    """What the migrations make of the schema, in words."""
    if not rehearsal.schema:
        return None
    return section("schema", "Schema", tag("ul", [tag("li", line) for line in rehearsal.schema], class_="plain"))


def environment(rehearsal: Rehearsal) -> Html:
    """Versions, sizes and settings: what somebody needs who wants to see the same again."""
    source = rehearsal.source
    rows = [
        ("database", name(rehearsal.database)),
        ("source", name(source.name)),
        ("server of the source", f"PostgreSQL {source.server_version}") if source.server_version else None,
        ("restored size", figures.size(rehearsal.restore.bytes, "/restore/bytes")),
        *((key, name(value)) for key, value in rehearsal.environment),
    ]
    return section(
        "environment",
        "Environment",
        pairs(*rows),
        [
            tag("h3", "Warnings of the restore"),
            tag("ul", [tag("li", warning) for warning in rehearsal.restore.warnings], class_="plain"),
        ]
        if rehearsal.restore.warnings
        else None,
    )
