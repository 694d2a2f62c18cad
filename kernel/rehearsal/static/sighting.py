"""Hits with their place in a file: what the reports show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kernel.rehearsal import rules
from kernel.rehearsal.result import Finding
from kernel.rehearsal.static.body import UNKNOWN

if TYPE_CHECKING:
    from kernel.files.migration import Migration
    from kernel.rehearsal.static.scene import Hit
    from kernel.rehearsal.static.source import Text
    from kernel.sql.part import Part


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """A finding and where it stands: in the statement `index` of its file, at `column`, both from 1.

    Without a statement (`part` is None) it is about the whole file, and `index` 0. `reason` is why the file accepts it,
    "" where it does not.
    """

    finding: Finding
    part: Part | None = None
    index: int = 0
    column: int = 1
    reason: str = ""

    @property
    def order(self) -> tuple[int, int]:
        """Its place in the file, to sort by."""
        return self.finding.line or 0, self.column


def of_hit(text: Text, index: int, hit: Hit) -> Sighting:
    """The sighting of a hit in the statement `index`, which counts from 0."""
    part = text.statements[index].part
    before = part.text[: part.start + hit.act.begin]
    relation = "" if UNKNOWN in hit.relation else hit.relation
    rule = rules.BY_ID[hit.rule]
    says = hit.says or rule.condition
    finding = Finding(
        rule=hit.rule,
        severity=hit.severity or rule.severity,
        message=f"{relation}: {says}" if relation else says,
        remedy=rule.workaround,
        version=text.migration.version,
        filename=text.migration.filename,
        line=part.line + part.sql[: hit.act.begin].count(b"\n"),
        relation=relation,
    )
    column = len(before[before.rfind(b"\n") + 1 :].decode(errors="replace")) + 1
    return Sighting(finding=finding, part=part, index=index + 1, column=column)


def of_file(migration: Migration, rule_id: str, says: str, *, line: int | None = None) -> Sighting:
    """The sighting of a rule that the whole file meets, or what stands where no statement is."""
    rule = rules.BY_ID[rule_id]
    finding = Finding(
        rule=rule_id,
        severity=rule.severity,
        message=says or rule.condition,
        remedy=rule.workaround,
        version=migration.version,
        filename=migration.filename,
        line=line,
    )
    return Sighting(finding=finding)
