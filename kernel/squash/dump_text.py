"""The text of a squash file, from the plain output of pg_dump."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kernel.migrations.replaced import ReplacedVersion


# Every plain dump begins with settings. The runner has its own timeouts, and sends UTF-8; older servers have no
# transaction_timeout.
_OWN_SETTINGS = re.compile(
    rb"^SET (?:(?:statement|lock|idle_in_transaction_session|transaction)_timeout|client_encoding)\b"
)
_TAIL = re.compile(rb"\n--\n-- PostgreSQL database dump complete\n--\n\s*(?:\\unrestrict [^\n]*\n)?\s*\Z")
_EMPTY_TABLE = re.compile(
    rb"--\n-- Data for Name: [^\n]*; Type: TABLE DATA;[^\n]*\n--\n\nCOPY [^\n]* FROM stdin;\n\\\.\n\n+"
)


def squash_text(
    dump: bytes,
    replaced: Iterable[ReplacedVersion],
    *,
    version: str,
    title: str,
    description: str,
    role_statements: Iterable[str],
) -> bytes:
    """The squash file: a header, the directives of the `replaced` versions, `role_statements`, a dump.

    Of the comments at the beginning and the end of the dump, and of the settings that the runner makes itself, nothing
    is kept: they differ between two dumps of one database, or between two releases of pg_dump.
    """
    directives = "".join(f"{one.directive}\n" for one in replaced)
    head = f"-- Migration: {version} - {title}\n-- Description: {description}\n{directives}\n"
    body = _EMPTY_TABLE.sub(b"", _TAIL.sub(b"\n", dump))
    lines = body.splitlines(keepends=True)
    first = next((index for index, line in enumerate(lines) if line.startswith((b"SET ", b"SELECT "))), 0)
    last = next((index for index, line in enumerate(lines[first:], first) if line.startswith(b"--\n")), len(lines))
    settings = [line for line in lines[first:last] if not _OWN_SETTINGS.match(line)]
    head += "".join(f"{statement}\n" for statement in role_statements)
    return head.encode() + b"".join((*settings, *lines[last:])).rstrip() + b"\n"
