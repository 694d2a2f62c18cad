"""What a rehearsal does not run: a statement that starts a program would start it on this machine, as the server."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from kernel.errors import FilesInvalid, Problem
from kernel.files.script import reading
from kernel.rehearsal.static import words
from kernel.sql.part import Kind

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from kernel.files.migration import Migration
    from kernel.files.script import Script
    from kernel.sql.part import Part


def refuse_programs(todo: Iterable[tuple[Migration, Script]]) -> None:
    """Raise FilesInvalid with every COPY … PROGRAM, wherever in a statement its words stand."""
    problems = []
    for one, script in todo:
        with reading(script, one.path) as its_reading:
            problems += [
                Problem(
                    message="COPY … PROGRAM runs a program, which a rehearsal would do here; load the rows without one",
                    file=one.filename,
                    line=line,
                )
                for part in its_reading.parts
                for line in _lines(part)
            ]
    if problems:
        raise FilesInvalid(problems)


def _lines(part: Part) -> Iterator[int]:
    # A DO block and the body of a function are strings, whose text counts as well.
    if part.kind is Kind.STATEMENT and b"program" in part.text.lower():
        for first, _ in _programs(words.of(part.sql)):
            yield part.line + part.sql.count(b"\n", 0, first)


def _programs(found: tuple[words.Word, ...]) -> Iterator[tuple[int, words.Word]]:
    for one, after in pairwise(found):
        if one.key in ("FROM", "TO") and after.key == "PROGRAM":
            yield one.begin, after
    for one in found:
        if one.key == "'" and "program" in one.text.lower():
            for _, after in _programs(words.of(one.text.encode())):
                yield one.begin, after
