"""The rules as a section of docs/rules.md. To write it anew: python -m kernel.report.rules docs/rules.md."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from kernel.rehearsal import rules
from kernel.rehearsal.rules.rule import GIVEN

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kernel.rehearsal.rules.rule import Rule

HEADING = "## Hazards\n"


def markdown() -> str:
    """The section, from its heading to the end of the document."""
    lines = [
        HEADING,
        f"{len(rules.ALL)} rules. Where the text is enough, `db.lint` says what may happen; a rehearsal says what did.",
        "An error fails `db.lint`; what is harmless is a remark. The examples are about this database:",
        "",
        *_code(GIVEN),
    ]
    for rule in rules.ALL:
        lines += _section(rule)
    return "\n".join(lines).rstrip("\n") + "\n"


def _section(rule: Rule) -> Iterator[str]:
    yield f"### {rule.id}"
    yield ""
    yield f"**{rule.name}** ({rule.severity}; found by {rule.nature.value}{_sources(rule)})"
    yield ""
    yield f"- When: {rule.condition}."
    yield f"- Then: {rule.effect}."
    yield f"- Instead: {rule.workaround}."
    yield ""
    if rule.given:
        yield "Given"
        yield ""
        yield from _code(rule.given)
    yield "Bad"
    yield ""
    yield from _code(rule.bad)
    yield "Good"
    yield ""
    yield from _code(rule.good)


def _sources(rule: Rule) -> str:
    return f"; best practice {rule.practice}" if rule.practice else ""


def _code(script: str) -> list[str]:
    return ["```sql", script.rstrip("\n"), "```", ""]


def rewritten(document: str) -> str:
    """A document with the section in place of the one that it ends with."""
    return document.partition(HEADING)[0] + markdown()


if __name__ == "__main__":
    for path in map(Path, sys.argv[1:]):
        path.write_text(rewritten(path.read_text(encoding="utf-8")), encoding="utf-8")
