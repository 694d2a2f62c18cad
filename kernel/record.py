"""A row of schema_migrations: what was applied, when, and the checksum of the file it was."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from datetime import datetime


class Record(NamedTuple):
    """A migration that was applied whole; `applied_at` is UTC without a zone, as the column is.

    A tuple, which is quicker to make: a long history has thousands of them.
    """

    version: str
    filename: str
    applied_at: datetime
    checksum: str

    @property
    def number(self) -> int | None:
        """The version to compare by; None when it is no number, which no runner of these files wrote."""
        version = self.version
        return int(version) if version.isascii() and version.isdigit() else None
