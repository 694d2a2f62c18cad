r"""Mask the passwords in SQL before a statement is shown.

They occur after PASSWORD (CREATE and ALTER ROLE, USER, USER MAPPING), in connection strings (CREATE SUBSCRIPTION,
dblink: `password=…`, `postgresql://user:…@host`), and in strings and bodies that contain such a statement.
The text is therefore searched, not parsed; text that is not secret may be masked too, and can be read in the file.
Sources: PostgreSQL documentation, "CREATE ROLE", "String Constants", libpq's "Connection Strings".
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


_MASK = "…"
# Blanks and comments, and the + and - at the beginning of the lines of a diff.
_GAP = r"(?:\s|--[^\n]*\n|/\*.*?\*/|(?<=\n)[+-])*"
_PASSWORD_REGEX = rf"""
    # Assembled by the statement itself: PASSWORD %L, or a string that ends there. Mask all text after it.
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
_SHORTEST_PASSWORD = 3  # shorter texts occur within many words


def mask_passwords(text: str, *, also: Iterable[str] = ()) -> str:
    """Replace each password, and each text of `also`, by `…`; line numbers do not change."""
    for one in also:
        text = text.replace(one, _MASK)
    return _password_pattern().sub(_mask_match, text)


def find_passwords(text: str) -> tuple[str, ...]:
    """Return the passwords in a statement as written, the longest first, for masking texts that quote them."""
    passwords: set[str] = set()
    for match in _password_pattern().finditer(text):
        # In an assembled statement, each piece between two quotes may be the password, inside or outside the quotes.
        passwords.update(_QUOTES.split(match["assembled"]) if match["assembled"] else (_password_span(match)[2],))
    return tuple(sorted((one for one in passwords if len(one) >= _SHORTEST_PASSWORD), key=len, reverse=True))


@cache  # compiled when the first statement is shown; most runs show none
def _password_pattern() -> re.Pattern[str]:
    return re.compile(_PASSWORD_REGEX, re.VERBOSE | re.IGNORECASE | re.DOTALL)


def _mask_match(match: re.Match[str]) -> str:
    begin, end, secret = _password_span(match)
    whole = match[0]
    return whole[:begin] + (_MASK if secret else "") + "\n" * secret.count("\n") + whole[end:]


def _password_span(match: re.Match[str]) -> tuple[int, int, str]:
    """Return the begin and end of the secret, as offsets in the match, and the secret."""
    group = next(name for name in _GROUPS if match[name] is not None)
    return match.start(group) - match.start(), match.end(group) - match.start(), str(match[group])
