"""Which number the next migration gets, and how its files come to be without overwriting any.

Two people who add a migration in two branches take the same number; it shows when the second branch is merged. So the
default branch of the remote counts as well as the directory, as far as it was fetched: nothing here uses the network.
"""

from __future__ import annotations

import fcntl
import os
import re
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from kernel.errors import UsageError
from kernel.files import git

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

_DEFAULT_BRANCHES = ("refs/remotes/origin/HEAD", "refs/remotes/origin/main", "refs/remotes/origin/master")
_GIT_SECONDS = 5  # a repository on a slow disk; without an answer the local files decide


def versions(names: Iterable[str]) -> set[int]:
    """The numbers at the beginning of `names` that end in .sql, misnamed ones such as 16-x.sql included."""
    return {int(match[1]) for name in names if (match := re.match(r"([0-9]+)[_-].*\.sql\Z", name, re.DOTALL))}


def taken(directory: Path, environ: Mapping[str, str]) -> set[int]:
    """The numbers of the files in `directory` and of the remote's default branch; raises UsageError without one."""
    try:
        local = [path.name for path in directory.iterdir()]
    except OSError as error:
        remedy = "create it, or set KERNEL_MIGRATIONS_DIR"
        raise UsageError(f"{directory}: cannot be listed ({error.strerror}); {remedy}") from error
    return versions(local) | versions(remote_names(directory, environ))


def remote_names(directory: Path, environ: Mapping[str, str]) -> tuple[str, ...]:
    """The file names of `directory` on the remote's default branch; () without git, a repository or such a branch."""
    repository = git.repository(directory, environ, seconds=_GIT_SECONDS)
    for branch in _DEFAULT_BRANCHES:
        listing = repository.ask("ls-tree", "--name-only", "-z", branch)
        if listing is not None:
            return tuple(os.fsdecode(listing).split("\0"))
    return ()


@contextmanager
def exclusive(directory: Path) -> Iterator[None]:
    """One at a time chooses a number in `directory`; the kernel of the system lets go when the process dies."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        # Some network file systems lock no directories. There, create() still overwrites nothing.
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def create(files: Mapping[Path, bytes]) -> None:
    """Create all of `files` or none; raises FileExistsError when one is there, and OSError as the system gives it."""
    created: list[Path] = []
    try:
        for path, content in files.items():
            with path.open("xb") as file:
                created.append(path)
                file.write(content)
    except BaseException:  # Ctrl-C as well: half a file must not look like a migration
        for path in created:
            path.unlink()
        raise
