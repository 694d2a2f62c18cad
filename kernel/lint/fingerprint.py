"""Fingerprints of findings: the same finding keeps its own when lines are put before it or its file is renumbered.

A fingerprint is made of the rule, the name of the file without its number, the words of the statement without comments
and blanks, and a counter for findings that are equal in all of these.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

from kernel.sql.reader import QUOTED_KEY, STRING_KEY, read_words

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from kernel.lint.finding import Finding

_HEX_DIGITS = 32  # 128 bits
_MAX_STATEMENT_BYTES = 1 << 18  # a longer statement is data, and its beginning is enough


class FingerprintCounter:
    """Makes fingerprints, none of them twice."""

    def __init__(self, used: Iterable[str] = ()) -> None:
        self._used = set(used)

    def next_fingerprint(self, rule: str, filename: str, subject: str) -> str:
        """The next unused fingerprint of a rule; `subject` is what the finding is about within the file."""
        number = 1
        while (made := _hash_parts(rule, name_without_number(filename), subject, str(number))) in self._used:
            number += 1
        self._used.add(made)
        return made


def name_without_number(filename: str) -> str:
    """The name of a migration or revert file without its version: revert/_add_users.sql."""
    folder, slash, name = filename.rpartition("/")
    return folder + slash + name.lstrip("0123456789")


def add_fingerprints(findings: Sequence[Finding], statements: Sequence[bytes]) -> list[Finding]:
    """The same findings, each with a fingerprint; `statements` are those that they are about, b"" for none.

    Those that have one keep it. The counter follows the order of the files, whatever the order of the findings.
    """
    listed = list(findings)
    counter = FingerprintCounter(one.fingerprint for one in listed if one.fingerprint)
    for at in sorted(range(len(listed)), key=lambda at: (listed[at].version, listed[at].offset or 0)):
        one = listed[at]
        if not one.fingerprint:
            subject = normalize_statement(statements[at]) or one.relation
            listed[at] = replace(one, fingerprint=counter.next_fingerprint(one.rule, one.filename, subject))
    return listed


def normalize_statement(sql: bytes) -> str:
    """The words of a statement, one blank between them: those that mean the same to PostgreSQL are the same."""
    words = read_words(sql[:_MAX_STATEMENT_BYTES])
    return " ".join(f"{word.key}{word.text}" if word.key in (QUOTED_KEY, STRING_KEY) else word.text for word in words)


def _hash_parts(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode(errors="surrogatepass")).hexdigest()[:_HEX_DIGITS]
