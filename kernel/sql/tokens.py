"""Tokens of PostgreSQL's SQL, as far as they decide where a statement ends and what it does.

Source of the rules: PostgreSQL documentation, "Lexical Structure", and src/backend/parser/scan.l.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


def copy_direction(words: Sequence[str]) -> str:
    """Return FROM when COPY reads from the client, TO when it writes to the client, else "".

    The first of the two words outside parentheses decides. The grammar accepts STDIN and
    STDOUT with either.
    """
    depth = 0
    for at, word in enumerate(words):
        if word in ("FROM", "TO") and depth == 0:
            return word if words[at + 1 : at + 2] in (("STDIN",), ("STDOUT",)) else ""
        depth += (word == "(") - (word == ")")
    return ""


_NAME_START = rb"[A-Za-z_\x80-\xff]"
_NAME_BYTE = rb"[A-Za-z0-9_$\x80-\xff]"

# The groups below repeat greedily although they never need to give anything back: possessive repeats of groups are
# broken in Python 3.11 before 3.11.5. What must follow rules backtracking out. A greedy repeat takes memory for each
# round, so their number is limited; end_of_run and end_of_complex_token handle longer ones.
_MAX_REPEATS = 1000
REPEATED_REGEX = b"{0,%d}" % _MAX_REPEATS

# A comment without another one inside; end_of_comment counts nested ones.
FLAT_COMMENT_REGEX = rb"/\*[^*/]*+(?:(?:\*(?!/)|/(?!\*))[^*/]*+)" + REPEATED_REGEX + rb"\*/"
BLANK_REGEX = rb"[ \t\n\r\f\v]++|--[^\r\n]*+|" + FLAT_COMMENT_REGEX

_ESCAPED = rb"'[^'\\]*+(?:(?:\\.|'')[^'\\]*+)" + REPEATED_REGEX + rb"'(?!')"
# A string goes on in the next quote when only blanks with a newline lie between, and keeps its escapes.
_CONTINUES = rb"[ \t\f\v]*+(?:--[^\r\n]*+)?[\r\n][ \t\n\r\f\v]*+(?:--[^\r\n]*+[\r\n][ \t\n\r\f\v]*+)*(?=')"
_ANY_ESCAPE_STRING = _ESCAPED + rb"(?:" + _CONTINUES + _ESCAPED + rb")" + REPEATED_REGEX + rb"(?!" + _CONTINUES + rb")"
# The byte before an E shows whether the E is a prefix or the last letter of a name.
_STANDARD_STRING = rb"'(?:(?<![eE]')|(?<=" + _NAME_BYTE + rb"[eE]'))[^']*+'"
_ORDINARY_BYTES = rb"[^'\"$;\\/-]*+"


def simple_run_regex(*, standard: bool) -> bytes:
    """Return an expression that matches up to a semicolon or to what end_of_complex_token must handle.

    It starts at a token: an E there is a prefix, also after the $ that closes a dollar quote.
    """
    return (
        (rb"(?:[eE]" + _ANY_ESCAPE_STRING + rb"|(?![eE]'))" if standard else b"")
        + _ORDINARY_BYTES
        + rb"(?:(?:"
        + (_STANDARD_STRING + rb"|" if standard else b"")
        + _ANY_ESCAPE_STRING  # an escape string
        + rb"|\"[^\"]*+\"|--[^\r\n]*+|-|"
        + FLAT_COMMENT_REGEX
        + rb"|/(?!\*))"
        + _ORDINARY_BYTES
        + rb")"
        + REPEATED_REGEX
    )


# Compiling one takes as long as importing a module, and few runs need all.
@cache
def simple_run_pattern(*, standard: bool) -> re.Pattern[bytes]:
    """Compile simple_run_regex."""
    return re.compile(simple_run_regex(standard=standard), re.DOTALL)


@cache
def _token_pattern(*, standard: bool) -> re.Pattern[bytes]:
    return re.compile(
        rb"(?P<blank>"
        + BLANK_REGEX
        + rb")|(?P<string>"
        + (rb"[eE]" + _ANY_ESCAPE_STRING + rb"|'[^']*+'(?:'[^']*+')*" if standard else rb"[eE]?" + _ANY_ESCAPE_STRING)
        + rb")|(?P<quoted>(?:\"[^\"]*+\")+(?!\"))|(?P<word>(?![eE]')"
        + _NAME_START
        + _NAME_BYTE
        + rb"*+)|(?P<number>[0-9][A-Za-z0-9_\x80-\xff]*+|\$[0-9]++)|(?P<other>.)",
        re.DOTALL,
    )


_DOLLAR_QUOTE = re.compile(rb"\$(?:" + _NAME_START + rb"[A-Za-z0-9_\x80-\xff]*+)?\$")
_DOLLAR_REST = re.compile(rb"\$[0-9]*+")
_NAME_REST = re.compile(_NAME_BYTE + rb"*+")
_STRING_EDGE = re.compile(rb"\\.|''|'", re.DOTALL)
_CONTINUATION = re.compile(_CONTINUES)
_COMMENT_EDGE = re.compile(rb"/\*|\*/")
_NAME_BYTES = frozenset(re.findall(_NAME_BYTE, bytes(range(256))))


class UnclosedToken(Exception):
    """The buffer ends inside a token of kind `token_kind`, or inside a statement (""), which begins at `at`."""

    def __init__(self, token_kind: str, at: int) -> None:
        super().__init__(token_kind)
        self.token_kind = token_kind
        self.at = at


class BackslashOutsideQuotes(Exception):
    """A backslash at `at`, outside quotes: only psql commands have one there."""

    def __init__(self, at: int) -> None:
        super().__init__(at)
        self.at = at


def end_of_run(pattern: re.Pattern[bytes], buffer: bytes, at: int) -> int:
    """Return the end of repeated matches of `pattern` from `at` on; `at` itself without a match."""
    while match := pattern.match(buffer, at):
        begin, at = at, match.end()
        if at - begin < _MAX_REPEATS:  # a round takes a byte at least, so the limit was not reached
            break
    return at


def end_of_complex_token(buffer: bytes, at: int, run: int) -> int:
    """Return the end of the token at which the simple run that begins at `run` stopped.

    It is a dollar quote, a nested comment, or a comment or string with very many stars or escapes.
    Raises UnclosedToken when the buffer ends first, BackslashOutsideQuotes at a backslash.
    """
    byte = buffer[at]
    if byte == ord("$"):
        return _end_of_dollar_token(buffer, at, run)
    if byte == ord("/"):
        return end_of_comment(buffer, at)
    if byte == ord("\\"):
        raise BackslashOutsideQuotes(at)
    if byte == ord('"'):
        raise UnclosedToken("quoted name", at)
    return _end_of_escape_string(buffer, at if byte == ord("'") else at + len("E"))


def _end_of_escape_string(buffer: bytes, at: int) -> int:
    """Return the end of the escape string at `at`; simple_run_regex matches all other strings."""
    begin = at
    while True:
        end = next((edge.end() for edge in _STRING_EDGE.finditer(buffer, begin + 1) if edge[0] == b"'"), -1)
        if end < 0:
            raise UnclosedToken("quote", at)
        if not (more := _CONTINUATION.match(buffer, end)):
            return end
        begin = more.end()


def _end_of_dollar_token(buffer: bytes, at: int, run: int) -> int:
    begin = at
    while begin > run and buffer[begin - 1 : begin] in _NAME_BYTES:
        begin -= 1
    if begin < at and buffer[begin] not in b"0123456789":
        return _end_of_match(_NAME_REST, buffer, at)  # a dollar inside a name
    if quote := _DOLLAR_QUOTE.match(buffer, at):
        end = buffer.find(quote[0], quote.end())
        if end < 0:
            raise UnclosedToken(f"dollar quote {quote[0].decode()}", at)
        return end + len(quote[0])
    return _end_of_match(_DOLLAR_REST, buffer, at)


def _end_of_match(pattern: re.Pattern[bytes], buffer: bytes, at: int) -> int:
    match = pattern.match(buffer, at)
    return match.end() if match else at


def end_of_comment(buffer: bytes, at: int) -> int:
    """Return the end of the comment at `at`, which may hold comments. Raises UnclosedToken."""
    depth = 0
    for edge in _COMMENT_EDGE.finditer(buffer, at):
        depth += 1 if edge[0] == b"/*" else -1
        if depth == 0:
            return edge.end()
    raise UnclosedToken("comment", at)


def scan_tokens(buffer: bytes, at: int, *, standard: bool = True) -> Iterator[tuple[str, int, int]]:
    """Yield (kind, begin, end) of each token but blanks and comments, to the end of the buffer.

    Kinds: word, quoted (a whole name, doubled quotes included), string, number (and $1), other (one byte).
    Raises UnclosedToken and BackslashOutsideQuotes, as end_of_complex_token does.
    """
    pattern = _token_pattern(standard=standard)
    while token := pattern.match(buffer, at):
        kind, end = str(token.lastgroup), token.end()
        # An opening byte that was matched alone begins a token that the expression does not cover.
        if kind == "other" and (buffer[at] in b"$'\"\\eE" or buffer.startswith(b"/*", at)):
            end = end_of_complex_token(buffer, at, at)
            kind = "blank" if buffer[at] == ord("/") else "string" if end - at > 1 else "other"
        if kind != "blank":
            yield kind, at, end
        at = end


def first_tokens(
    text: bytes, start: int = 0, *, limit: int | None = None, standard: bool = True, contents: bool = False
) -> tuple[str, ...]:
    """Return the first `limit` tokens of a statement, those before an unclosed token if there is one.

    Words are in upper case, a quoted name is '"', a string is "'", all else is as written. With `contents` quoted names
    and strings are whole and in upper case.
    """
    tokens: list[str] = []
    try:
        for kind, begin, end in scan_tokens(text, start, standard=standard):
            if len(tokens) == limit:
                break
            if kind in ("quoted", "string") and not contents:
                tokens.append('"' if kind == "quoted" else "'")
            else:  # only ASCII letters change case, as in PostgreSQL's keywords
                tokens.append(text[begin:end].upper().decode(errors="replace"))
    except (UnclosedToken, BackslashOutsideQuotes):
        pass
    return tuple(tokens)
