r"""Passwords written into SQL, masked before a statement is shown.

They stand behind PASSWORD (CREATE and ALTER ROLE, USER, USER MAPPING), in connection strings (CREATE SUBSCRIPTION,
dblink: `password=…`, `postgresql://user:…@host`), and in strings and bodies that hold such a statement once more.
So the text is searched, not parsed: what is no secret may be masked, and that costs nothing but a glance at the file.
Sources: PostgreSQL documentation, "CREATE ROLE", "String Constants", libpq's "Connection Strings".
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


_MASK = "…"
# Blanks and comments, and the signs at the beginning of a diff's lines.
_GAP = r"(?:\s|--[^\n]*\n|/\*.*?\*/|(?<=\n)[+-])*"
_PASSWORD_REGEX = rf"""
    # Put together by the statement itself: PASSWORD %L, or a string that ends there. What follows may be anything.
    password(?: \s+% | {_GAP}'+\s*(?:\|\||,|\)) ) (?P<assembled>.*)
    | password(?!\w)"?{_GAP}(?:=>|:=|=)?{_GAP}(?:[benx]|u&)?
      (?: \$(?P<tag>\w*)\$ (?P<dollar>.*?) (?:\$(?P=tag)\$|\Z)
        | ''(?P<inner>(?:[^']|'''')+) (?:''|\Z)  # inside of a string, where quotes are doubled
        | \\'(?P<escaped>.*?) (?:\\'|\Z)
        | '(?P<plain>(?:[^'\\]|\\.|''|'\s*\n\s*')*) (?:'|\Z) )
    | password\s*=\s*(?P<bare>[^\s'"]+)
    | ://[^\s:/@'"]*:(?P<url>[^\s@'"]+)@
    """
_GROUPS = ("assembled", "dollar", "inner", "escaped", "plain", "bare", "url")
_QUOTES = re.compile("'+")
_SHORTEST_PASSWORD = 3  # anything shorter stands in every other word


def mask_passwords(text: str, *, also: Iterable[str] = ()) -> str:
    """`text` with a sign in place of each password, and of each of `also`; its lines keep their numbers."""
    for one in also:
        text = text.replace(one, _MASK)
    return _password_pattern().sub(_mask_match, text)


def find_passwords(text: str) -> tuple[str, ...]:
    """The passwords in a statement as they are written there, the longest first, for masking what quotes them."""
    found: set[str] = set()
    for match in _password_pattern().finditer(text):
        # Of what is put together, each piece between two quotes may be the password, on whichever side of them it is.
        found.update(_QUOTES.split(match["assembled"]) if match["assembled"] else (_password_span(match)[2],))
    return tuple(sorted((one for one in found if len(one) >= _SHORTEST_PASSWORD), key=len, reverse=True))


@cache  # compiled when the first statement has to be shown; most runs show none
def _password_pattern() -> re.Pattern[str]:
    return re.compile(_PASSWORD_REGEX, re.VERBOSE | re.IGNORECASE | re.DOTALL)


def _mask_match(match: re.Match[str]) -> str:
    begin, end, secret = _password_span(match)
    whole = match[0]
    return whole[:begin] + (_MASK if secret else "") + "\n" * secret.count("\n") + whole[end:]


def _password_span(match: re.Match[str]) -> tuple[int, int, str]:
    """Where in the match the secret begins and ends, and the secret."""
    group = next(name for name in _GROUPS if match[name] is not None)
    return match.start(group) - match.start(), match.end(group) - match.start(), str(match[group])
