"""Migrations for tests that need no files."""

from __future__ import annotations

from kernel.migrations.migration import Migration


class Worded(Migration):
    """A migration in words only: there is no file that could have another checksum of its own."""

    __slots__ = ()

    def accepts(self, recorded: str) -> bool:
        return recorded == self.checksum
