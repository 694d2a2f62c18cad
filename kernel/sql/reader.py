"""The words of a statement, and a reader that goes through them.

Comments are no words, and a string is one: neither can look like a command. Source: the lexer's tokens (kernel.sql).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from kernel.sql.tokens import BackslashOutsideQuotes, UnclosedToken, scan_tokens

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


QUOTED_KEY, STRING_KEY, END_KEY = '"', "'", ""
# Longer statements are data: INSERT with thousands of rows. What decides stands ahead of them.
_MAX_WORDS = 6000
_DOLLAR = re.compile(rb"\$[^$\s]*\$")
_STRING_OPENING = re.compile(rb"[eE]?'")


class Word(NamedTuple):
    """A word: its `key` in upper case, '"' for a quoted name, "'" for a string; its `text` as PostgreSQL reads it.

    `begin` is the byte of the statement where it begins, for a string where its content does; `end` is the byte after
    the whole word, 0 where it was read from no text.
    """

    key: str
    text: str
    begin: int
    end: int = 0

    @property
    def is_name(self) -> bool:
        """Whether it can be a name."""
        return self.key == QUOTED_KEY or self.key[:1].isalpha() or self.key[:1] == "_"


def read_words(sql: bytes, offset: int = 0) -> tuple[Word, ...]:
    """The words of a statement, or of as many as can be told apart; `offset` is added to where they begin."""
    return tuple(_iterate_words(sql, offset))


def _iterate_words(sql: bytes, offset: int) -> Iterator[Word]:
    for kind, begin, end in _joined_tokens(sql):
        text = sql[begin:end]
        if kind == "string":
            opening = _DOLLAR.match(text) or _STRING_OPENING.match(text)
            skipped = opening.end() if opening else 0
            if text.startswith(b"$"):  # what stands in dollars stands there as it is
                content = text[skipped : len(text) - skipped]
            else:
                content = text[skipped : len(text) - 1].replace(b"''", b"'")
            yield Word(STRING_KEY, content.decode(errors="replace"), offset + begin + skipped, offset + end)
        elif kind == "quoted":
            yield Word(
                QUOTED_KEY, text[1:-1].replace(b'""', b'"').decode(errors="replace"), offset + begin, offset + end
            )
        else:
            yield Word(text.upper().decode(errors="replace"), _fold_case(text), offset + begin, offset + end)


def _joined_tokens(sql: bytes) -> Iterator[tuple[str, int, int]]:
    """The lexer's tokens, as many as can be told apart. To it, a doubled quote ends one token and begins the next."""
    open_kind, open_begin, open_end = "", 0, 0
    try:
        for count, (kind, begin, end) in enumerate(scan_tokens(sql, 0)):
            if count == _MAX_WORDS:
                break
            if open_kind == kind and open_end == begin and sql[begin - 1] == sql[begin] and sql[begin] in b"'\"":
                open_end = end
                continue
            if open_kind:
                yield open_kind, open_begin, open_end
            open_kind, open_begin, open_end = kind, begin, end
    except (UnclosedToken, BackslashOutsideQuotes):
        pass
    if open_kind:
        yield open_kind, open_begin, open_end


def _fold_case(text: bytes) -> str:
    # bytes.lower() folds ASCII only, as PostgreSQL does in UTF-8.
    return text.lower().decode(errors="replace")


class WordReader:
    """Goes through words from left to right; at their end the key is "" and nothing more is taken."""

    def __init__(self, words: Sequence[Word]) -> None:
        self.words = words
        self.index = 0

    @property
    def key(self) -> str:
        """The key of the next word, END behind the last."""
        return self.words[self.index].key if self.index < len(self.words) else END_KEY

    @property
    def begin(self) -> int:
        """Where the next word begins, or the last one behind it."""
        return self.words[min(self.index, len(self.words) - 1)].begin if self.words else 0

    @property
    def first_begin(self) -> int:
        """Where the first word begins."""
        return self.words[0].begin if self.words else 0

    def next_is(self, *keys: str) -> bool:
        """Whether the next words are these."""
        found = self.words[self.index : self.index + len(keys)]
        return len(found) == len(keys) and all(word.key == key for word, key in zip(found, keys, strict=True))

    def take(self, *keys: str) -> bool:
        """Go past these words if they are the next."""
        if not self.next_is(*keys):
            return False
        self.index += len(keys)
        return True

    def take_any(self, *keys: str) -> str:
        """Go past the next word if it is one of these; its key, or ""."""
        key = self.key
        if key not in keys:
            return ""
        self.index += 1
        return key

    def take_until(self, *keys: str) -> tuple[Word, ...]:
        """Go to the next of these words outside parentheses, or to the end; what lies between."""
        begin, depth = self.index, 0
        while self.index < len(self.words) and not (depth == 0 and self.key in keys):
            depth += (self.key in "([") - (self.key in ")]") if self.key else 0
            self.index += 1
        return tuple(self.words[begin : self.index])

    def take_name(self) -> str:
        """A name, qualified or not, without the schema public, which stands for the usual search path; "" if none."""
        parts: list[str] = []
        while self.index < len(self.words) and self.words[self.index].is_name:
            parts.append(self.words[self.index].text)
            self.index += 1
            if not self.take("."):
                break
        if len(parts) > 1 and parts[0] == "public":
            del parts[0]
        return ".".join(parts)

    def take_names(self) -> list[str]:
        """Names with commas between; ONLY and * are passed over."""
        found = []
        while True:
            self.take("ONLY")
            found.append(self.take_name())
            self.take("*")
            if not self.take(","):
                return [name for name in found if name]

    def take_group(self) -> tuple[Word, ...]:
        """What stands in the parentheses that begin here, () when none do."""
        if not self.take("("):
            return ()
        inner = self.take_until(")")
        self.take(")")
        return inner

    def take_rest(self) -> tuple[Word, ...]:
        """All that is left, the semicolon not."""
        return self.take_until(";")


def split_at_commas(words: Sequence[Word]) -> list[tuple[Word, ...]]:
    """The items of a list, which commas outside parentheses divide."""
    reader, found = WordReader(words), []
    while reader.key:
        found.append(reader.take_until(","))
        reader.take(",")
    return found


def contains_words(words: Sequence[Word], *keys: str) -> bool:
    """Whether these words stand in a row somewhere."""
    found = [word.key for word in words]
    return any(tuple(found[at : at + len(keys)]) == keys for at in range(len(found) - len(keys) + 1))
