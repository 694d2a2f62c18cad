"""Files that are parsed and searched once for all targets of a fleet."""

from __future__ import annotations

import re
import threading
from typing import TYPE_CHECKING

from kernel.errors import FilesInvalid
from kernel.migrations.script import parse_script

if TYPE_CHECKING:
    from pathlib import Path

    from kernel.config.ledger_name import LedgerName
    from kernel.migrations.script import Script


class SharedScripts:
    """Files that are parsed and searched once for all targets. Safe for threads.

    What a file may not change depends on the ledger; the result is shared where the file names neither that table nor a
    schema.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._searched: dict[tuple[Path, bytes], bool] = {}
        self._known: dict[tuple[Path, LedgerName | None], Script | FilesInvalid] = {}

    def parse(self, path: Path, name: str, *, keep_bytes: int, ledger: LedgerName) -> Script:
        """Return what parse_script returns. Raises FilesInvalid."""
        with self._lock:
            own = re.compile(b"schema|search_path|" + re.escape(ledger.table.encode()), re.IGNORECASE)
            key = path, ledger if self._contains(path, own) else None
            if key not in self._known:
                try:
                    self._known[key] = parse_script(path, name, keep_bytes=keep_bytes, ledger=ledger)
                except FilesInvalid as error:
                    self._known[key] = error
            result = self._known[key]
        if isinstance(result, FilesInvalid):
            raise FilesInvalid(result.problems)
        return result

    def contains(self, path: Path, pattern: re.Pattern[bytes]) -> bool:
        """Whether a pattern is found in a file, or the file cannot be read."""
        with self._lock:
            return self._contains(path, pattern)

    def _contains(self, path: Path, pattern: re.Pattern[bytes]) -> bool:
        key = path, pattern.pattern
        if key not in self._searched:
            try:
                self._searched[key] = pattern.search(path.read_bytes()) is not None
            except OSError:
                return True
        return self._searched[key]
