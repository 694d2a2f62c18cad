r"""The lines `\restrict KEY` and `\unrestrict KEY`, which pg_dump writes around a dump since August 2025.

They tell psql to take no command of its own in between. Nothing here would carry one out anyway, but a pair that does
not match has been tampered with. Source: PostgreSQL documentation, "psql" (\restrict), and CVE-2025-8714.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from kernel import units
from kernel.errors import DumpUnreadable

if TYPE_CHECKING:
    from kernel.rehearsal.dump.text import Text

_LINE = re.compile(rb"^\\(?P<un>un)?restrict (?P<key>[A-Za-z0-9]+)[ \t]*\r?$", re.MULTILINE)
_TAMPERED = "the dump was changed after pg_dump wrote it; dump the database again"


class Restriction:
    """Which key is open, as the lines go by."""

    def __init__(self, dump: Text) -> None:
        self._dump = dump
        self._key: bytes | None = None

    def see(self, blank: bytes, offset: int) -> None:
        """Take in what stands between two statements, beginning at `offset`. Raises DumpUnreadable."""
        for line in _LINE.finditer(blank):
            key, at = line["key"], offset + line.start()
            if line["un"] and key != self._key:
                if self._key and self._key.startswith(key) and offset + line.end() == self._dump.size_bytes:
                    self.end()  # the key itself is cut short
                raise DumpUnreadable(f"{self._dump.place(at)}: \\unrestrict without its \\restrict; {_TAMPERED}")
            if not line["un"] and self._key is not None:
                raise DumpUnreadable(f"{self._dump.place(at)}: \\restrict inside of another; {_TAMPERED}")
            self._key = None if line["un"] else key

    def end(self) -> None:
        """The dump is at its end. Raises DumpUnreadable when a key is still open."""
        if self._key is not None:
            raise DumpUnreadable(
                f"{self._dump.name}: cut short after {units.count(self._dump.size_bytes)} bytes: its \\unrestrict line "
                "is not whole; dump or copy it again"
            )
