"""A private folder that goes with our process, SIGKILL included: what lies in it may be production's."""

from __future__ import annotations

import os
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from kernel.errors import ServerFailed
from kernel.server import process

if TYPE_CHECKING:
    from collections.abc import Iterator

# Its end of the pipe is ours alone: when we have left or died, the read ends and the folder goes.
_WATCHED = "trap '' HUP INT TERM; read -r _; rm -rf -- \"$1\""
_END_SECONDS = 60.0


@contextmanager
def folder() -> Iterator[Path]:
    """A new folder in TMPDIR, readable by nobody else, gone after the block. Raises ServerFailed."""
    receiving, sending = os.pipe()
    try:
        place = Path(tempfile.mkdtemp(prefix="aibos-kernel-"))
        watchdog = subprocess.Popen(  # noqa: S603 - our own script
            ("/bin/sh", "-c", _WATCHED, "sh", place),
            stdin=receiving,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=process.environment(),
            cwd=process.NEUTRAL,
            start_new_session=True,
        )
    except OSError as error:
        os.close(sending)
        raise ServerFailed(f"no folder for the dump: {error.strerror}; set TMPDIR to a disk that has room") from error
    finally:
        os.close(receiving)
    try:
        yield place
    finally:
        os.close(sending)
        watchdog.wait(_END_SECONDS)
