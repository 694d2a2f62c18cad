"""Suggested files: steps grouped into files with numbers, directives and comments, and written next to the report."""

from __future__ import annotations

from textwrap import wrap
from typing import TYPE_CHECKING

from kernel.errors import UsageError
from kernel.files import replacing_file
from kernel.migrations.migration import format_version, parse_filename
from kernel.rehearsal.result import SuggestedFile
from kernel.rehearsal.suggest.model import RewriteStep, StepTransaction

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from kernel.rehearsal.result import SuggestionResult
    from kernel.rehearsal.suggest.source import MigrationUnits


SUGGESTED_HEADER = b"-- Suggested by a rehearsal in place of "
_HEADER_BYTES = 4096
_COMMENT_COLUMNS = 110
_MAX_NAME_BYTES = 255  # of a file name on common file systems, and of schema_migrations.filename


def compose_files(
    source: MigrationUnits, steps: Iterable[RewriteStep], *, first: int, settings: Sequence[str] = ()
) -> tuple[SuggestedFile, ...]:
    """The files, numbered from `first`. A no-transaction file stays one file.

    `settings` are statements to repeat at the top of each file that runs in a transaction.
    """
    groups = [tuple(steps)] if source.directives.no_transaction else _group_steps(steps)
    names = [_compose_filename(source, group, first + place) for place, group in enumerate(groups)]
    if len(groups) == 1:
        names = [_compose_filename(source, (), first)]
    return tuple(
        SuggestedFile(filename=name, text=_compose_text(source, group, place, names, settings))
        for place, (name, group) in enumerate(zip(names, groups, strict=True))
    )


def _group_steps(steps: Iterable[RewriteStep]) -> list[tuple[RewriteStep, ...]]:
    groups: list[list[RewriteStep]] = []
    for step in steps:
        together = (
            groups
            and not step.starts_file
            and step.transaction is StepTransaction.SHARED
            and groups[-1][-1].transaction is StepTransaction.SHARED
        )
        if together:
            groups[-1].append(step)
        else:
            groups.append([step])
    return [tuple(group) for group in groups]


def _compose_filename(source: MigrationUnits, group: Iterable[RewriteStep], number: int) -> str:
    parsed = parse_filename(source.filename)
    description = parsed[1] if parsed else "migration"
    labels = dict.fromkeys(step.label for step in group if step.label)
    labels.pop(next((label for label in labels if description.endswith(label)), ""), None)
    ending = f"_{'_'.join(labels)}" if labels else ""
    version = format_version(number)
    room = _MAX_NAME_BYTES - len(f"{version}_{ending}.sql")
    return f"{version}_{description[:room].rstrip('_')}{ending}.sql"


def _compose_text(
    source: MigrationUnits, group: tuple[RewriteStep, ...], place: int, names: list[str], settings: Sequence[str]
) -> str:
    position = f", file {place + 1} of {len(names)}" if len(names) > 1 else ""
    lines = [
        f"-- Migration: {names[place].partition('_')[0]}",
        f"{SUGGESTED_HEADER.decode()}{source.filename}{position}.",
    ]
    if place == 0 and len(names) > 1:
        more = len(names) - 1
        lines.append(
            f"-- Pending files with higher numbers move up by {more}, the last one first: inv db.renumber FILE --to NNN"
        )
    no_transaction = source.directives.no_transaction or any(step.transaction is StepTransaction.NONE for step in group)
    if no_transaction:
        lines.append("-- migrate: no-transaction")
    if source.directives.lock_timeout_ms is not None:
        lines.append(f"-- migrate: lock_timeout={source.directives.lock_timeout_ms}ms")
    blocks = [] if no_transaction else [setting.rstrip("\n") for setting in settings]
    for step in group:
        comment = wrap(
            step.comment, _COMMENT_COLUMNS, initial_indent="-- ", subsequent_indent="-- ", break_long_words=False
        )
        blocks.append("\n".join([*comment, step.sql.rstrip("\n")]))
    return "\n".join(lines) + "\n\n" + "\n\n".join(blocks) + "\n"


def suggestion_folder(report: Path) -> Path:
    """The directory that belongs to a report: prod.html has prod-suggested/."""
    return report.with_name(f"{report.stem}-suggested")


def write_suggested_files(report: Path, suggestions: SuggestionResult) -> Path | None:
    """Write the files, replacing those of an earlier rehearsal; the directory, or None when there are no files.

    Raises UsageError when the directory contains SQL files of other origin, or cannot be written.
    """
    files = [file for trial in suggestions.trials for file in trial.suggestion.files]
    folder = suggestion_folder(report)
    try:
        earlier = list(_earlier_files(folder)) if folder.exists() else []
        for path in earlier:
            path.unlink()
        if not files:
            return None
        folder.mkdir(exist_ok=True)
        for file in files:
            with replacing_file(folder / file.filename) as opened:
                opened.write(file.text)
    except OSError as error:
        raise UsageError(f"{folder}: cannot be written ({error.strerror}); name another report") from error
    return folder


def _earlier_files(folder: Path) -> Iterable[Path]:
    for path in sorted(folder.glob("*.sql")):
        with path.open("rb") as file:
            if SUGGESTED_HEADER not in file.read(_HEADER_BYTES):
                raise UsageError(f"{path}: was not written by a rehearsal; move it away, or name another report")
        yield path
