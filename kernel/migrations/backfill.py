"""Backfills: a file whose one UPDATE, DELETE or INSERT … SELECT runs in ranges of a key, each in its own transaction.

    -- migrate: batch=10000 by=orders.id
    UPDATE orders SET total_cents = round(total * 100) WHERE total_cents IS NULL;

The directive names the key; the runner adds the range to the condition of the statement. Whether its ranges together
do what it does as a whole is read from its text in `kernel/migrations/batch_statement.py`, whether a range may run
twice in `kernel/migrations/range_safety.py`; the server is asked in `kernel/db/walk_key.py`.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from kernel.sql.reader import WordReader, read_words
from kernel.units import parse_milliseconds

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kernel.migrations.directives import BatchWord
    from kernel.sql.lexer import Part
    from kernel.sql.reader import Word


EXAMPLE = "-- migrate: batch=10000 by=orders.id"
DEFAULT_LAG_BYTES = 16 << 20
_MAX_ROWS = 1_000_000
_SIZE = re.compile(r"([1-9][0-9]{0,5})(kB|MB|GB)")
_SIZE_BYTES = {"kB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30}
_KEY_PARTS = (2, 3)  # table and column, with the schema before them or without


class StatementProblem(NamedTuple):
    """What is wrong with a statement, and the byte offset of the place in its SQL."""

    message: str
    begin: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchOptions:
    """The directive: `rows` of a batch, the key as `table` and `column`, and how the runner makes room for others.

    `table` is as PostgreSQL reads it in to_regclass. `pause_ms` is the pause after each batch, None for one that
    depends on how long the batch took; `lag_bytes` is the largest replication lag, None for any. `line` is that of
    the directive.
    """

    rows: int
    table: str
    column: str
    pause_ms: int | None
    lag_bytes: int | None
    line: int

    @property
    def key(self) -> str:
        """The key as it is shown."""
        return f"{self.table}.{self.column}"


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchStatement:
    """A statement that runs in ranges: its `verb`, the table that it changes, and the one that is walked.

    `table` is the name of the walked table in the statement, `reference` what its columns are qualified with there.
    The condition is between the offsets `condition_begin` and `condition_end` of the SQL; without one, both are where
    WHERE is to be written. `clauses` are the words of its parts, by the word that begins each.
    """

    verb: str
    target: str
    target_reference: str
    table: str
    reference: str
    condition_begin: int
    condition_end: int
    words: tuple[Word, ...]
    clauses: dict[str, tuple[Word, ...]]

    @property
    def condition(self) -> tuple[Word, ...]:
        """The words of the condition; () without one."""
        return self.clauses.get("WHERE", ())

    @property
    def outer_select(self) -> Iterator[Word]:
        """The words of the select list outside of queries in parentheses."""
        words = self.clauses.get("SELECT", ())
        end = 0
        for at, word in enumerate(words):
            if word.begin >= end and word.key == "(" and words[at + 1 : at + 2] and words[at + 1].key == "SELECT":
                inner = WordReader(words[at:]).take_group()
                end = inner[-1].end
            if word.begin >= end:
                yield word


@dataclass(frozen=True, slots=True, kw_only=True)
class Backfill:
    """A backfill: the directive, and the statement with its `part` of the file.

    `allowed` means that the file itself says why a range may run twice.
    """

    options: BatchOptions
    statement: BatchStatement
    part: Part
    allowed: bool = False

    @property
    def digest(self) -> str:
        """The SHA-256 of what must not change between two runs: the statement and the key."""
        return hashlib.sha256(self.part.sql + b"\0" + self.options.key.encode()).hexdigest()

    @property
    def tables(self) -> tuple[str, str]:
        """The table that is changed, and the one that is walked."""
        return self.statement.target, self.statement.table

    def sql_for_range(self, condition: bytes) -> bytes:
        """The statement with one more condition."""
        sql, begin, end = self.part.sql, self.statement.condition_begin, self.statement.condition_end
        if begin == end:
            return b"%b\nWHERE %b%b" % (sql[:end], condition, sql[end:])
        # The parenthesis takes the place of a blank, so that positions in an error are those of the file.
        own = sql[begin:end].removeprefix(b" ")
        return b"%b(%b) AND %b%b" % (sql[:begin], own, condition, sql[end:])


def read_options(words: Sequence[BatchWord]) -> tuple[BatchOptions | None, tuple[BatchWord, ...]]:
    """The options of the directive; None with everything that is wrong, each as a word whose value is the message."""
    problems: list[BatchWord] = []
    by_name: dict[str, BatchWord] = {}
    for word in words:
        if word.name in by_name:
            problems.append(word._replace(value=f"-- migrate: {word.name}= is written twice"))
        by_name.setdefault(word.name, word)
    rows, key = 0, ("", "")
    pause_ms: int | None = None
    lag_bytes: int | None = DEFAULT_LAG_BYTES
    for name, word in by_name.items():
        try:
            match name:
                case "batch":
                    rows = _parse_rows(word.value)
                case "by":
                    key = _parse_key(word.value)
                case "pause":
                    pause_ms = parse_milliseconds(word.value)
                case _:
                    lag_bytes = _parse_lag(word.value)
        except ValueError as error:
            problems.append(word._replace(value=f"-- migrate: {name}: {error}"))
    missing = [name for name in ("batch", "by") if name not in by_name]
    if missing:
        names = " and ".join(f"{name}=" for name in missing)
        first = words[0]
        problems.append(first._replace(value=f"-- migrate: {first.name}= without {names}; write such as {EXAMPLE}"))
    if problems:
        return None, tuple(problems)
    return (
        BatchOptions(
            rows=rows,
            table=key[0],
            column=key[1],
            pause_ms=pause_ms,
            lag_bytes=lag_bytes,
            line=by_name["batch"].line,
        ),
        (),
    )


def _parse_rows(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(_MAX_ROWS)) and 0 < int(text) <= _MAX_ROWS):
        raise ValueError(f"expected the rows of a batch, 1 to {_MAX_ROWS}, such as batch=10000")
    return int(text)


def _parse_key(text: str) -> tuple[str, str]:
    reader = WordReader(read_words(text.encode()))
    parts = []
    while reader.key and reader.words[reader.index].is_name:
        begin = reader.index
        parts.append(WordReader(reader.words[begin : begin + 1]).take_identifier())
        reader.take_word()
        if not reader.take("."):
            break
    if reader.key or len(parts) not in _KEY_PARTS:
        raise ValueError("expected the table and its key, such as by=orders.id")
    column = read_words(parts[-1].encode())[0].text
    return ".".join(parts[:-1]), column


def _parse_lag(text: str) -> int | None:
    if text == "off":
        return None
    if not (match := _SIZE.fullmatch(text)):
        raise ValueError(
            "expected the largest replication lag of a standby, such as lag=16MB, or lag=off not to wait for standbys"
        )
    return int(match[1]) * _SIZE_BYTES[match[2]]


def same_table(one: str, other: str) -> bool:
    """Whether two names may be of the same table; one without a schema is of any."""
    first, second = (name_parts(name) for name in (one, other))
    return first[-1:] == second[-1:] and (len(first) == 1 or len(second) == 1 or first == second)


def quoted_name(name: str) -> str:
    """A name in double quotes."""
    return '"' + name.replace('"', '""') + '"'


def name_parts(name: str) -> tuple[str, ...]:
    """The parts of a qualified name, as PostgreSQL reads them."""
    return tuple(word.text for word in read_words(name.encode()) if word.is_name)


def called_functions(statement: BatchStatement) -> Iterator[tuple[str, Word]]:
    """Yield (name, word) of each function that the statement calls, a name with its schema if it has one."""
    words = statement.words
    for at, word in enumerate(words[:-1]):
        if not word.is_name or words[at + 1].key != "(":
            continue
        qualified = at > 1 and words[at - 1].key == "." and words[at - 2].is_name
        yield (f"{words[at - 2].text}.{word.text}" if qualified else word.text), word
