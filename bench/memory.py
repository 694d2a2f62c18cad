"""The memory of a server's process, which only Linux tells of another account's process: VmHWM in /proc/PID/status."""

from __future__ import annotations

import re
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bench.stage import Stage

# VmHWM is a high-water mark: what a look misses is only the growth between the last look and the end.
_LOOK_SECONDS = 0.02
_BACKENDS = "SELECT pid FROM pg_stat_activity WHERE datname = %s AND backend_type = 'client backend'"
_PEAK = re.compile(r"^VmHWM:\s+(\d+) kB$", re.MULTILINE)


@contextmanager
def watched(stage: Stage, database: str) -> Iterator[Callable[[], int | None]]:
    """Watch whoever works in a database; the function yields the highest peak in bytes, None where nobody can tell.

    Shared memory that a process has touched counts too, in every contestant alike.
    """
    if not sys.platform.startswith("linux"):
        yield lambda: None
        return
    stop = threading.Event()
    with ThreadPoolExecutor(max_workers=1) as pool:
        watching = pool.submit(_watch, stage, database, stop)

        def peak() -> int | None:
            stop.set()
            return watching.result()

        try:
            yield peak
        finally:
            stop.set()


def _watch(stage: Stage, database: str, stop: threading.Event) -> int | None:
    highest: int | None = None
    with stage.connect("postgres") as connection:
        while not stop.wait(_LOOK_SECONDS):
            for (pid,) in connection.execute(_BACKENDS, (database,)).fetchall():
                if (peak := _peak_bytes(pid)) is not None:
                    highest = max(highest or 0, peak)
    return highest


def _peak_bytes(pid: int) -> int | None:
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except (FileNotFoundError, ProcessLookupError):
        return None  # it ended meanwhile
    found = _PEAK.search(status)
    return int(found[1]) * 1024 if found else None
