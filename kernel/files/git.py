"""Questions to git, answered from this clone alone: no network, no prompt, and no patience without end.

Whatever keeps git from answering (it is not installed, there is no repository, it is another user's, it is slow) is
no answer, and none of the callers is worse off without one than it was before it asked.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

# A partial clone would fetch what it lacks; git before 2.45 knows only the second way to forbid it.
_ALONE = {
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_ALLOW_PROTOCOL": "none",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_OPTIONAL_LOCKS": "0",
}
# A file system monitor is a program that the configuration names.
_COMMAND = ("git", "--no-pager", "-c", "core.fsmonitor=false")


@dataclass(frozen=True, slots=True, kw_only=True)
class Repository:
    """The repository that `directory` may lie in; past `deadline`, of time.monotonic(), it answers no more."""

    directory: Path
    environ: Mapping[str, str] = field(repr=False)
    deadline: float

    def ask(self, *arguments: str, typed: bytes = b"") -> bytes | None:
        """What `git ARGUMENTS` prints when it is given `typed`; None when it fails or does not answer in time."""
        left_seconds = self.deadline - time.monotonic()
        if left_seconds <= 0:
            return None
        try:
            process = subprocess.Popen(  # noqa: S603 - a constant command, and arguments that no shell reads
                [*_COMMAND, *arguments],
                cwd=self.directory,
                env=self.environ,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                process_group=0,
            )
        except OSError:
            return None
        with process:
            try:
                printed, _ = process.communicate(typed, timeout=left_seconds)
            except subprocess.TimeoutExpired:
                _kill(process)
                return None
            except BaseException:  # Ctrl-C does not reach a process group of its own
                _kill(process)
                raise
        return printed if process.returncode == 0 else None


def repository(directory: Path, environ: Mapping[str, str], *, seconds: float) -> Repository:
    """Where to ask about `directory`; all questions together take `seconds` at most.

    `environ` is handed to git less its GIT_* variables: a hook exports those of its own repository.
    """
    neutral = {name: value for name, value in environ.items() if not name.startswith("GIT_")}
    return Repository(directory=directory, environ=neutral | _ALONE, deadline=time.monotonic() + seconds)


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End git and what it has started: a wrapper's child would hold the pipe open."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
