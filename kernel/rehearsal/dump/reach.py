"""An archive where pg_restore's account can read it: in place, through a descriptor of ours, or as a private copy."""

from __future__ import annotations

import os
import shutil
import stat
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING

from kernel.errors import DumpUnreadable, RestoreFailed
from kernel.rehearsal.dump import signature
from kernel.rehearsal.dump.dump import Format
from kernel.server import scratch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from kernel.rehearsal.dump.dump import Dump
    from kernel.server.account import Account

Place = tuple[tuple[str, ...], IO[bytes] | None]
"""What to append to pg_restore's arguments, and what to give it as stdin."""


@contextmanager
def toc(dump: Dump, account: Account) -> Iterator[Place]:
    """The archive for reading its table of contents, which lies in one file of whatever format. Raises DumpUnreadable.

    A file is opened by us and inherited; of a directory that is closed to the account, that one file is copied.
    """
    if dump.format is not Format.DIRECTORY:
        with _opened(dump.path) as file:
            yield (), file
    elif _open_to(account, dump.path):
        yield (str(dump.path),), None
    else:
        with _folder(account) as folder:
            _copy(dump.path / signature.TABLE_OF_CONTENTS, folder / signature.TABLE_OF_CONTENTS, account)
            yield (str(folder),), None


@contextmanager
def whole(dump: Dump, account: Account, *, jobs: int) -> Iterator[Place]:
    """The archive for restoring all of it with so many jobs: several open it several times, by its name.

    Raises DumpUnreadable, and RestoreFailed when a copy is needed and there is no room for it.
    """
    if dump.format is not Format.DIRECTORY and jobs == 1:
        with _opened(dump.path) as file:
            yield (), file
    elif _open_to(account, dump.path):
        yield (str(dump.path),), None
    else:
        with _folder(account) as folder:
            parts = sorted(dump.path.iterdir()) if dump.format is Format.DIRECTORY else [dump.path]
            for part in parts:
                _copy(part, folder / part.name, account)
            yield (str(folder if dump.format is Format.DIRECTORY else folder / dump.path.name),), None


@contextmanager
def written(text: str, account: Account) -> Iterator[Path]:
    """A file with this text that the account can read, gone at the end."""
    with _folder(account) as folder:
        path = folder / "list"
        path.write_text(text, encoding="utf-8", errors="surrogateescape")
        path.chmod(0o644)  # in a folder that only the account may enter
        yield path


def _open_to(account: Account, path: Path) -> bool:
    """Whether the account can read a file, or a folder's files, by their names."""
    path = path.resolve()
    if not account.switched:
        return True
    files = [part for part in path.iterdir() if part.is_file()] if path.is_dir() else [path]
    folder = path if path.is_dir() else path.parent
    return (
        account.closed(folder) is None
        and (not path.is_dir() or account.may(path, os.R_OK))
        and all(account.may(part, os.R_OK) for part in files)
    )


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    try:
        file = path.open("rb", buffering=0)  # its position is shared with who inherits it
    except OSError as error:
        raise DumpUnreadable(f"{path}: {error.strerror}; give a dump that can be read here") from error
    with file:
        yield file


@contextmanager
def _folder(account: Account) -> Iterator[Path]:
    """A private folder of the account, gone at the end, however we end. Raises RestoreFailed, ServerFailed."""
    with scratch.folder() as folder:
        account.own(folder, 0o700)
        if closed := account.closed(folder.parent):
            raise RestoreFailed(
                f"{closed}: closed to the account {account.name}; set TMPDIR to a folder that it may use"
            )
        yield folder


def _copy(source: Path, target: Path, account: Account) -> None:
    """Copy a file of an archive for the account, never what a link in the archive points to."""
    try:
        descriptor = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as reading:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise DumpUnreadable(f"{source}: not a file, which pg_dump never puts into an archive; dump it again")
            with target.open("xb") as writing:
                os.fchmod(writing.fileno(), 0o600)
                os.fchown(writing.fileno(), account.uid, account.gid)
                shutil.copyfileobj(reading, writing, 1 << 20)
    except OSError as error:
        raise RestoreFailed(
            f"{source}: cannot be copied to where the account {account.name} reads it ({error.strerror}); "
            f"let {account.name} read the archive in its place, or set TMPDIR to a larger disk"
        ) from error
