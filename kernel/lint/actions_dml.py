"""Read INSERT, UPDATE, DELETE, MERGE, COPY and queries into actions: what is written, how much, and what is read."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from kernel.lint.action import Action
from kernel.sql.reader import STRING_KEY, WordReader, contains_words

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kernel.sql.reader import Word


# Functions by which a query leaves the database. Sources: dblink, pg_cron, "Generic File Access Functions".
_EGRESS_FUNCTIONS = re.compile(
    r"dblink\w*|lo_(?:im|ex)port|pg_read_(?:binary_)?file|pg_ls_\w+|pg_stat_file|http_(?:get|post|put|delete)|"
    r"cron\.(?:un)?schedule\w*|net\.http_\w+|pg_file_\w+"
)
_CONSTANT = re.compile(r"'|[0-9].*|\$[0-9]+|TRUE|FALSE|-")
_MIN_CONDITION_WORDS = 3  # column = value


def read_insert(reader: WordReader) -> Iterator[Action]:
    """Read INSERT; from a query it may write many rows."""
    begin = reader.first_begin
    reader.take("INTO")
    relation = reader.take_name()
    words = reader.words[reader.index :]
    bulk = contains_words(words, "SELECT") and contains_words(words, "FROM")
    traits = {"bulk"} if bulk else set()
    yield Action(verb="insert", relation=relation, begin=begin, traits=traits, words=tuple(words))
    yield from _writes_in_with(words)


def read_update(reader: WordReader) -> Iterator[Action]:
    """Read UPDATE."""
    begin = reader.first_begin
    reader.take("ONLY")
    relation = reader.take_name()
    yield _update_or_delete("update", relation, begin, reader.words[reader.index :])
    yield from _writes_in_with(reader.words[reader.index :])


def read_delete(reader: WordReader) -> Iterator[Action]:
    """Read DELETE."""
    begin = reader.first_begin
    reader.take("FROM")
    reader.take("ONLY")
    relation = reader.take_name()
    yield _update_or_delete("delete", relation, begin, reader.words[reader.index :])
    yield from _writes_in_with(reader.words[reader.index :])


def read_merge(reader: WordReader) -> Iterator[Action]:
    """Read MERGE."""
    begin = reader.first_begin
    reader.take("INTO")
    reader.take("ONLY")
    yield Action(verb="merge", relation=reader.take_name(), begin=begin, traits={"bulk"})


def _update_or_delete(verb: str, relation: str, begin: int, words: Sequence[Word]) -> Action:
    reader = WordReader(words)
    reader.take_until("WHERE", ";")
    traits = {"bulk"}
    if not reader.take("WHERE"):
        traits.add("every row")
    else:
        condition = reader.take_until("RETURNING", ";")
        keys = tuple(word.key for word in condition)
        if keys in (("TRUE",), ("1", "=", "1")):
            traits.add("every row")
        elif _selects_by_constant(condition):
            traits = set()
    return Action(verb=verb, relation=relation, begin=begin, traits=traits, words=tuple(words))


def _selects_by_constant(condition: Sequence[Word]) -> bool:
    """Whether a WHERE is `column = constant` or `column IN (constants)` and nothing more: few rows, by their key."""
    reader = WordReader(condition)
    if not reader.take_name() or len(condition) < _MIN_CONDITION_WORDS:
        return False
    if reader.take("="):
        rest = reader.take_rest()
    elif reader.take("IN"):
        rest = tuple(word for word in reader.take_group() if word.key != ",")
    else:
        return False
    return bool(rest) and not reader.key and all(_CONSTANT.fullmatch(word.key) for word in rest)


def read_copy(reader: WordReader) -> Iterator[Action]:
    """Read COPY; with a program or a file of the server it leaves the database."""
    begin = reader.first_begin
    query_words = reader.take_group() if reader.key == "(" else ()
    relation = "" if query_words else reader.take_name()
    reader.take_group()
    direction = reader.take_any("FROM", "TO")
    if reader.key in ("PROGRAM", STRING_KEY):
        yield Action(verb="reach out", relation=relation, name="COPY", begin=begin)
    elif direction == "FROM":
        yield Action(verb="copy", relation=relation, begin=begin)


def read_query(words: Sequence[Word], verb: str = "select") -> Iterator[Action]:
    """Read a query: the first relation, the writes in WITH, the calls that leave the database."""
    if not words:
        return
    begin = words[0].begin
    yield from _function_calls(words)
    into = WordReader(words)
    into.take_until("INTO", "FROM", ";")
    if words[0].key == "SELECT" and into.take("INTO"):  # in a body it is a variable
        temporary = bool(into.take_any("TEMP", "TEMPORARY"))
        into.take_any("UNLOGGED", "TABLE")
        traits = {"temporary"} if temporary else set()
        yield Action(verb="create table", relation=into.take_name(), begin=begin, traits=traits)
        verb = "fill"
    reader = WordReader(words)
    relation = ""
    while reader.key:
        if reader.take_any("FROM", "JOIN"):
            if reader.next_is("ONLY"):
                reader.index += 1
            name = reader.take_name()
            if name and reader.key != "(":
                relation = relation or name
        else:
            reader.index += 1
    if verb == "call" or relation:
        yield Action(verb=verb, relation=relation, begin=begin, words=tuple(words))
    yield from _writes_in_with(words)


def _writes_in_with(words: Sequence[Word]) -> Iterator[Action]:
    """UPDATE and DELETE in WITH and after it."""
    for at, word in enumerate(words):
        before = words[at - 1].key if at else ""
        follows = words[at + 1].key if at + 1 < len(words) else ""
        if before not in ("(", ")"):
            continue
        if word.key == "UPDATE":
            yield from read_update(_clause_reader(words, at))
        elif word.key == "DELETE" and follows == "FROM":
            yield from read_delete(_clause_reader(words, at))


def _clause_reader(words: Sequence[Word], at: int) -> WordReader:
    """A reader after the word at `at`, which ends where the parentheses around it do."""
    whole = WordReader(words[at:])
    clause = WordReader(whole.take_until(")"))
    clause.index = 1
    return clause


def _function_calls(words: Sequence[Word]) -> Iterator[Action]:
    for at, word in enumerate(words[:-1]):
        if words[at + 1].key != "(" or not word.is_name:
            continue
        qualified = f"{words[at - 2].text}.{word.text}" if at > 1 and words[at - 1].key == "." else word.text
        if _EGRESS_FUNCTIONS.fullmatch(qualified) or _EGRESS_FUNCTIONS.fullmatch(word.text):
            yield Action(verb="reach out", name=qualified, begin=word.begin)
        elif word.text == "set_config" and at + 4 < len(words):
            yield Action(verb="set", name=words[at + 2].text, other=words[at + 4].text, begin=word.begin)
