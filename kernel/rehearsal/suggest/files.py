"""Pieces put into files: numbers from the original's on, the directives that they need, the reasons as comments."""

from __future__ import annotations

from textwrap import wrap
from typing import TYPE_CHECKING

from kernel.files import naming
from kernel.rehearsal.suggest.piece import How, Piece
from kernel.rehearsal.suggest.suggested import File

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from kernel.rehearsal.suggest.source import Source

MARK = b"-- Suggested by a rehearsal in place of "
_COLUMNS = 110  # of a comment
_LONGEST = 255  # bytes: of a file name on common file systems, and of schema_migrations.filename


def of(source: Source, pieces: Iterable[Piece], *, first: int, settings: Sequence[str] = ()) -> tuple[File, ...]:
    """The files, numbered from `first`. A file that runs statement by statement stays one, and runs so.

    `settings` are statements that each file begins with which runs in a transaction.
    """
    groups = [tuple(pieces)] if source.directives.no_transaction else _grouped(pieces)
    names = [_filename(source, group, first + place, alone=len(groups) == 1) for place, group in enumerate(groups)]
    return tuple(
        File(filename=name, text=_text(source, group, place, names, settings))
        for place, (name, group) in enumerate(zip(names, groups, strict=True))
    )


def _grouped(pieces: Iterable[Piece]) -> list[tuple[Piece, ...]]:
    groups: list[list[Piece]] = []
    for piece in pieces:
        together = groups and not piece.begins and piece.how is How.WITH and groups[-1][-1].how is How.WITH
        if together:
            groups[-1].append(piece)
        else:
            groups.append([piece])
    return [tuple(group) for group in groups]


def _filename(source: Source, group: tuple[Piece, ...], number: int, *, alone: bool) -> str:
    parsed = naming.parse(source.filename)
    described = parsed[1] if parsed else "migration"
    labels = dict.fromkeys(piece.label for piece in group if piece.label)
    labels.pop(next((label for label in labels if described.endswith(label)), ""), None)
    ending = f"_{'_'.join(labels)}" if labels and not alone else ""
    version = naming.padded(number)
    room = _LONGEST - len(f"{version}_{ending}.sql")
    return f"{version}_{described[:room].rstrip('_')}{ending}.sql"


def _text(source: Source, group: tuple[Piece, ...], place: int, names: list[str], settings: Sequence[str]) -> str:
    step = f", file {place + 1} of {len(names)}" if len(names) > 1 else ""
    lines = [f"-- Migration: {names[place].partition('_')[0]}", f"{MARK.decode()}{source.filename}{step}."]
    if place == 0 and len(names) > 1:
        more = len(names) - 1
        lines.append(
            f"-- Pending files with higher numbers move up by {more}, the last one first: inv db.renumber FILE --to NNN"
        )
    outside = source.directives.no_transaction or any(piece.how is How.OUTSIDE for piece in group)
    if outside:
        lines.append("-- migrate: no-transaction")
    if source.directives.lock_timeout_ms is not None:
        lines.append(f"-- migrate: lock_timeout={source.directives.lock_timeout_ms}ms")
    blocks = [] if outside else [one.rstrip("\n") for one in settings]
    for piece in group:
        says = wrap(piece.says, _COLUMNS, initial_indent="-- ", subsequent_indent="-- ", break_long_words=False)
        blocks.append("\n".join([*says, piece.sql.rstrip("\n")]))
    return "\n".join(lines) + "\n\n" + "\n\n".join(blocks) + "\n"
