"""Read the words of a statement, from left to right. Comments are skipped; a string is one word."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, NamedTuple

from kernel.sql.tokens import BackslashOutsideQuotes, UnclosedToken, scan_tokens

if TYPE_CHECKING:
    from collections.abc import Sequence


QUOTED_KEY, STRING_KEY, END_KEY = '"', "'", ""
# Longer statements are data, such as an INSERT of thousands of rows; the words that matter come first.
_MAX_WORDS = 6000
_NO = frozenset({"false", "off", "0"})
MAX_NAME_BYTES = 63  # NAMEDATALEN - 1; PostgreSQL cuts longer names at a character
_DOLLAR = re.compile(rb"\$[^$\s]*\$")
_STRING_OPENING = re.compile(rb"[eE]?'")
_ESCAPE_STRING = re.compile(
    r"''|\\(?:(?P<octal>[0-7]{1,3})|(?:x(?P<byte>[0-9A-Fa-f]{1,2})|u(?P<four>[0-9A-Fa-f]{4})|U(?P<eight>[0-9A-Fa-f]{8}))"
    r"|(?P<letter>.))",
    re.DOTALL,
)
_ESCAPED_LETTERS = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_UNICODE_PREFIX = re.compile(rb'[uU]&"')


class Word(NamedTuple):
    """A word: `key` is in upper case, '"' for a quoted name, "'" for a string; `text` is as PostgreSQL reads it.

    `begin` is its byte offset in the statement, `end` that of the byte after it, 0 if it was not read from text.
    `inner` is where the content of a string begins.
    """

    key: str
    text: str
    begin: int
    end: int = 0
    inner: int = 0

    @property
    def is_name(self) -> bool:
        """Whether the word can be a name."""
        return self.key == QUOTED_KEY or self.key[:1].isalpha() or self.key[:1] == "_"


def read_words(sql: bytes, offset: int = 0, *, most: int | None = _MAX_WORDS) -> tuple[Word, ...]:
    """Return the words of a statement, those before an unclosed token if there is one; `offset` is added to offsets.

    At most so many are read, None for all.
    """
    words: list[Word] = []
    try:
        for kind, begin, end in scan_tokens(sql, 0):
            if len(words) == most:
                break
            words.append(_read_word(kind, sql[begin:end], offset + begin))
    except (UnclosedToken, BackslashOutsideQuotes):
        pass
    return tuple(_join_unicode_names(words) if _UNICODE_PREFIX.search(sql) else words)


def _read_word(kind: str, text: bytes, begin: int) -> Word:
    end = begin + len(text)
    if kind == "string":
        opening = _DOLLAR.match(text) or _STRING_OPENING.match(text)
        skipped = opening.end() if opening else 0
        if text.startswith(b"$"):  # no escapes in a dollar quote
            content = text[skipped : len(text) - skipped].decode(errors="replace")
        else:
            content = text[skipped : len(text) - 1].decode(errors="replace")
            has_escapes = skipped > 1 and "\\" in content
            content = _ESCAPE_STRING.sub(_decode_escape, content) if has_escapes else content.replace("''", "'")
        return Word(STRING_KEY, content, begin, end, begin + skipped)
    if kind == "quoted":
        return Word(QUOTED_KEY, _as_name(text[1:-1].replace(b'""', b'"')), begin, end)
    # bytes.lower() folds ASCII only, as PostgreSQL does in UTF-8.
    return Word(text.upper().decode(errors="replace"), _as_name(text.lower()), begin, end)


def _decode_escape(match: re.Match[str]) -> str:
    """Return the character of an escape in E'...', or the quote that two quotes stand for; a byte is read as Latin-1.

    Source: PostgreSQL documentation, "String Constants with C-Style Escapes".
    """
    if match["letter"]:
        return _ESCAPED_LETTERS.get(match["letter"], match["letter"])
    if match["octal"]:
        return chr(int(match["octal"], 8) & 0xFF)
    digits = match["byte"] or match["four"] or match["eight"]
    return chr(min(int(digits, 16), sys.maxunicode)) if digits else "'"


def _as_name(text: bytes) -> str:
    return text[:MAX_NAME_BYTES].decode(errors="ignore" if len(text) > MAX_NAME_BYTES else "replace")


def _join_unicode_names(words: Sequence[Word]) -> list[Word]:
    """Replace the words of each U&"name" [UESCAPE 'character'] by the name that it stands for.

    Source: PostgreSQL documentation, "Lexical Structure", Identifiers and Key Words.
    """
    joined: list[Word] = []
    at = 0
    while at < len(words):
        keys = [word.key for word in words[at : at + 5]]
        prefix, mark, name = words[at : at + 3] if keys[:3] == ["U", "&", QUOTED_KEY] else (words[at],) * 3
        if not prefix.end == mark.begin < mark.end == name.begin:
            joined.append(prefix)
            at += 1
            continue
        has_escape = keys[3:] == ["UESCAPE", STRING_KEY]
        taken = words[at : at + (5 if has_escape else 3)]
        text = _decode_escapes(name.text, taken[-1].text if has_escape else "\\")
        joined.append(Word(QUOTED_KEY, text, prefix.begin, taken[-1].end))
        at += len(taken)
    return joined


def _decode_escapes(text: str, escape: str) -> str:
    """Decode the Unicode escapes of a name: the escape character twice, with 4 digits, or with + and 6 digits."""
    mark = re.escape(escape)
    pattern = rf"{mark}(?:({mark})|([0-9A-Fa-f]{{4}})|\+([0-9A-Fa-f]{{6}}))"

    def decode(match: re.Match[str]) -> str:
        return match[1] or chr(min(int(match[2] or match[3], 16), sys.maxunicode))

    # Two escapes of 4 digits may be the halves of one character.
    return re.sub(pattern, decode, text).encode("utf-16", "surrogatepass").decode("utf-16", "replace")


class WordReader:
    """A reader of words from left to right; at the end `key` is "" and nothing is taken."""

    def __init__(self, words: Sequence[Word]) -> None:
        self.words = words
        self.index = 0

    @property
    def key(self) -> str:
        """The key of the next word, END_KEY after the last."""
        return self.words[self.index].key if self.index < len(self.words) else END_KEY

    @property
    def begin(self) -> int:
        """The offset of the next word, at the end that of the last."""
        return self.words[min(self.index, len(self.words) - 1)].begin if self.words else 0

    @property
    def first_begin(self) -> int:
        """The offset of the first word."""
        return self.words[0].begin if self.words else 0

    def take_word(self) -> Word:
        """Take the next word; one without text at the end."""
        if self.index >= len(self.words):
            return Word(END_KEY, "", self.begin)
        self.index += 1
        return self.words[self.index - 1]

    def next_is(self, *keys: str) -> bool:
        """Whether the next words are these."""
        return tuple(word.key for word in self.words[self.index : self.index + len(keys)]) == keys

    def take(self, *keys: str) -> bool:
        """Skip these words if they are next; return whether they were."""
        if not self.next_is(*keys):
            return False
        self.index += len(keys)
        return True

    def take_any(self, *keys: str) -> str:
        """Skip the next word if it is one of these; return its key, or ""."""
        key = self.key
        if key not in keys:
            return ""
        self.index += 1
        return key

    def take_until(self, *keys: str) -> tuple[Word, ...]:
        """Skip to the next of these words outside parentheses, or to the end; return the words before it."""
        begin, depth = self.index, 0
        while self.index < len(self.words) and not (depth == 0 and self.key in keys):
            depth += (self.key in "([") - (self.key in ")]") if self.key else 0
            self.index += 1
        return tuple(self.words[begin : self.index])

    def take_name(self) -> str:
        """Take a name, qualified or not, without the schema public, the usual search path; "" if there is none."""
        parts: list[str] = []
        while self.index < len(self.words) and self.words[self.index].is_name:
            parts.append(self.words[self.index].text)
            self.index += 1
            if not self.take("."):
                break
        if len(parts) > 1 and parts[0] == "public":
            del parts[0]
        return ".".join(parts)

    def take_identifier(self) -> str:
        """Take a name, qualified or not, as PostgreSQL reads it in to_regclass and parse_ident; "" if there is none."""
        parts: list[str] = []
        while self.index < len(self.words) and (word := self.words[self.index]).is_name:
            parts.append('"' + word.text.replace('"', '""') + '"' if word.key == QUOTED_KEY else word.text)
            self.index += 1
            if not self.take("."):
                break
        return ".".join(parts)

    def take_names(self) -> list[str]:
        """Take a list of names, without ONLY and *."""
        names = []
        while True:
            self.take("ONLY")
            names.append(self.take_name())
            self.take("*")
            if not self.take(","):
                return [name for name in names if name]

    def take_group(self) -> tuple[Word, ...]:
        """Take the words in the parentheses that begin here; () if none do."""
        if not self.take("("):
            return ()
        inner = self.take_until(")")
        self.take(")")
        return inner

    def take_options(self) -> dict[str, bool]:
        """Take the options in the parentheses that begin here: each is on unless its value says no; the last counts.

        Source: defGetBoolean in PostgreSQL's source.
        """
        options = {}
        for item in split_at_commas(self.take_group()):
            options[item[0].key] = not (len(item) > 1 and item[1].text.lower() in _NO)
        return options

    def take_rest(self) -> tuple[Word, ...]:
        """Take the remaining words, without the semicolon."""
        return self.take_until(";")


def split_at_commas(words: Sequence[Word]) -> list[tuple[Word, ...]]:
    """Split a list at its commas outside parentheses."""
    reader, items = WordReader(words), []
    while reader.key:
        items.append(reader.take_until(","))
        reader.take(",")
    return items


def contains_words(words: Sequence[Word], *keys: str) -> bool:
    """Whether these words occur in a row."""
    present = [word.key for word in words]
    return any(tuple(present[at : at + len(keys)]) == keys for at in range(len(present) - len(keys) + 1))
