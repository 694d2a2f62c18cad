"""A row of schema_migrations: what was applied, when, and the checksum of the file it was."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A migration that was applied whole; `applied_at` is UTC without a zone, as the column is."""

    version: str
    filename: str
    applied_at: datetime
    checksum: str

    @property
    def number(self) -> int | None:
        """The version to compare by; None when it is no number, which no runner of these files wrote."""
        return int(self.version) if self.version.isascii() and self.version.isdigit() else None
