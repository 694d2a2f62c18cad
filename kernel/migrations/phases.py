"""Phases of a release: files that run before its application is deployed, and files that wait until it runs everywhere.

    -- migrate: phase=after

What may pass a waiting file is decided by kernel.migrations.passing.
"""

from __future__ import annotations

import io
from contextlib import suppress
from enum import StrEnum
from typing import TYPE_CHECKING

from kernel.migrations.directives import parse_phase
from kernel.sql.lexer import LexerError, PartKind, split_script

if TYPE_CHECKING:
    from pathlib import Path


PHASE_MARK = b"phase"  # in the first kilobytes of a file with the directive


class Phase(StrEnum):
    """When a file is applied: before the application is deployed, or after."""

    BEFORE = "before"
    AFTER = "after"


def read_phase(path: Path) -> Phase:
    """The phase of a file by its directive; BEFORE for a value that parse_script refuses. Raises OSError."""
    return Phase.AFTER if parse_phase(read_head(path)) == Phase.AFTER else Phase.BEFORE


def read_head(path: Path) -> bytes:
    """The comments before the first statement of a file. Raises OSError."""
    head = b""
    with suppress(LexerError):
        for part in split_script(io.BytesIO(path.read_bytes()).read):
            if part.kind is PartKind.STATEMENT:
                return head + part.text[: part.start]
            head += part.sql
    return head
