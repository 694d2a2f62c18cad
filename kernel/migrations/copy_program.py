"""Find COPY … PROGRAM in migrations, before a throwaway server or a rehearsal runs them on this machine."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from kernel.errors import Problem
from kernel.migrations.script import open_script
from kernel.sql.lexer import PartKind
from kernel.sql.reader import Word, read_words

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from kernel.migrations.migration import Migration
    from kernel.migrations.script import Script
    from kernel.sql.lexer import Part


def copy_program_problems(todo: Iterable[tuple[Migration, Script]]) -> list[Problem]:
    """A problem for every COPY … PROGRAM: a server of this machine would start the program here.

    The words are found anywhere in a statement, and in the strings that are the bodies of functions and DO blocks.
    """
    problems = []
    for migration, script in todo:
        with open_script(script, migration.path) as opened:
            problems += [
                Problem(
                    message="COPY … PROGRAM would run a program on this machine; load the rows without one",
                    file=migration.filename,
                    line=line,
                )
                for part in opened.parts
                for line in _copy_program_lines(part)
            ]
    return problems


def _copy_program_lines(part: Part) -> Iterator[int]:
    if part.kind is PartKind.STATEMENT and b"program" in part.text.lower():
        for offset in _copy_program_offsets(read_words(part.sql)):
            yield part.line + part.sql.count(b"\n", 0, offset)


def _copy_program_offsets(words: tuple[Word, ...]) -> Iterator[int]:
    for word, following in pairwise(words):
        if word.key in ("FROM", "TO") and following.key == "PROGRAM":
            yield word.begin
    for word in words:
        if word.key == "'" and "program" in word.text.lower():
            # One line for each occurrence in the string: that on which the string begins.
            yield from (word.begin for _ in _copy_program_offsets(read_words(word.text.encode())))
