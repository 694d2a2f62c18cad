"""Differences between the live catalog and the files as text, as problems of an error, and as JSON."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from kernel.errors import Problem
from kernel.report.safe_text import show_hidden_characters
from kernel.units import format_quantity

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kernel.schema.drift import SchemaCheck, SchemaDifference

_INDENT = "    "
_NO_FILE = "no file makes it"


def schema_check_lines(check: SchemaCheck) -> Iterator[str]:
    """A line for each difference with its remedy below, then what was left out, the notes, and what was compared."""
    for one in check.differences:
        yield _difference_line(one)
        for statement in one.statements:
            yield from (f"{_INDENT}{line}" for line in show_lines(f"{statement};"))
        if one.advice:
            yield f"{_INDENT}{show_hidden_characters(one.advice)}"
    for problem in check.left_out:
        yield f"note: not built, and what it mentions is not compared: {show_hidden_characters(str(problem))}"
    for note in check.notes:
        yield f"note: {show_hidden_characters(note)}"
    yield schema_check_scope(check)


def schema_check_scope(check: SchemaCheck) -> str:
    """What was compared with what, and the number of differences."""
    same = check.version // 10000 == check.built_version // 10000
    built = f"PostgreSQL {_version(check.built_version)}"
    of = "" if same else f"; the database has {_version(check.version)}, and what the versions write alike is compared"
    found = format_quantity(len(check.differences), "difference") if check.differences else "no difference"
    files = format_quantity(check.file_count, "applied file")
    verb = "makes" if check.file_count == 1 else "make"
    return f"schema of {check.database}: {found} from what {files} {verb} on {built}{of}"


def schema_check_problems(check: SchemaCheck) -> tuple[Problem, ...]:
    """The differences as the problems of an error; the last part of a message is the remedy."""
    return tuple(
        Problem(message=f"{difference_text(one)}; {' '.join(one.remedy.split())}", file=one.file or None, line=one.line)
        for one in check.differences
    )


def schema_check_document(check: SchemaCheck) -> dict[str, object]:
    """The comparison as JSON."""
    return {
        "server_version": _version(check.version),
        "built_with": _version(check.built_version),
        "applied_files": check.file_count,
        "differences": [_difference_document(one) for one in check.differences],
        "left_out": [_without_nulls(asdict(one)) for one in check.left_out],
        "notes": list(check.notes),
    }


def _difference_document(one: SchemaDifference) -> dict[str, object]:
    return {
        "state": str(one.state),
        "kind": one.kind,
        "name": one.name,
        "message": one.text,
        "file": one.file or None,
        "line": one.line,
        "changed_by": one.changed_by or None,
        "statements": list(one.statements),
        "advice": one.advice or None,
    }


def _difference_line(one: SchemaDifference) -> str:
    place = f"{one.file}:{one.line}: " if one.line else f"{one.file}: " if one.file else ""
    return show_hidden_characters(f"{place}{difference_text(one)}")


def difference_text(one: SchemaDifference) -> str:
    """The object, what differs, and the file that changed it last."""
    by = f" (last changed by {one.changed_by})" if one.changed_by else "" if one.file else f", {_NO_FILE}"
    return f"{one.object}: {one.text}{by}"


def show_lines(statement: str) -> list[str]:
    """A statement line by line, safe on a terminal."""
    return [show_hidden_characters(line) for line in statement.splitlines()]


def _version(number: int) -> str:
    return f"{number // 10000}.{number % 10000}"


def _without_nulls(values: dict[str, object]) -> dict[str, object]:
    return {key: value for key, value in values.items() if value is not None}
