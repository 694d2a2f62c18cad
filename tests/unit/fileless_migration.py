"""Migrations for tests that need no files."""

from __future__ import annotations

from kernel.migrations.migration import Migration


class FilelessMigration(Migration):
    """A migration whose file does not exist: `accepts` compares with the checksum that it was given."""

    __slots__ = ()

    def accepts(self, recorded: str) -> bool:
        return recorded == self.checksum
