"""The tokens of PostgreSQL's SQL, as far as they decide where a statement ends and what it does.

Source of the rules: PostgreSQL documentation, "Lexical Structure", and src/backend/parser/scan.l.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


def copy_direction(words: Sequence[str]) -> str:
    """FROM when COPY reads from the client, TO when it writes to it, "" when it does neither.

    The first of the two words outside parentheses decides. STDIN and STDOUT mean the same: the grammar corrects the
    one that makes no sense.
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
# broken in Python 3.11 before 3.11.5. What could be given back is ruled out by what must follow. A greedy repeat takes
# memory for each round, so there are so many at most; whatever has more is left to run_end or after_hard.
_MAX_REPEATS = 1000
REPEATED_REGEX = b"{0,%d}" % _MAX_REPEATS

# A comment without another one inside; nested ones are counted by after_comment.
FLAT_COMMENT_REGEX = rb"/\*[^*/]*+(?:(?:\*(?!/)|/(?!\*))[^*/]*+)" + REPEATED_REGEX + rb"\*/"
BLANK_REGEX = rb"[ \t\n\r\f\v]++|--[^\r\n]*+|" + FLAT_COMMENT_REGEX

_ESCAPED = rb"'[^'\\]*+(?:(?:\\.|'')[^'\\]*+)" + REPEATED_REGEX + rb"'(?!')"
# A string goes on in the next quote when only blanks with a newline lie between, and keeps its escapes.
_CONTINUES = rb"[ \t\f\v]*+(?:--[^\r\n]*+)?[\r\n][ \t\n\r\f\v]*+(?:--[^\r\n]*+[\r\n][ \t\n\r\f\v]*+)*(?=')"
_ANY_ESCAPE_STRING = _ESCAPED + rb"(?:" + _CONTINUES + _ESCAPED + rb")" + REPEATED_REGEX + rb"(?!" + _CONTINUES + rb")"
# Whether an E ahead of the quote is a prefix, or the last letter of a name, shows in the byte before it.
_STANDARD_STRING = rb"'(?:(?<![eE]')|(?<=" + _NAME_BYTE + rb"[eE]'))[^']*+'"
_ORDINARY_BYTES = rb"[^'\"$;\\/-]*+"


def simple_run_regex(*, standard: bool) -> bytes:
    """The expression of all that one expression can carry, up to a semicolon or what after_hard must look at.

    It begins where a token does: there an E is a prefix whatever stands before it, which may be the $ that closes a
    dollar quote.
    """
    return (
        (rb"(?:[eE]" + _ANY_ESCAPE_STRING + rb"|(?![eE]'))" if standard else b"")
        + _ORDINARY_BYTES
        + rb"(?:(?:"
        + (_STANDARD_STRING + rb"|" if standard else b"")
        + _ANY_ESCAPE_STRING  # what is no standard string although a quote follows it
        + rb"|\"[^\"]*+\"|--[^\r\n]*+|-|"
        + FLAT_COMMENT_REGEX
        + rb"|/(?!\*))"
        + _ORDINARY_BYTES
        + rb")"
        + REPEATED_REGEX
    )


# Compiling one of these costs as much as importing a module, and hardly a run needs all of them.
@cache
def simple_run_pattern(*, standard: bool) -> re.Pattern[bytes]:
    """simple_run, compiled."""
    return re.compile(simple_run_regex(standard=standard), re.DOTALL)


@cache
def _token_pattern(*, standard: bool) -> re.Pattern[bytes]:
    return re.compile(
        rb"(?P<blank>"
        + BLANK_REGEX
        + rb")|(?P<string>"
        + (rb"[eE]" + _ANY_ESCAPE_STRING + rb"|'[^']*+'" if standard else rb"[eE]?" + _ANY_ESCAPE_STRING)
        + rb")|(?P<quoted>\"[^\"]*+\")|(?P<word>(?![eE]')"
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
    """A signal, no error yet: the buffer ends inside `what` ("" for a plain statement), which begins at `at`."""

    def __init__(self, what: str, at: int) -> None:
        super().__init__(what)
        self.token_kind = what
        self.at = at


class BackslashOutsideQuotes(Exception):
    """A signal too: a backslash outside quotes, where only psql's own commands have one."""

    def __init__(self, at: int) -> None:
        super().__init__(at)
        self.at = at


def end_of_run(pattern: re.Pattern[bytes], buffer: bytes, at: int) -> int:
    """Where the run of what `pattern` matches from `at` on ends; `at` itself when there is none."""
    while match := pattern.match(buffer, at):
        begin, at = at, match.end()
        if at - begin < _MAX_REPEATS:  # a round takes a byte at least: the rounds were enough
            break
    return at


def end_of_complex_token(buffer: bytes, at: int, run: int) -> int:
    """The position after a token that `simple`, begun at `run`, stopped at.

    That is a dollar quote, a nested comment, or a comment or string with very many stars or escapes.
    Raises Open when it is not closed in the buffer, Backslash when it is a backslash.
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
    """The position after the string that begins at `at`: one with escapes, since no other is left by `simple`."""
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
    """The position after the comment that begins at `at`, comments inside it counted. Raises Open."""
    depth = 0
    for edge in _COMMENT_EDGE.finditer(buffer, at):
        depth += 1 if edge[0] == b"/*" else -1
        if depth == 0:
            return edge.end()
    raise UnclosedToken("comment", at)


def scan_tokens(buffer: bytes, at: int, *, standard: bool = True) -> Iterator[tuple[str, int, int]]:
    """Yield (kind, begin, end) of each token but blanks and comments, to the end of the buffer.

    Kinds: word, quoted, string, number (and $1), other (one byte). Raises Open and Backslash as after_hard does.
    """
    pattern = _token_pattern(standard=standard)
    while token := pattern.match(buffer, at):
        kind, end = str(token.lastgroup), token.end()
        # Whatever opens something and was matched as a single byte is not as simple as the expression.
        if kind == "other" and (buffer[at] in b"$'\"\\eE" or buffer.startswith(b"/*", at)):
            end = end_of_complex_token(buffer, at, at)
            kind = "blank" if buffer[at] == ord("/") else "string" if end - at > 1 else "other"
        if kind != "blank":
            yield kind, at, end
        at = end


def first_tokens(text: bytes, start: int = 0, *, limit: int | None = None, standard: bool = True) -> tuple[str, ...]:
    """The first `limit` tokens of a statement, to look at; what follows something left open is not seen.

    Words are in upper case, a quoted name is '"', a string is "'", anything else stands for itself.
    """
    found: list[str] = []
    try:
        for kind, begin, end in scan_tokens(text, start, standard=standard):
            if len(found) == limit:
                break
            if kind in ("quoted", "string"):
                found.append('"' if kind == "quoted" else "'")
            else:  # upper case as PostgreSQL sees keywords: ASCII only
                found.append(text[begin:end].upper().decode(errors="replace"))
    except (UnclosedToken, BackslashOutsideQuotes):
        pass
    return tuple(found)
