"""Write the rules of the linter into docs/rules.md, as its last section: `python .ci/rules_doc.py docs/rules.md`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from kernel.lint.rules import ALL_RULES, EXAMPLE_SCHEMA

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kernel.lint.rules import Rule


RULES_HEADING = "## Hazards\n"


def rules_markdown() -> str:
    """The section, from its heading to the end of the document."""
    sources = "`db.lint` reports what the text of a migration shows; a rehearsal reports what was measured."
    lines = [
        RULES_HEADING,
        f"{len(ALL_RULES)} rules. {sources}",
        "An error fails `db.lint`; harmless findings are remarks. The examples use this database:",
        "",
        *_code_block(EXAMPLE_SCHEMA),
    ]
    for rule in ALL_RULES:
        lines += _rule_section(rule)
    return "\n".join(lines).rstrip("\n") + "\n"


def _rule_section(rule: Rule) -> Iterator[str]:
    yield f"### {rule.id}"
    yield ""
    yield f"**{rule.name}** ({rule.severity}; found by {rule.detection.value}{_practice_source(rule)})"
    yield ""
    yield f"- When: {rule.condition}."
    yield f"- Then: {rule.effect}."
    yield f"- Instead: {rule.workaround}."
    yield ""
    if rule.setup:
        yield "Given"
        yield ""
        yield from _code_block(rule.setup)
    yield "Bad"
    yield ""
    yield from _code_block(rule.bad)
    yield "Good"
    yield ""
    yield from _code_block(rule.good)


def _practice_source(rule: Rule) -> str:
    return f"; best practice {rule.practice_number}" if rule.practice_number else ""


def _code_block(script: str) -> list[str]:
    return ["```sql", script.rstrip("\n"), "```", ""]


def replace_rules_section(document: str) -> str:
    """A document with the section in place of the one that it ends with."""
    return document.partition(RULES_HEADING)[0] + rules_markdown()


if __name__ == "__main__":
    for path in map(Path, sys.argv[1:]):
        path.write_text(replace_rules_section(path.read_text(encoding="utf-8")), encoding="utf-8")
