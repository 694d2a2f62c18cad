"""Pieces put into files: numbers from the original's on, the directives that they need, the reasons as comments."""

from __future__ import annotations

from textwrap import wrap
from typing import TYPE_CHECKING

from kernel.errors import UsageError
from kernel.migrations.migration import format_version, parse_filename
from kernel.rehearsal.result import SuggestedFile
from kernel.rehearsal.suggest.model import RewriteStep, StepTransaction

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from kernel.rehearsal.result import SuggestionResult
    from kernel.rehearsal.suggest.source import MigrationUnits


SUGGESTED_HEADER = b"-- Suggested by a rehearsal in place of "
_COMMENT_WIDTH = 110  # of a comment
_MAX_NAME_BYTES = 255  # bytes: of a file name on common file systems, and of schema_migrations.filename


def compose_files(
    source: MigrationUnits, pieces: Iterable[RewriteStep], *, first: int, settings: Sequence[str] = ()
) -> tuple[SuggestedFile, ...]:
    """The files, numbered from `first`. A file that runs statement by statement stays one, and runs so.

    `settings` are statements that each file begins with which runs in a transaction.
    """
    groups = [tuple(pieces)] if source.directives.no_transaction else _group_steps(pieces)
    names = [
        _compose_filename(source, group, first + place, alone=len(groups) == 1) for place, group in enumerate(groups)
    ]
    return tuple(
        SuggestedFile(filename=name, text=_compose_text(source, group, place, names, settings))
        for place, (name, group) in enumerate(zip(names, groups, strict=True))
    )


def _group_steps(pieces: Iterable[RewriteStep]) -> list[tuple[RewriteStep, ...]]:
    groups: list[list[RewriteStep]] = []
    for piece in pieces:
        together = (
            groups
            and not piece.starts_file
            and piece.transaction is StepTransaction.SHARED
            and groups[-1][-1].transaction is StepTransaction.SHARED
        )
        if together:
            groups[-1].append(piece)
        else:
            groups.append([piece])
    return [tuple(group) for group in groups]


def _compose_filename(source: MigrationUnits, group: tuple[RewriteStep, ...], number: int, *, alone: bool) -> str:
    parsed = parse_filename(source.filename)
    described = parsed[1] if parsed else "migration"
    labels = dict.fromkeys(piece.label for piece in group if piece.label)
    labels.pop(next((label for label in labels if described.endswith(label)), ""), None)
    ending = f"_{'_'.join(labels)}" if labels and not alone else ""
    version = format_version(number)
    room = _MAX_NAME_BYTES - len(f"{version}_{ending}.sql")
    return f"{version}_{described[:room].rstrip('_')}{ending}.sql"


def _compose_text(
    source: MigrationUnits, group: tuple[RewriteStep, ...], place: int, names: list[str], settings: Sequence[str]
) -> str:
    step = f", file {place + 1} of {len(names)}" if len(names) > 1 else ""
    lines = [f"-- Migration: {names[place].partition('_')[0]}", f"{SUGGESTED_HEADER.decode()}{source.filename}{step}."]
    if place == 0 and len(names) > 1:
        more = len(names) - 1
        lines.append(
            f"-- Pending files with higher numbers move up by {more}, the last one first: inv db.renumber FILE --to NNN"
        )
    outside = source.directives.no_transaction or any(piece.transaction is StepTransaction.NONE for piece in group)
    if outside:
        lines.append("-- migrate: no-transaction")
    if source.directives.lock_timeout_ms is not None:
        lines.append(f"-- migrate: lock_timeout={source.directives.lock_timeout_ms}ms")
    blocks = [] if outside else [one.rstrip("\n") for one in settings]
    for piece in group:
        says = wrap(
            piece.comment, _COMMENT_WIDTH, initial_indent="-- ", subsequent_indent="-- ", break_long_words=False
        )
        blocks.append("\n".join([*says, piece.sql.rstrip("\n")]))
    return "\n".join(lines) + "\n\n" + "\n\n".join(blocks) + "\n"


# The folder beside the report that the suggested files are written to.


_HEADER_BYTES = 4096


def suggestion_folder(report: Path) -> Path:
    """The folder that goes with a report: prod.html has prod-suggested/."""
    return report.with_name(f"{report.stem}-suggested")


def write_suggested_files(report: Path, advice: SuggestionResult) -> Path | None:
    """Write the files, in place of those of an earlier rehearsal; the folder, or None when there are none.

    Raises UsageError when the folder holds SQL that is not ours, or cannot be written.
    """
    suggested = [file for trial in advice.trials for file in trial.suggestion.files]
    folder = suggestion_folder(report)
    try:
        earlier = list(_earlier_files(folder)) if folder.exists() else []
        for path in earlier:
            path.unlink()
        if not suggested:
            return None
        folder.mkdir(exist_ok=True)
        for file in suggested:
            with (folder / file.filename).open("x", encoding="utf-8", newline="\n") as opened:
                opened.write(file.text)
    except OSError as error:
        raise UsageError(f"{folder}: cannot be written ({error.strerror}); name another report") from error
    return folder


def _earlier_files(folder: Path) -> Iterable[Path]:
    for path in sorted(folder.glob("*.sql")):
        with path.open("rb") as file:
            if SUGGESTED_HEADER not in file.read(_HEADER_BYTES):
                raise UsageError(f"{path}: is not of a rehearsal; move it away, or name another report")
        yield path
