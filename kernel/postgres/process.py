"""Start a program as a server's account, with an environment that holds neither PG* variables nor secrets."""

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

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from kernel.postgres.account import Account


# A list of what passes rather than of what does not: PGDATA, PGPORT and the like would redirect the programs, and
# DATABASE_URL would show its password to everyone who may read the server's environment.
PASSED_VARIABLES = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "DYLD_FALLBACK_LIBRARY_PATH", "LOCPATH")

# Everybody may enter it: a program of another account cannot start from within somebody's private home.
NEUTRAL_FOLDER = "/"

QUOTED_LINES = 12

DISK_FULL = "No space left on device"
DISK_FULL_REMEDY = "free some space there; KERNEL_DATA_DIR moves the development server's data to another disk"


def program_environment(added: Mapping[str, str] | None = None) -> dict[str, str]:
    """What initdb and postgres see, `added` included. LC_ALL=C keeps their messages in English.

    It also keeps them single-threaded on macOS.
    """
    passed = {name: os.environ[name] for name in PASSED_VARIABLES if name in os.environ}
    return passed | {"LC_ALL": "C", "TZ": "UTC"} | dict(added or {})


def run_as_account(account: Account, *command: str | Path, feed: str = "") -> subprocess.CompletedProcess[str]:
    """Run a program to its end as `account`; it reads `feed`, and its stdout and stderr come back as one text."""
    return subprocess.run(  # noqa: S603 - programs that programs.find chose, and cp
        command,
        input=feed,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        env=program_environment(),
        cwd=NEUTRAL_FOLDER,
        umask=0o077,
        check=False,
        user=account.uid if account.switched else None,
        group=account.gid if account.switched else None,
        extra_groups=[] if account.switched else None,
    )


def spawn_as_account(
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
        env=program_environment(environ),
        cwd=NEUTRAL_FOLDER,
        umask=0o077,
        start_new_session=True,
        user=account.uid if account.switched else None,
        group=account.gid if account.switched else None,
        extra_groups=[] if account.switched else None,
    )


def program_failed_error(what: str, output: str) -> ServerFailed:
    """The error that says `what` and quotes the last lines of what a program printed or logged."""
    lines = [line for line in output.splitlines() if line.strip()][-QUOTED_LINES:]
    hint = DISK_FULL_REMEDY if DISK_FULL in output else None
    return ServerFailed("\n".join((f"{what}; it said:", *lines)) if lines else f"{what} and said nothing", hint=hint)


# A private folder that goes with our process, SIGKILL included: what lies in it may be production's.


# Its end of the pipe is ours alone: when we have left or died, the read ends and the folder goes.
_REMOVE_FOLDER_SCRIPT = "trap '' HUP INT TERM; read -r _; rm -rf -- \"$1\""
_REMOVE_SECONDS = 60.0


@contextmanager
def private_folder() -> Iterator[Path]:
    """A new folder in TMPDIR, readable by nobody else, gone after the block. Raises ServerFailed."""
    receiving, sending = os.pipe()
    try:
        place = Path(tempfile.mkdtemp(prefix="aibos-kernel-"))
        watchdog = subprocess.Popen(  # noqa: S603 - our own script
            ("/bin/sh", "-c", _REMOVE_FOLDER_SCRIPT, "sh", place),
            stdin=receiving,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=program_environment(),
            cwd=NEUTRAL_FOLDER,
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
        watchdog.wait(_REMOVE_SECONDS)


# Run pg_dump and pg_restore: an environment of its own, nothing secret on its command line, and an end with ours.
#
# Nothing of the user's PG* variables reaches them, except what a connection string stands for. A shell waits at a pipe
# that only our process holds: when we leave or die, SIGKILL included, it tells the program and its workers to stop.


POLL_SECONDS = 0.1
_FIRST_POLL_SECONDS = 0.005
_STOP_SECONDS = 5.0
_ERROR_PREFIX = "error: "
# Of a worker that died and said why itself.
_CONSEQUENTIAL_ERRORS = ("a worker process died unexpectedly", "terminated by user")
_STDERR_BYTES = 1 << 20  # of a program that has an error for each of a hundred thousand objects

# A line says that the program has ended; the end of the pipe without one, that we have left or died before it.
_TERMINATE_SCRIPT = 'read -r _ || kill -TERM "-$1"'


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedProgram:
    """A program that came to its end: `said` is its stderr, of a very long one the two ends."""

    exit_status: int
    stderr: str

    @property
    def last_error(self) -> str:
        """The last line that says why it failed, without the program's name before it."""
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
    """Run a program to its end as `account`; `environ` is added to what it sees, `source` is its stdin.

    Its stdout goes to the file `output`. `polled` is called ten times a second meanwhile; what it raises stops the
    program. Raises TimeoutError after `seconds`, ProgramsMissing when the program cannot be started.
    """
    with tempfile.TemporaryFile() as said:
        with _running_program(
            account, *command, environ=environ or {}, output=output, source=source, said=said
        ) as child:
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
        return FinishedProgram(exit_status=child.returncode, stderr=_read_both_ends(said).decode(errors="replace"))


def _read_both_ends(file: IO[bytes]) -> bytes:
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    if size <= 2 * _STDERR_BYTES:
        return file.read()
    head = file.read(_STDERR_BYTES)
    file.seek(-_STDERR_BYTES, os.SEEK_END)
    return head + b"\n" + file.read()


@contextmanager
def _running_program(
    account: Account,
    *command: str | Path,
    environ: Mapping[str, str],
    output: IO[bytes] | None,
    source: IO[bytes] | None,
    said: IO[bytes],
) -> Iterator[subprocess.Popen[bytes]]:
    as_account: dict[str, Any] = {
        "cwd": NEUTRAL_FOLDER,
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
            env=program_environment(environ),
            **as_account,
        )
        watchdog = subprocess.Popen(  # noqa: S603 - the script above
            ("/bin/sh", "-c", _TERMINATE_SCRIPT, "sh", str(child.pid)),
            stdin=receiving,
            env=program_environment(),
            **as_account,
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
