"""Which start of the machine this is: what was only in its memory is lost when the next one begins."""

from __future__ import annotations

import uuid
from functools import cache
from pathlib import Path

from kernel.server import process
from kernel.server.account import ourselves

LINUX = Path("/proc/sys/kernel/random/boot_id")
MACOS = ("/usr/sbin/sysctl", "-n", "kern.bootsessionuuid")


@cache
def identifier() -> str:
    """The same until the machine starts again; where the system does not tell, a word that equals no other."""
    try:
        return LINUX.read_text(encoding="ascii").strip()
    except OSError:
        if Path(MACOS[0]).exists():
            return process.run(ourselves(), *MACOS).stdout.strip()
        return uuid.uuid4().hex
