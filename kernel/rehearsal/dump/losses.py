"""What the server refused of a dump: what a copy can do without, told apart from what is missing from it."""

from __future__ import annotations

import re
import threading
from typing import TYPE_CHECKING

from kernel.errors import Problem
from kernel.rehearsal.dump.shape import Kind

if TYPE_CHECKING:
    from kernel.rehearsal.dump.hand import Refusal
    from kernel.rehearsal.dump.index import Index, Rows, Statement

_HARMLESS = frozenset({Kind.COMMENT, Kind.RIGHTS, Kind.PUBLICATION, Kind.CLEANING})
# Duplicate schema and duplicate object: a fresh database has a schema public already, and the language plpgsql.
_EXISTS = frozenset({"42P06", "42710"})
_LANGUAGE = re.compile(rb"CREATE (?:OR REPLACE )?(?:TRUSTED )?(?:PROCEDURAL )?LANGUAGE ")
_SHOWN = 60
_LOOKED_AT_BYTES = 4 * _SHOWN
# What follows may be a password, or the address of a server.
_SECRETIVE = re.compile(r"\b(?:OPTIONS|CONNECTION)\b")


class Losses:
    """Kept by several threads at once."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self._lock = threading.Lock()
        self._harmless: dict[str, None] = {}
        self._lost: list[tuple[int, str]] = []

    @property
    def harmless(self) -> tuple[str, ...]:
        """Sentences about what a copy can do without, each once."""
        return tuple(self._harmless)

    @property
    def lost(self) -> tuple[Problem, ...]:
        """What is missing, in the order of the dump."""
        ordered = sorted(self._lost)
        lines = self._index.text.lines([offset for offset, _sentence in ordered])
        return tuple(
            Problem(message=sentence, file=self._index.text.name, line=line)
            for (_offset, sentence), line in zip(ordered, lines, strict=True)
        )

    def left_out(self, statement: Statement) -> None:
        """A statement that would reach another server was not run."""
        self._forgive(f"{_words(self._beginning(statement))}: left out, a copy does not reach other servers")

    def setting(self, statement: bytes, refused: Refusal) -> None:
        """A session setting was refused, which changes nothing of the data."""
        self._forgive(f"{_words(statement)}: {refused}")

    def statement(self, statement: Statement, refused: Refusal) -> None:
        """A statement was refused."""
        beginning = self._beginning(statement)
        comment = statement.kind is Kind.FOLLOWER and beginning.startswith(b"COMMENT")
        exists = refused.sqlstate in _EXISTS and (statement.kind is Kind.SCHEMA or _LANGUAGE.match(beginning))
        sentence = f"{_words(beginning)}: {refused}"
        if statement.kind in _HARMLESS or comment or exists:
            self._forgive(sentence)
        else:
            self._lose(statement.offset, sentence)

    def rows(self, block: Rows, offset: int, refused: Refusal) -> None:
        """Rows were refused because of the one at `offset`: all of a COPY, or of INSERTs that one."""
        table = block.table.decode(errors="replace") or "COPY"
        what = "its rows" if block.statement_length else "a row"
        self._lose(offset, f"{table}: {what} could not be loaded: {refused}")

    def transaction(self) -> None:
        """The dump began a transaction and did not end it."""
        self._lose(self._index.text.size_bytes, "the dump ends inside of a transaction")

    def _beginning(self, statement: Statement) -> bytes:
        return self._index.text.read(statement.offset, min(statement.length, _LOOKED_AT_BYTES))

    def _forgive(self, sentence: str) -> None:
        with self._lock:
            self._harmless.setdefault(sentence)

    def _lose(self, offset: int, sentence: str) -> None:
        with self._lock:
            self._lost.append((offset, sentence))


def _words(statement: bytes) -> str:
    """The beginning of a statement, on one line."""
    text = " ".join(_SECRETIVE.split(statement.decode(errors="replace"), maxsplit=1)[0].split()).rstrip(" ;")
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
