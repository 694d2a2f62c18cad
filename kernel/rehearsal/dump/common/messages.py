"""Statements and server messages for output: short, on one line, without passwords and values of rows."""

from __future__ import annotations

import re

SUMMARY_LENGTH = 60
# A password or the address of a server may follow.
_SECRET_CLAUSES = re.compile(r"\b(?:OPTIONS|CONNECTION)\b")
# A value of a row follows; a quoted name has no colon before it.
_ROW_VALUE = re.compile(r": \"|: '| \(")


def summarise_statement(statement: bytes) -> str:
    """The beginning of a statement on one line, up to a clause that may hold a secret."""
    text = statement[: 4 * SUMMARY_LENGTH].decode(errors="replace")
    text = " ".join(_SECRET_CLAUSES.split(text, maxsplit=1)[0].split()).rstrip(" ;")
    return text if len(text) <= SUMMARY_LENGTH else f"{text[:SUMMARY_LENGTH]}…"


def without_row_values(message: str) -> str:
    """A server's message up to where it quotes a row."""
    return _ROW_VALUE.split(message, maxsplit=1)[0]
