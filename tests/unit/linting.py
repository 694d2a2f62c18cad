"""The linter on files that a test writes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel.lint.lint import lint_migrations, read_migration_directory
from kernel.lint.rules import NEXT_FILE_LINE, REVERT_FILE_LINE

if TYPE_CHECKING:
    from pathlib import Path

    from kernel.lint.finding import Finding
    from kernel.lint.lint import ColumnTypes, LintResult


def linted(folder: Path, script: str, *, before: str = "", types: ColumnTypes | None = None) -> LintResult:
    """What the linter says of the files of `script`; those of `before` are only read, revert files are not.

    With `types` the files of `script` are those that are pending in a database with columns of these types.
    """
    ahead = before.split(NEXT_FILE_LINE) if before else []
    names = []
    for number, text in enumerate([*ahead, *script.split(NEXT_FILE_LINE)], start=1):
        name = f"{number:03}_file.sql"
        (folder / name).write_text(text.partition(REVERT_FILE_LINE)[0], encoding="utf-8")
        names.append(name)
    return lint_migrations(read_migration_directory(folder), names[len(ahead) :], column_types=types)


def findings(folder: Path, script: str, *, before: str = "", types: ColumnTypes | None = None) -> list[Finding]:
    """The findings among it."""
    return [one.finding for one in linted(folder, script, before=before, types=types).findings]
