"""Stop a shared server when no process uses it: `python -m kernel.postgres.unused_server FOLDER`, in the background.

The last process that uses a server stops it (development.py), unless it was killed. Its lock ends with it, and this
process waits for nothing else. It polls nothing, and ends with the server.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path

from kernel.errors import ServerFailed
from kernel.postgres.account import current_account
from kernel.postgres.development import stop_when_unused
from kernel.postgres.file_lock import file_lock, is_file_locked
from kernel.postgres.process import spawn_as_account

WATCH_LOCK = "watch.lock"

_PACKAGE_PARENT = Path(__file__).resolve().parents[2]
# sh exits at once, and init adopts the process.
_IN_BACKGROUND = '"$@" &'


def start_watching(folder: Path) -> None:
    """Start the process for the server in `folder`, unless there is one. Raises OSError."""
    if is_file_locked(folder / WATCH_LOCK):
        return
    command = ("/bin/sh", "-c", _IN_BACKGROUND, "sh", sys.executable, "-m", __name__, folder)
    environ = {"PYTHONPATH": str(_PACKAGE_PARENT), "PYTHONDONTWRITEBYTECODE": "1"}
    with spawn_as_account(current_account(), *command, environ=environ) as child:
        child.wait()


def _watch(folder: Path) -> None:
    with suppress(OSError, ServerFailed), file_lock(folder / WATCH_LOCK, wait=False):  # another one watches already
        stop_when_unused(folder)


if __name__ == "__main__":
    os.chdir("/")
    _watch(Path(sys.argv[1]))
