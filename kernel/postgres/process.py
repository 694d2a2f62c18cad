"""Start programs as the account of a server, without PG* variables and secrets, and end them with this process.

A shell watches the programs and folders that must not outlive this process. It reads a pipe whose write end only this
process holds: the pipe ends when this process exits or is killed, even by SIGKILL.
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

from kernel.errors import ProgramsMissing, ServerFailed
from kernel.postgres.account import current_account

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from kernel.postgres.account import Account


# An allowlist: PGDATA, PGPORT and the like would redirect the programs, and
# DATABASE_URL would show its password to everyone who may read the server's environment.
PASSED_VARIABLES = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "DYLD_FALLBACK_LIBRARY_PATH", "LOCPATH")

# Every account may enter it; a program cannot start in a directory that its account cannot enter.
NEUTRAL_FOLDER = "/"

QUOTED_LINES = 12

DISK_FULL = "No space left on device"
DISK_FULL_REMEDY = "free some space there; KERNEL_DATA_DIR moves the development server's data to another disk"

_REMOVE_FOLDER_SCRIPT = "trap '' HUP INT TERM; read -r _; rm -rf -- \"$1\""
_REMOVE_SECONDS = 60.0

POLL_SECONDS = 0.1
_FIRST_POLL_SECONDS = 0.005
_STOP_SECONDS = 5.0
_ERROR_PREFIX = "error: "
# Errors that are only consequences of a worker's error.
_CONSEQUENTIAL_ERRORS = ("a worker process died unexpectedly", "terminated by user")

# A line means that the program has ended; the end of the pipe without a line, that this process ended first.
_TERMINATE_SCRIPT = 'read -r _ || kill -TERM "-$1"'


def program_environment(added: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment of initdb and postgres, with `added`.

    LC_ALL=C keeps their messages in English, and the programs single-threaded on macOS.
    """
    passed = {name: os.environ[name] for name in PASSED_VARIABLES if name in os.environ}
    return passed | {"LC_ALL": "C", "TZ": "UTC"} | dict(added or {})


def run_as_account(account: Account, *command: str | Path, feed: str = "") -> subprocess.CompletedProcess[str]:
    """Run a program to its end as `account`, with `feed` as its stdin; stdout and stderr are returned as one stream."""
    return subprocess.run(  # noqa: S603 - programs of PostgreSQL, and cp
        command,
        input=feed,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        env=program_environment(),
        check=False,
        **_account_options(account),
    )


def spawn_as_account(
    account: Account,
    *command: str | Path,
    stdin: int | IO[bytes] = subprocess.DEVNULL,
    stdout: int | IO[bytes] = subprocess.DEVNULL,
    stderr: int | IO[bytes] = subprocess.DEVNULL,
    environ: Mapping[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    """Start a program as `account` in a new session, so that Ctrl-C at the terminal does not reach it.

    It inherits the descriptors of stdin, stdout and stderr only: an account that may not open a file can still read it.
    `environ` is added to its environment. Raises OSError.
    """
    return subprocess.Popen(  # noqa: S603 - programs of PostgreSQL, and the scripts of this package
        command,
        bufsize=0,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        env=program_environment(environ),
        start_new_session=True,
        **_account_options(account),
    )


def _account_options(account: Account) -> dict[str, Any]:
    """The arguments of Popen that select the account, a directory it can enter, and private files."""
    return {
        "cwd": NEUTRAL_FOLDER,
        "umask": 0o077,
        "user": account.uid if account.switched else None,
        "group": account.gid if account.switched else None,
        "extra_groups": [] if account.switched else None,
    }


def program_failed_error(message: str, output: str) -> ServerFailed:
    """Return an error with `message` and the last lines of a program's output or log."""
    lines = [line for line in output.splitlines() if line.strip()][-QUOTED_LINES:]
    hint = DISK_FULL_REMEDY if DISK_FULL in output else None
    return ServerFailed(
        "\n".join((f"{message}; it said:", *lines)) if lines else f"{message} and said nothing", hint=hint
    )


@contextmanager
def private_folder() -> Iterator[Path]:
    """Create a private folder in TMPDIR, removed after the block or when this process ends. Raises ServerFailed."""
    try:
        place = Path(tempfile.mkdtemp(prefix="aibos-kernel-"))
        command = ("/bin/sh", "-c", _REMOVE_FOLDER_SCRIPT, "sh", place)
        watchdog = spawn_as_account(current_account(), *command, stdin=subprocess.PIPE)
    except OSError as error:
        raise ServerFailed(f"no folder for the dump: {error.strerror}; set TMPDIR to a disk that has room") from error
    try:
        yield place
    finally:
        watchdog.communicate(timeout=_REMOVE_SECONDS)  # closes the pipe, and waits


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedProgram:
    """Exit status and stderr of a finished program."""

    exit_status: int
    stderr: str

    @property
    def last_error(self) -> str:
        """The last error message, without the program's name."""
        lines = [line for line in self.stderr.splitlines() if line.strip() and not line.endswith(_CONSEQUENTIAL_ERRORS)]
        errors = [line.partition(_ERROR_PREFIX)[2] for line in lines if _ERROR_PREFIX in line] or lines
        return errors[-1] if errors else f"it ended with status {self.exit_status}"


def run_client_program(
    account: Account,
    *command: str | Path,
    environ: Mapping[str, str] | None = None,
    output: IO[bytes] | None = None,
    source: IO[bytes] | None = None,
    polled: Callable[[], None] = lambda: None,
    seconds: float | None = None,
) -> FinishedProgram:
    """Run a program to its end as `account`, stopped when this process ends; `environ` is added to its environment.

    `source` is its stdin, `output` its stdout. `polled` is called ten times a second; an exception of it stops the
    program. Raises TimeoutError after `seconds`, ProgramsMissing when the program cannot be started.
    """
    with tempfile.TemporaryFile() as stderr:
        try:
            child = spawn_as_account(
                account,
                *command,
                stdin=subprocess.DEVNULL if source is None else source,
                stdout=subprocess.DEVNULL if output is None else output,
                stderr=stderr,
                environ=environ,
            )
            script = ("/bin/sh", "-c", _TERMINATE_SCRIPT, "sh", str(child.pid))
            watchdog = spawn_as_account(account, *script, stdin=subprocess.PIPE)
        except OSError as error:
            raise ProgramsMissing(f"{command[0]}: does not run ({error.strerror}); set KERNEL_PG_BINDIR") from error
        line = b""
        try:
            _wait_for_program(child, polled, seconds)
            line = b"ended\n"
        finally:
            watchdog.communicate(line)
            try:
                child.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()
        stderr.seek(0)
        return FinishedProgram(exit_status=child.returncode, stderr=stderr.read().decode(errors="replace"))


def _wait_for_program(child: subprocess.Popen[bytes], polled: Callable[[], None], seconds: float | None) -> None:
    deadline = None if seconds is None else time.monotonic() + seconds
    pause = _FIRST_POLL_SECONDS
    while True:
        with suppress(subprocess.TimeoutExpired):
            child.wait(pause)
            return
        pause = min(2 * pause, POLL_SECONDS)
        polled()
        if deadline is not None and time.monotonic() > deadline:
            raise TimeoutError(f"no end after {seconds:.0f} s")
