"""What to copy, and where to."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from kernel.config.ledger_name import DEFAULT_LEDGER, LedgerName
from kernel.rehearsal.prod_copy.server_settings import available_memory_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from kernel.postgres.programs import Programs


Restorer = Callable[[str], tuple[str, ...]]
"""Restore a dump into the empty database at a URL, and close every connection to it; return the copy's warnings.

On a local server the URL's user is a superuser. The warnings say what the copy lacks; they are stored with it.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyTarget:
    """Where a copy goes: the server of `test_db`, or a local throwaway server without it.

    `protected` maps variables to the URLs of databases that are never overwritten. `allow_overwrite` (--yes) permits a
    TEST_DB that holds objects of the user. `keep` stores the copy for the next rehearsal; a stored copy is used in any
    case. `store_folder` replaces the user's cache.
    """

    test_db: str | None = field(default=None, repr=False)
    protected: Mapping[str, str] = field(default_factory=dict, repr=False)
    allow_overwrite: bool = False
    keep: bool = False
    store_folder: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseLocale:
    """Encoding and libc locale of the copied database; "" is the server's default."""

    encoding: str = ""
    collate: str = ""
    ctype: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyRequest:
    """A dump to copy, and its target. `digest` identifies the dump ("": it is never kept), messages call it `name`.

    With `schema_only` the copy has no rows but the records of `ledger`. In the copy `role`, if any, may create tables.

    `settings` become settings of the database, as by ALTER DATABASE … SET. The rest is for a local server: its
    `programs`, the memory that its settings are derived from, and `room_bytes`, the disk space that the copy and its
    clones take; the data lies in memory where that much is free. `print_line` prints warnings.
    """

    target: CopyTarget = field(default_factory=CopyTarget)
    digest: str
    name: str
    schema_only: bool = False
    ledger: LedgerName = DEFAULT_LEDGER
    role: str = ""
    locale: DatabaseLocale = field(default_factory=DatabaseLocale)
    settings: Mapping[str, str] = field(default_factory=dict)
    programs: Programs | None = None
    memory_bytes: int = field(default_factory=available_memory_bytes)
    room_bytes: int = 1 << 30
    print_line: Callable[[str], None] = lambda _line: None

    @property
    def variant(self) -> str:
        """The part of a kept copy's key that says which rows of the dump it has, and for which role it was prepared."""
        ledger = (self.ledger.schema or "", self.ledger.table) if self.schema_only else ()
        parts = "\0".join((*ledger, self.role))
        return f"{'schema' if self.schema_only else 'full'}-{hashlib.sha256(parts.encode()).hexdigest()[:16]}"
