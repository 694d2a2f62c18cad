"""The acts of INSERT, UPDATE, DELETE, MERGE, COPY and queries: what is written, how much of it, and what is read."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from kernel.rehearsal.static.act import Act
from kernel.rehearsal.static.words import STRING, Reader, has

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kernel.rehearsal.static.words import Word

# Functions by which a query leaves the database. Sources: dblink, pg_cron, "Generic File Access Functions".
_REACHING = re.compile(
    r"dblink\w*|lo_(?:im|ex)port|pg_read_(?:binary_)?file|pg_ls_\w+|pg_stat_file|http_(?:get|post|put|delete)|"
    r"cron\.(?:un)?schedule\w*|net\.http_\w+|pg_file_\w+"
)
_CONSTANT = re.compile(r"'|[0-9].*|\$[0-9]+|TRUE|FALSE|-")
_LEAST_TESTED = 3  # column = value


def insert(reader: Reader) -> Iterator[Act]:
    """INSERT; what it takes from a query may be many rows."""
    begin = reader.begin_of_all
    reader.take("INTO")
    relation = reader.name()
    words = reader.words[reader.at :]
    bulk = has(words, "SELECT") and has(words, "FROM")
    reading = frozenset({"bulk"} if bulk else ())
    yield Act(verb="insert", relation=relation, begin=begin, traits=reading, words=tuple(words))
    yield from _inner(words)


def update(reader: Reader) -> Iterator[Act]:
    """UPDATE."""
    begin = reader.begin_of_all
    reader.take("ONLY")
    relation = reader.name()
    yield _write("update", relation, begin, reader.words[reader.at :])
    yield from _inner(reader.words[reader.at :])


def delete(reader: Reader) -> Iterator[Act]:
    """DELETE."""
    begin = reader.begin_of_all
    reader.take("FROM")
    reader.take("ONLY")
    relation = reader.name()
    yield _write("delete", relation, begin, reader.words[reader.at :])
    yield from _inner(reader.words[reader.at :])


def merge(reader: Reader) -> Iterator[Act]:
    """MERGE, which names its rows by its ON."""
    begin = reader.begin_of_all
    reader.take("INTO")
    reader.take("ONLY")
    yield Act(verb="merge", relation=reader.name(), begin=begin, traits=frozenset({"bulk"}))


def _write(verb: str, relation: str, begin: int, words: Sequence[Word]) -> Act:
    reader = Reader(words)
    reader.until("WHERE", ";")
    traits = {"bulk"}
    if not reader.take("WHERE"):
        traits.add("every row")
    else:
        condition = reader.until("RETURNING", ";")
        keys = tuple(word.key for word in condition)
        if keys in (("TRUE",), ("1", "=", "1")):
            traits.add("every row")
        elif _names_rows(condition):
            traits = set()
    return Act(verb=verb, relation=relation, begin=begin, traits=frozenset(traits), words=tuple(words))


def _names_rows(condition: Sequence[Word]) -> bool:
    """Whether a WHERE is `column = constant` or `column IN (constants)` and nothing else: few rows, by their key."""
    reader = Reader(condition)
    if not reader.name() or len(condition) < _LEAST_TESTED:
        return False
    if reader.take("="):
        rest = reader.rest()
    elif reader.take("IN"):
        rest = tuple(word for word in reader.group() if word.key != ",")
    else:
        return False
    return bool(rest) and not reader.key and all(_CONSTANT.fullmatch(word.key) for word in rest)


def copy(reader: Reader) -> Iterator[Act]:
    """COPY; with a program or a file of the server it reaches out."""
    begin = reader.begin_of_all
    query_words = reader.group() if reader.key == "(" else ()
    relation = "" if query_words else reader.name()
    reader.group()
    direction = reader.take_any("FROM", "TO")
    if reader.key in ("PROGRAM", STRING):
        yield Act(verb="reach out", relation=relation, name="COPY", begin=begin)
    elif direction == "FROM":
        yield Act(verb="copy", relation=relation, begin=begin)


def query(words: Sequence[Word], verb: str = "select") -> Iterator[Act]:
    """A query: the relation it reads first, what it writes in WITH, the calls that leave the database."""
    if not words:
        return
    begin = words[0].begin
    yield from _calls(words)
    into = Reader(words)
    into.until("INTO", "FROM", ";")
    if words[0].key == "SELECT" and into.take("INTO"):  # in a body it is a variable, which no rule asks about
        temporary = bool(into.take_any("TEMP", "TEMPORARY"))
        into.take_any("UNLOGGED", "TABLE")
        traits = frozenset({"temporary"} if temporary else ())
        yield Act(verb="create table", relation=into.name(), begin=begin, traits=traits)
        verb = "fill"
    reader = Reader(words)
    relation = ""
    while reader.key:
        if reader.take_any("FROM", "JOIN"):
            if reader.sees("ONLY"):
                reader.at += 1
            name = reader.name()
            if name and reader.key != "(":
                relation = relation or name
        else:
            reader.at += 1
    if verb == "call" or relation:
        yield Act(verb=verb, relation=relation, begin=begin, words=tuple(words))
    yield from _inner(words)


def _inner(words: Sequence[Word]) -> Iterator[Act]:
    """UPDATE and DELETE inside of WITH, and behind it."""
    for at, word in enumerate(words):
        ahead = words[at - 1].key if at else ""
        follows = words[at + 1].key if at + 1 < len(words) else ""
        if ahead not in ("(", ")"):
            continue
        if word.key == "UPDATE":
            yield from update(_clause(words, at))
        elif word.key == "DELETE" and follows == "FROM":
            yield from delete(_clause(words, at))


def _clause(words: Sequence[Word], at: int) -> Reader:
    """A reader behind the word at `at`, that ends where the parentheses around it do."""
    whole = Reader(words[at:])
    clause = Reader(whole.until(")"))
    clause.at = 1
    return clause


def _calls(words: Sequence[Word]) -> Iterator[Act]:
    for at, word in enumerate(words[:-1]):
        if words[at + 1].key != "(" or not word.named:
            continue
        qualified = f"{words[at - 2].text}.{word.text}" if at > 1 and words[at - 1].key == "." else word.text
        if _REACHING.fullmatch(qualified) or _REACHING.fullmatch(word.text):
            yield Act(verb="reach out", name=qualified, begin=word.begin)
        elif word.text == "set_config" and at + 4 < len(words):
            yield Act(verb="set", name=words[at + 2].text, other=words[at + 4].text, begin=word.begin)
