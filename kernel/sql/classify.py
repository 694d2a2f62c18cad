"""Classify a statement by its effect on the transaction it runs in, from its first words.

Source: the calls of PreventInTransactionBlock in PostgreSQL's source, and the pages of the commands they belong to.
That a table is partitioned, which forbids REINDEX and CLUSTER too, is not in the text: the server reports it.
"""

from __future__ import annotations

import itertools
import re
from enum import Enum
from typing import TYPE_CHECKING

from kernel.sql.tokens import copy_direction, first_tokens

if TYPE_CHECKING:
    from collections.abc import Callable


class StatementEffect(Enum):
    """The effect of a statement that the runner must know before it sends it."""

    PLAIN = "plain"
    BEGIN = "begins a transaction"
    COMMIT = "ends the transaction"
    ROLLBACK = "rolls the transaction back"
    TWO_PHASE = "prepares the transaction"
    OUTSIDE = "cannot run inside a transaction"
    PROCEDURE = "may commit by itself"
    COPY_IN = "reads the data that follow"
    COPY_OUT = "sends data to the client"
    SETTING = "changes a setting"
    LOCAL_SEARCH_PATH = "changes the search path of the transaction"
    SCHEMA = "drops or renames a schema"
    LARGE_OBJECT = "loads a large object"
    LEXICAL = "changes how the text after it is read"


_PLAIN = StatementEffect.PLAIN  # looking up an Enum member takes longer than classifying an INSERT
_FIRST_WORD = re.compile(rb"[A-Za-z]++(?![0-9_$\x80-\xff])")
# Enough for ALTER TABLE IF EXISTS ONLY schema.name DETACH PARTITION schema.name CONCURRENTLY. A list of publications
# may be longer: the default is assumed then. COPY is read whole, since FROM follows all columns.
_LONG_LOOK_TOKENS = 64
# CREATE UNIQUE INDEX CONCURRENTLY needs four, and few need more.
_SHORT_LOOK_TOKENS = 5
_LONG_LOOK_COMMANDS = frozenset({b"ALTER", b"CLUSTER", b"COPY", b"REINDEX"})
# Most CREATE and DROP statements are plain by their second word, those of an index by the third.
_PLAIN_CREATE_OR_DROP = re.compile(
    rb"(?:create|drop)\s++(?:(?:unique\s++)?index\s++(?!concurrently\b)"
    rb"|(?!(?:unique|index|database|tablespace|subscription|schema)\b))[a-z_]",
    re.IGNORECASE,
)
# An ALTER without one of these words is plain.
_SPECIAL_ALTER = re.compile(rb"concurrently|database|schema|subscription|system|tablespace", re.IGNORECASE)
# The server reads a whole message by the settings in force when it arrives.
_LEXICAL_SETTINGS = frozenset(
    {"STANDARD_CONFORMING_STRINGS", "BACKSLASH_QUOTE", "ESCAPE_STRING_WARNING", "CLIENT_ENCODING", "NAMES", "ALL"}
)
# pg_dump loads large objects with these, in transactions of their own.
_LARGE_OBJECT_FUNCTIONS = (("LO_OPEN",), ("LOWRITE",), ("LO_CLOSE",))
_OFF = frozenset({"FALSE", "OFF", "0"})


def statement_effect(text: bytes, start: int = 0) -> StatementEffect:
    """Return the effect of the statement whose first significant byte is `text[start]` (Part.text, Part.start)."""
    if text[start : start + 1] not in _COMMAND_INITIALS or not (first := _FIRST_WORD.match(text, start)):
        return _PLAIN
    name = first[0].upper()
    classify = _EFFECT_BY_COMMAND.get(name)
    if (
        classify is None
        or _PLAIN_CREATE_OR_DROP.match(text, start)
        or (name == b"ALTER" and not _SPECIAL_ALTER.search(text, start))
    ):
        return _PLAIN
    words = first_tokens(text, start, limit=_SHORT_LOOK_TOKENS)
    if len(words) == _SHORT_LOOK_TOKENS and (name in _LONG_LOOK_COMMANDS or words[1] == "SUBSCRIPTION"):
        limit = None if name == b"COPY" else _LONG_LOOK_TOKENS
        words = first_tokens(text, start, limit=limit, contents=name != b"COPY")  # options may have quoted values
    return classify(words)


def _begin_effect(words: tuple[str, ...]) -> StatementEffect:
    return StatementEffect.BEGIN if words[0] == "BEGIN" or words[1:2] == ("TRANSACTION",) else StatementEffect.PLAIN


def _commit_effect(words: tuple[str, ...]) -> StatementEffect:
    return StatementEffect.OUTSIDE if words[1:2] == ("PREPARED",) else StatementEffect.COMMIT


def _rollback_effect(words: tuple[str, ...]) -> StatementEffect:
    if words[1:2] == ("PREPARED",):
        return StatementEffect.OUTSIDE
    return StatementEffect.PLAIN if "TO" in words[1:3] else StatementEffect.ROLLBACK


def _prepare_effect(words: tuple[str, ...]) -> StatementEffect:
    return StatementEffect.TWO_PHASE if words[1:2] == ("TRANSACTION",) else StatementEffect.PLAIN


def _create_effect(words: tuple[str, ...]) -> StatementEffect:
    match words[1:]:
        case ("DATABASE" | "TABLESPACE", *_) | ("INDEX", "CONCURRENTLY", *_) | ("UNIQUE", "INDEX", "CONCURRENTLY", *_):
            return StatementEffect.OUTSIDE
        case ("SUBSCRIPTION", *_):
            options = _with_options(words)
            # By default it creates a slot on the publisher.
            return _outside_if(options.get("CONNECT", True) and options.get("CREATE_SLOT", True))
    return StatementEffect.PLAIN


def _drop_effect(words: tuple[str, ...]) -> StatementEffect:
    # Only the server knows whether a subscription has a slot; without one, DROP could run in a transaction.
    match words[1:]:
        case ("DATABASE" | "TABLESPACE" | "SUBSCRIPTION", *_) | ("INDEX", "CONCURRENTLY", *_):
            return StatementEffect.OUTSIDE
        case ("SCHEMA", *_):
            return StatementEffect.SCHEMA
    return StatementEffect.PLAIN


def _alter_effect(words: tuple[str, ...]) -> StatementEffect:
    pairs = list(itertools.pairwise(words[2:]))
    match words[1:2]:
        case ("SYSTEM",):
            return StatementEffect.OUTSIDE
        case ("SCHEMA",):
            return StatementEffect.SCHEMA
        case ("TABLE",):
            return _outside_if(("DETACH", "PARTITION") in pairs and "CONCURRENTLY" in words)
        case ("DATABASE",):
            # [SET] TABLESPACE, but not RENAME TO or OWNER TO a name like that.
            return _outside_if(any(after == "TABLESPACE" and before != "TO" for before, after in pairs))
        case ("SUBSCRIPTION",):
            return _outside_if(_contacts_publisher(words, pairs))
    return StatementEffect.PLAIN


def _contacts_publisher(words: tuple[str, ...], pairs: list[tuple[str, str]]) -> bool:
    """Whether ALTER SUBSCRIPTION refreshes the list of tables or changes the slot on the publisher."""
    if ("SET", "(") in pairs:
        return not {"FAILOVER", "TWO_PHASE"}.isdisjoint(words)
    listed = any(pair in pairs for pair in (("SET", "PUBLICATION"), ("ADD", "PUBLICATION"), ("DROP", "PUBLICATION")))
    return ("REFRESH", "PUBLICATION") in pairs or (listed and _with_options(words).get("REFRESH", True))


def _reindex_effect(words: tuple[str, ...]) -> StatementEffect:
    options, rest = _parenthesized_options(words[1:])
    return _outside_if(
        options.get("CONCURRENTLY", False)
        or rest[:1] in (("SCHEMA",), ("DATABASE",), ("SYSTEM",))
        or rest[1:2] == ("CONCURRENTLY",)
    )


def _cluster_effect(words: tuple[str, ...]) -> StatementEffect:
    _, rest = _parenthesized_options(words[1:])
    return _outside_if(all(word in ("VERBOSE", ";") for word in rest))


def _copy_effect(words: tuple[str, ...]) -> StatementEffect:
    return {"FROM": StatementEffect.COPY_IN, "TO": StatementEffect.COPY_OUT}.get(
        copy_direction(words), StatementEffect.PLAIN
    )


def _select_effect(words: tuple[str, ...]) -> StatementEffect:
    name = words[3:4] if words[1:3] == ("PG_CATALOG", ".") else words[1:2]
    if name in _LARGE_OBJECT_FUNCTIONS:
        return StatementEffect.LARGE_OBJECT
    return StatementEffect.SETTING if name == ("SET_CONFIG",) else StatementEffect.PLAIN


def _set_effect(words: tuple[str, ...]) -> StatementEffect:
    match words[1:]:
        case ("SESSION" | "LOCAL", name, *_) | (name, *_) if name in _LEXICAL_SETTINGS:
            return StatementEffect.LEXICAL
        case ("LOCAL", "SEARCH_PATH" | "SCHEMA", *_):
            return StatementEffect.LOCAL_SEARCH_PATH
        case ("TRANSACTION" | "CONSTRAINTS" | "LOCAL", *_):  # local to the transaction
            return StatementEffect.PLAIN
    return StatementEffect.SETTING


def _outside_if(outside: bool) -> StatementEffect:  # noqa: FBT001 - the only argument, and private
    return StatementEffect.OUTSIDE if outside else StatementEffect.PLAIN


def _with_options(words: tuple[str, ...]) -> dict[str, bool]:
    return _parenthesized_options(words[words.index("WITH") + 1 :])[0] if "WITH" in words else {}


def _parenthesized_options(words: tuple[str, ...]) -> tuple[dict[str, bool], tuple[str, ...]]:
    """Return the options in the parentheses that `words` begin with, each on or off, and the words after them.

    The last of one name counts, as in PostgreSQL.
    """
    if words[:1] != ("(",) or ")" not in words:
        return {}, words
    end = words.index(")")
    options: dict[str, bool] = {}
    name = ""
    for word in words[1:end]:
        if not name:
            name = word.strip('"')
            options[name] = True
        elif word == ",":
            name = ""
        elif word.strip("'\"") in _OFF:
            options[name] = False
    return options, words[end + 1 :]


_EFFECT_BY_COMMAND: dict[bytes, Callable[[tuple[str, ...]], StatementEffect]] = {
    b"BEGIN": _begin_effect,
    b"START": _begin_effect,
    b"COMMIT": _commit_effect,
    b"END": _commit_effect,
    b"ROLLBACK": _rollback_effect,
    b"ABORT": _rollback_effect,
    b"PREPARE": _prepare_effect,
    b"CREATE": _create_effect,
    b"DROP": _drop_effect,
    b"ALTER": _alter_effect,
    b"REINDEX": _reindex_effect,
    b"CLUSTER": _cluster_effect,
    b"VACUUM": lambda _: StatementEffect.OUTSIDE,
    b"DISCARD": lambda words: _outside_if(words[1:2] == ("ALL",)),
    b"COPY": _copy_effect,
    b"SELECT": _select_effect,
    b"CALL": lambda _: StatementEffect.PROCEDURE,
    b"DO": lambda _: StatementEffect.PROCEDURE,
    b"SET": _set_effect,
    b"RESET": _set_effect,
}
# Most statements of a large file are INSERTs. Their first byte rules the commands above out.
_COMMAND_INITIALS = frozenset(letter for name in _EFFECT_BY_COMMAND for letter in (name[:1], name[:1].lower()))
