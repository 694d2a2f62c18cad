"""Run pg_dump and pg_restore: an environment of its own, nothing secret on its command line, and an end with ours.

Nothing of the user's PG* variables reaches them, except what a connection string stands for. A shell waits at a pipe
that only our process holds: when we leave or die, SIGKILL included, it tells the program and its workers to stop.
"""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from kernel.errors import ProgramsMissing
from kernel.server import process

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from kernel.server.account import Account

POLL_SECONDS = 0.1
_FIRST_POLL_SECONDS = 0.005
_STOP_SECONDS = 5.0
_ERROR = "error: "
# Of a worker that died and said why itself.
_CONSEQUENCES = ("a worker process died unexpectedly", "terminated by user")
_SAID_BYTES = 1 << 20  # of a program that has an error for each of a hundred thousand objects

# A line says that the program has ended; the end of the pipe without one, that we have left or died before it.
_WATCHDOG = 'read -r _ || kill -TERM "-$1"'


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """A program that came to its end: `said` is its stderr, of a very long one the two ends."""

    status: int
    said: str

    @property
    def last_words(self) -> str:
        """The last line that says why it failed, without the program's name before it."""
        lines = [line for line in self.said.splitlines() if line.strip() and not line.endswith(_CONSEQUENCES)]
        errors = [line.partition(_ERROR)[2] for line in lines if _ERROR in line] or lines
        return errors[-1] if errors else f"it ended with status {self.status}"


def run(
    account: Account,
    *command: str | Path,
    environ: Mapping[str, str] | None = None,
    output: IO[bytes] | None = None,
    source: IO[bytes] | None = None,
    polled: Callable[[], None] = lambda: None,
    seconds: float | None = None,
) -> Finished:
    """Run a program to its end as `account`; `environ` is added to what it sees, `source` is its stdin.

    Its stdout goes to the file `output`. `polled` is called ten times a second meanwhile; what it raises stops the
    program. Raises TimeoutError after `seconds`, ProgramsMissing when the program cannot be started.
    """
    with tempfile.TemporaryFile() as said:
        with _running(account, *command, environ=environ or {}, output=output, source=source, said=said) as child:
            deadline = None if seconds is None else time.monotonic() + seconds
            pause = _FIRST_POLL_SECONDS
            while True:
                with suppress(subprocess.TimeoutExpired):
                    child.wait(pause)
                    break
                pause = min(2 * pause, POLL_SECONDS)
                polled()
                if deadline is not None and time.monotonic() > deadline:
                    raise TimeoutError(f"{Path(command[0]).name}: no end after {seconds:.0f} s")
        return Finished(status=child.returncode, said=_both_ends(said).decode(errors="replace"))


def _both_ends(file: IO[bytes]) -> bytes:
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    if size <= 2 * _SAID_BYTES:
        return file.read()
    head = file.read(_SAID_BYTES)
    file.seek(-_SAID_BYTES, os.SEEK_END)
    return head + b"\n" + file.read()


@contextmanager
def _running(
    account: Account,
    *command: str | Path,
    environ: Mapping[str, str],
    output: IO[bytes] | None,
    source: IO[bytes] | None,
    said: IO[bytes],
) -> Iterator[subprocess.Popen[bytes]]:
    as_account: dict[str, Any] = {
        "cwd": process.NEUTRAL,
        "umask": 0o077,
        "start_new_session": True,  # Ctrl-C at our terminal is for us, who then see to the rest
        "user": account.uid if account.switched else None,
        "group": account.gid if account.switched else None,
        "extra_groups": [] if account.switched else None,
    }
    receiving, sending = os.pipe()
    try:
        # A file is inherited as a descriptor: whoever may not open it by its name can still read it.
        child = subprocess.Popen(  # noqa: S603 - a program of PostgreSQL
            command,
            stdin=source if source is not None else subprocess.DEVNULL,
            stdout=output if output is not None else subprocess.DEVNULL,
            stderr=said,
            env=process.environment(environ),
            **as_account,
        )
        watchdog = subprocess.Popen(  # noqa: S603 - the script above
            ("/bin/sh", "-c", _WATCHDOG, "sh", str(child.pid)), stdin=receiving, env=process.environment(), **as_account
        )
    except OSError as error:
        os.close(sending)
        raise ProgramsMissing(f"{command[0]}: does not run ({error.strerror}); set KERNEL_PG_BINDIR") from error
    finally:
        os.close(receiving)
    try:
        yield child
        os.write(sending, b"ended\n")
    finally:
        os.close(sending)
        watchdog.wait()
        try:
            child.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
