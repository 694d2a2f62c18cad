"""Start a program as a server's account, with an environment that holds neither PG* variables nor secrets."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

from kernel.errors import ServerFailed

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from kernel.server.account import Account

# A list of what passes rather than of what does not: PGDATA, PGPORT and the like would redirect the programs, and
# DATABASE_URL would show its password to everyone who may read the server's environment.
PASSED_ON = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "DYLD_FALLBACK_LIBRARY_PATH", "LOCPATH")

# Everybody may enter it: a program of another account cannot start from within somebody's private home.
NEUTRAL = "/"

TAIL_LINES = 12

DISK_FULL = "No space left on device"
DISK_FULL_REMEDY = "free some space there; KERNEL_DATA_DIR moves the development server's data to another disk"


def environment(added: Mapping[str, str] | None = None) -> dict[str, str]:
    """What initdb and postgres see, `added` included. LC_ALL=C keeps their messages in English.

    It also keeps them single-threaded on macOS.
    """
    passed = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    return passed | {"LC_ALL": "C", "TZ": "UTC"} | dict(added or {})


def run(account: Account, *command: str | Path, feed: str = "") -> subprocess.CompletedProcess[str]:
    """Run a program to its end as `account`; it reads `feed`, and its stdout and stderr come back as one text."""
    return subprocess.run(  # noqa: S603 - programs that programs.find chose, and cp
        command,
        input=feed,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        env=environment(),
        cwd=NEUTRAL,
        umask=0o077,
        check=False,
        user=account.uid if account.switched else None,
        group=account.gid if account.switched else None,
        extra_groups=[] if account.switched else None,
    )


def spawn(
    account: Account,
    *command: str | Path,
    stdin: int,
    pulse: int,
    log: int,
    environ: Mapping[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    """Start a program as `account` in a session of its own, so that Ctrl-C at our terminal is not its end.

    Its stdin, stdout (`pulse`) and stderr (`log`) are these descriptors; it inherits no other. `environ` is added to
    what it sees.
    """
    return subprocess.Popen(  # noqa: S603 - /bin/sh with one of cluster.py's two scripts
        command,
        stdin=stdin,
        stdout=pulse,
        stderr=log,
        env=environment(environ),
        cwd=NEUTRAL,
        umask=0o077,
        start_new_session=True,
        user=account.uid if account.switched else None,
        group=account.gid if account.switched else None,
        extra_groups=[] if account.switched else None,
    )


def failure(what: str, output: str) -> ServerFailed:
    """The error that says `what` and quotes the last lines of what a program printed or logged."""
    lines = [line for line in output.splitlines() if line.strip()][-TAIL_LINES:]
    hint = DISK_FULL_REMEDY if DISK_FULL in output else None
    return ServerFailed("\n".join((f"{what}; it said:", *lines)) if lines else f"{what} and said nothing", hint=hint)
