"""What the linter found, as text with excerpts, as the document of db.lint, and as annotations of GitHub."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from kernel.apply import failure
from kernel.rehearsal import rules
from kernel.rehearsal.result import Severity
from kernel.report.visible import one_line
from kernel.sql import secret

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from kernel.rehearsal.static.lint import Lint
    from kernel.rehearsal.static.sighting import Sighting

# In the words of people: what is harmless is worth a remark.
_CALLED = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.HARMLESS: "remark"}
_LEVELS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.HARMLESS: "notice"}


def text(found: Lint) -> str:
    """Findings with excerpt, effect and workaround, remarks in a line each, what is accepted and why, the count."""
    lines: list[str] = []
    hazards = [one for one in found.sightings if one.finding.severity is not Severity.HARMLESS]
    for one in hazards:
        lines += [*_hazard(one), ""]
    remarks = [one for one in found.sightings if one.finding.severity is Severity.HARMLESS]
    lines += [f"{_place(one)}: remark: {_message(one)}; {one.finding.remedy} ({one.finding.rule})" for one in remarks]
    lines += [f"{_place(one)}: accepted: {one.finding.rule}: {one_line(one.reason)}" for one in found.allowed]
    if remarks or found.allowed:
        lines.append("")
    return "\n".join([*lines, _count(found)])


def _hazard(one: Sighting) -> Iterator[str]:
    finding = one.finding
    rule = rules.BY_ID[finding.rule]
    yield f"{_place(one)}: {_CALLED[finding.severity]}: {_message(one)}"
    if one.part and finding.line:
        yield ""
        yield failure.excerpt(one.part, finding.line, one.column)
        yield ""
    yield f"effect: {rule.effect}"
    yield f"instead: {finding.remedy}"
    yield f"rule: {finding.rule}; accept it with: -- migrate: allow={finding.rule} REASON"


def _place(one: Sighting) -> str:
    column = one.column if one.part else None
    return ":".join(str(part) for part in (one.finding.filename, one.finding.line, column) if part is not None)


def _message(one: Sighting) -> str:
    return one_line(secret.masked(one.finding.message))


def _count(found: Lint) -> str:
    counted = Counter(one.finding.severity for one in found.sightings)
    told = [_things(counted[severity], _CALLED[severity]) for severity in Severity if counted[severity]]
    if found.allowed:
        told.append(f"{len(found.allowed)} accepted")
    return f"{_things(found.files, 'file')}: {', '.join(told) or 'no hazard found'}"


def _things(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"


def document(found: Lint) -> dict[str, object]:
    """The document of db.lint. `severity` is error, warning or harmless; `column` and `line` count from 1."""
    return {
        "files": found.files,
        "findings": [_found(one) for one in found.sightings],
        "allowed": [_found(one) | {"reason": one.reason} for one in found.allowed],
    }


def _found(one: Sighting) -> dict[str, object]:
    finding = one.finding
    return {
        "rule": finding.rule,
        "severity": str(finding.severity),
        "version": finding.version,
        "file": finding.filename,
        "line": finding.line,
        "column": one.column if one.part else None,
        "relation": finding.relation,
        "message": secret.masked(finding.message),
        "remedy": finding.remedy,
    }


def github(found: Lint, directory: Path, root: Path) -> Iterator[str]:
    """A workflow command of GitHub for each finding; it names files from `root`, the top of the repository.

    Source: GitHub documentation, "Workflow commands for GitHub Actions".
    """
    folder = directory.relative_to(root) if directory.is_relative_to(root) else directory
    for one in found.sightings:
        finding = one.finding
        properties = {
            "file": str(folder / finding.filename),
            "line": str(finding.line or 1),
            "col": str(one.column),
            "title": finding.rule,
        }
        told = ",".join(f"{name}={_property(value)}" for name, value in properties.items())
        yield f"::{_LEVELS[finding.severity]} {told}::{_data(f'{_message(one)}; {finding.remedy}')}"


def _data(value: str) -> str:
    return value.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(value: str) -> str:
    return _data(value).replace(":", "%3A").replace(",", "%2C")
