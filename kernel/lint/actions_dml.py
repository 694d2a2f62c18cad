"""Read INSERT, UPDATE, DELETE, MERGE, COPY and queries into actions: what is written, how much, and what is read."""

from __future__ import annotations

import re
from dataclasses import replace
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
    reader.take("INTO")
    relation = reader.take_name()
    words = reader.words[reader.index :]
    bulk = contains_words(words, "SELECT") and contains_words(words, "FROM")
    yield Action(verb="insert", relation=relation, traits={"bulk"} if bulk else set(), words=tuple(words))
    yield from _writes_in_with(words)


def read_change(reader: WordReader) -> Iterator[Action]:
    """Read UPDATE or DELETE."""
    verb = reader.words[0].text
    reader.take("FROM")
    reader.take("ONLY")
    relation = reader.take_name()
    words = reader.words[reader.index :]
    yield Action(verb=verb, relation=relation, traits=_change_traits(words), words=tuple(words))
    yield from _writes_in_with(words)


def read_merge(reader: WordReader) -> Iterator[Action]:
    """Read MERGE."""
    reader.take("INTO")
    reader.take("ONLY")
    yield Action(verb="merge", relation=reader.take_name(), traits={"bulk"})


def _change_traits(words: Sequence[Word]) -> set[str]:
    """Whether an UPDATE or DELETE changes every row, many, or (no trait) a few by their key."""
    reader = WordReader(words)
    reader.take_until("WHERE", ";")
    if not reader.take("WHERE"):
        return {"bulk", "every row"}
    condition = reader.take_until("RETURNING", ";")
    if tuple(word.key for word in condition) in (("TRUE",), ("1", "=", "1")):
        return {"bulk", "every row"}
    return set() if _selects_by_constant(condition) else {"bulk"}


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
    query_words = reader.take_group() if reader.key == "(" else ()
    relation = "" if query_words else reader.take_name()
    reader.take_group()
    direction = reader.take_any("FROM", "TO")
    if reader.key in ("PROGRAM", STRING_KEY):
        yield Action(verb="reach out", relation=relation, name="COPY")
    elif direction == "FROM":
        yield Action(verb="copy", relation=relation)


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
    """UPDATE and DELETE in WITH and after it; each ends where the parentheses around it do."""
    for at, word in enumerate(words):
        if not at or words[at - 1].key not in ("(", ")"):
            continue
        whole = WordReader(words[at:])
        if word.key == "UPDATE" or whole.next_is("DELETE", "FROM"):
            clause = WordReader(whole.take_until(")"))
            clause.index = 1
            for action in read_change(clause):
                yield action if action.begin else replace(action, begin=word.begin)


def _function_calls(words: Sequence[Word]) -> Iterator[Action]:
    for at, word in enumerate(words[:-1]):
        if words[at + 1].key != "(" or not word.is_name:
            continue
        qualified = f"{words[at - 2].text}.{word.text}" if at > 1 and words[at - 1].key == "." else word.text
        if _EGRESS_FUNCTIONS.fullmatch(qualified) or _EGRESS_FUNCTIONS.fullmatch(word.text):
            yield Action(verb="reach out", name=qualified, begin=word.begin)
        elif word.text == "set_config" and at + 4 < len(words):
            yield Action(verb="set", name=words[at + 2].text, other=words[at + 4].text, begin=word.begin)
