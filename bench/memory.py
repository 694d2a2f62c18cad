"""The peak memory of server processes, which only Linux reports for other accounts: VmHWM in /proc/PID/status."""

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

    from bench.server import BenchmarkServer

# VmHWM is a high-water mark: only the growth between the last poll and the end is missed.
_POLL_SECONDS = 0.02
_BACKENDS = "SELECT pid FROM pg_stat_activity WHERE datname = %s AND backend_type = 'client backend'"
_PEAK = re.compile(r"^VmHWM:\s+(\d+) kB$", re.MULTILINE)


@contextmanager
def watch_backends(server: BenchmarkServer, database: str) -> Iterator[Callable[[], int | None]]:
    """Watch the sessions of a database; the function yields the highest peak in bytes, None where it is not reported.

    Shared memory that a process has touched is included, for every program alike.
    """
    if not sys.platform.startswith("linux"):
        yield lambda: None
        return
    stop = threading.Event()
    with ThreadPoolExecutor(max_workers=1) as pool:
        watching = pool.submit(_poll_peaks, server, database, stop)

        def peak() -> int | None:
            stop.set()
            return watching.result()

        try:
            yield peak
        finally:
            stop.set()


def _poll_peaks(server: BenchmarkServer, database: str, stop: threading.Event) -> int | None:
    highest: int | None = None
    with server.connect("postgres") as connection:
        while not stop.wait(_POLL_SECONDS):
            for (pid,) in connection.execute(_BACKENDS, (database,)).fetchall():
                if (peak := _peak_bytes(pid)) is not None:
                    highest = max(highest or 0, peak)
    return highest


def _peak_bytes(pid: int) -> int | None:
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except (FileNotFoundError, ProcessLookupError):
        return None  # the process has ended
    match = _PEAK.search(status)
    return int(match[1]) * 1024 if match else None
