"""What a statement does to the transaction it runs in, judged by its first words.

Source: the calls of PreventInTransactionBlock in PostgreSQL's source, and the pages of the commands they belong to.
Words cannot tell that a table is partitioned, which bars REINDEX and CLUSTER of it as well: the server says so then.
"""

from __future__ import annotations

import itertools
import re
from enum import Enum
from typing import TYPE_CHECKING

from kernel.sql import copy_data, tokens

if TYPE_CHECKING:
    from collections.abc import Callable


class Effect(Enum):
    """What the runner must know of a statement before it sends it."""

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
    LEXICAL = "changes how the text behind it is read"


_PLAIN = Effect.PLAIN  # to look up the member of an Enum takes longer than to see that an INSERT is plain
_FIRST_WORD = re.compile(rb"[A-Za-z]++(?![0-9_$\x80-\xff])")
# Enough for ALTER TABLE IF EXISTS ONLY schema.name DETACH PARTITION schema.name CONCURRENTLY. A list of publications
# may be longer: what is not seen is taken for the default. COPY is seen whole: FROM stands behind all its columns.
_LOOKED_AT = 64
# CREATE UNIQUE INDEX CONCURRENTLY needs four, and few need more.
_FIRST_LOOK = 5
_LONG = frozenset({b"ALTER", b"CLUSTER", b"COPY", b"REINDEX"})
# CREATE and DROP of nearly everything show by their second word that they are plain, of an index by the third.
_ORDINARY = re.compile(
    rb"(?:create|drop)\s++(?:(?:unique\s++)?index\s++(?!concurrently\b)"
    rb"|(?!(?:unique|index|database|tablespace|subscription)\b))[a-z_]",
    re.IGNORECASE,
)
# What makes an ALTER special shows in a word that few of them hold.
_HINT = re.compile(rb"concurrently|database|subscription|system|tablespace", re.IGNORECASE)
# The server reads a whole message by the settings in force when it arrives.
_LEXICAL = frozenset(
    {"STANDARD_CONFORMING_STRINGS", "BACKSLASH_QUOTE", "ESCAPE_STRING_WARNING", "CLIENT_ENCODING", "NAMES", "ALL"}
)
_OFF = frozenset({"FALSE", "OFF", "0"})


def of(text: bytes, start: int = 0) -> Effect:
    """The effect of the statement whose first significant byte is `text[start]` (Part.text, Part.start)."""
    if text[start : start + 1] not in _INITIALS or not (first := _FIRST_WORD.match(text, start)):
        return _PLAIN
    name = first[0].upper()
    judge = _JUDGES.get(name)
    if judge is None or _ORDINARY.match(text, start) or (name == b"ALTER" and not _HINT.search(text, start)):
        return _PLAIN
    words = tokens.words(text, start, limit=_FIRST_LOOK)
    if len(words) == _FIRST_LOOK and (name in _LONG or words[1] == "SUBSCRIPTION"):
        words = tokens.words(text, start, limit=None if name == b"COPY" else _LOOKED_AT)
    return judge(words)


def _begin(words: tuple[str, ...]) -> Effect:
    return Effect.BEGIN if words[0] == "BEGIN" or words[1:2] == ("TRANSACTION",) else Effect.PLAIN


def _commit(words: tuple[str, ...]) -> Effect:
    return Effect.OUTSIDE if words[1:2] == ("PREPARED",) else Effect.COMMIT


def _rollback(words: tuple[str, ...]) -> Effect:
    if words[1:2] == ("PREPARED",):
        return Effect.OUTSIDE
    return Effect.PLAIN if "TO" in words[1:3] else Effect.ROLLBACK


def _prepare(words: tuple[str, ...]) -> Effect:
    return Effect.TWO_PHASE if words[1:2] == ("TRANSACTION",) else Effect.PLAIN


def _create(words: tuple[str, ...]) -> Effect:
    match words[1:]:
        case ("DATABASE" | "TABLESPACE", *_) | ("INDEX", "CONCURRENTLY", *_) | ("UNIQUE", "INDEX", "CONCURRENTLY", *_):
            return Effect.OUTSIDE
        case ("SUBSCRIPTION", *_):
            options = _with_options(words)
            # It makes a slot at the publisher, unless told not to; without a connection it cannot.
            return _outside(options.get("CONNECT", True) and options.get("CREATE_SLOT", True))
    return Effect.PLAIN


def _drop(words: tuple[str, ...]) -> Effect:
    # A subscription without a slot could go inside a transaction; whether it has one, only the server knows.
    match words[1:]:
        case ("DATABASE" | "TABLESPACE" | "SUBSCRIPTION", *_) | ("INDEX", "CONCURRENTLY", *_):
            return Effect.OUTSIDE
    return Effect.PLAIN


def _alter(words: tuple[str, ...]) -> Effect:
    pairs = list(itertools.pairwise(words[2:]))
    match words[1:2]:
        case ("SYSTEM",):
            return Effect.OUTSIDE
        case ("TABLE",):
            return _outside(("DETACH", "PARTITION") in pairs and "CONCURRENTLY" in words)
        case ("DATABASE",):
            # [SET] TABLESPACE, but not RENAME TO or OWNER TO a name like that.
            return _outside(any(after == "TABLESPACE" and before != "TO" for before, after in pairs))
        case ("SUBSCRIPTION",):
            return _outside(_talks_to_publisher(words, pairs))
    return Effect.PLAIN


def _talks_to_publisher(words: tuple[str, ...], pairs: list[tuple[str, str]]) -> bool:
    """Whether ALTER SUBSCRIPTION fetches the list of tables anew, or changes the slot at the publisher."""
    if ("SET", "(") in pairs:
        return not {"FAILOVER", "TWO_PHASE"}.isdisjoint(words)
    listed = any(pair in pairs for pair in (("SET", "PUBLICATION"), ("ADD", "PUBLICATION"), ("DROP", "PUBLICATION")))
    return ("REFRESH", "PUBLICATION") in pairs or (listed and _with_options(words).get("REFRESH", True))


def _reindex(words: tuple[str, ...]) -> Effect:
    options, rest = _options(words[1:])
    return _outside(
        options.get("CONCURRENTLY", False)
        or rest[:1] in (("SCHEMA",), ("DATABASE",), ("SYSTEM",))
        or rest[1:2] == ("CONCURRENTLY",)
    )


def _cluster(words: tuple[str, ...]) -> Effect:
    _, rest = _options(words[1:])
    return _outside(all(word in ("VERBOSE", ";") for word in rest))


def _copy(words: tuple[str, ...]) -> Effect:
    return {"FROM": Effect.COPY_IN, "TO": Effect.COPY_OUT}.get(copy_data.direction(words), Effect.PLAIN)


def _select(words: tuple[str, ...]) -> Effect:
    name = words[3:4] if words[1:3] == ("PG_CATALOG", ".") else words[1:2]
    return Effect.SETTING if name == ("SET_CONFIG",) else Effect.PLAIN


def _set(words: tuple[str, ...]) -> Effect:
    match words[1:]:
        case ("SESSION" | "LOCAL", name, *_) | (name, *_) if name in _LEXICAL:
            return Effect.LEXICAL
        case ("TRANSACTION" | "CONSTRAINTS" | "LOCAL", *_):  # they hold for the transaction they are in, and no other
            return Effect.PLAIN
    return Effect.SETTING


def _outside(outside: bool) -> Effect:  # noqa: FBT001 - the sentence reads best with the condition as it is
    return Effect.OUTSIDE if outside else Effect.PLAIN


def _with_options(words: tuple[str, ...]) -> dict[str, bool]:
    return _options(words[words.index("WITH") + 1 :])[0] if "WITH" in words else {}


def _options(words: tuple[str, ...]) -> tuple[dict[str, bool], tuple[str, ...]]:
    """The options in the parentheses that `words` begin with, each on or off, and the words behind.

    The last of one name counts, as in PostgreSQL. A value in quotes is not looked into: it is taken for on.
    """
    if words[:1] != ("(",) or ")" not in words:
        return {}, words
    end = words.index(")")
    options: dict[str, bool] = {}
    name = ""
    for word in words[1:end]:
        if not name:
            name = word
            options[name] = True
        elif word == ",":
            name = ""
        elif word in _OFF:
            options[name] = False
    return options, words[end + 1 :]


_JUDGES: dict[bytes, Callable[[tuple[str, ...]], Effect]] = {
    b"BEGIN": _begin,
    b"START": _begin,
    b"COMMIT": _commit,
    b"END": _commit,
    b"ROLLBACK": _rollback,
    b"ABORT": _rollback,
    b"PREPARE": _prepare,
    b"CREATE": _create,
    b"DROP": _drop,
    b"ALTER": _alter,
    b"REINDEX": _reindex,
    b"CLUSTER": _cluster,
    b"VACUUM": lambda _: Effect.OUTSIDE,
    b"DISCARD": lambda words: _outside(words[1:2] == ("ALL",)),
    b"COPY": _copy,
    b"SELECT": _select,
    b"CALL": lambda _: Effect.PROCEDURE,
    b"DO": lambda _: Effect.PROCEDURE,
    b"SET": _set,
    b"RESET": _set,
}
# The statements of a large file are INSERTs. One byte tells that they are none of those above.
_INITIALS = frozenset(letter for name in _JUDGES for letter in (name[:1], name[:1].lower()))
