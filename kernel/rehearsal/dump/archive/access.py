"""Make an archive readable for the account of pg_restore: in place, as an open file, or as a private copy."""

from __future__ import annotations

import os
import shutil
import stat
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING

from kernel.errors import DumpUnreadable, RestoreFailed
from kernel.postgres.process import private_folder
from kernel.rehearsal.dump.common.model import TOC_FILE_NAME, DumpFormat, read_errors_as_unreadable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from kernel.postgres.account import Account
    from kernel.rehearsal.dump.common.model import Dump


ArchiveInput = tuple[tuple[str, ...], IO[bytes] | None]
"""Arguments to append for pg_restore, and its stdin."""


@contextmanager
def open_archive_for_account(
    dump: Dump, account: Account, *, jobs: int = 1, toc_only: bool = False
) -> Iterator[ArchiveInput]:
    """The archive for a restore with `jobs`, more than one of which open it again by its name; or its contents' table.

    A file is opened here and inherited; of a directory that is closed to the account, `toc_only` copies one file.
    Raises DumpUnreadable, and RestoreFailed when a copy is needed and there is no room for it.
    """
    is_folder = dump.format is DumpFormat.DIRECTORY
    if not is_folder and jobs == 1:
        with _open_unbuffered(dump.path) as file:
            yield (), file
    elif _is_readable_by(account, dump.path):
        yield (str(dump.path),), None
    else:
        with _private_folder(account) as folder:
            parts = (
                [dump.path / TOC_FILE_NAME] if toc_only else sorted(dump.path.iterdir()) if is_folder else [dump.path]
            )
            for part in parts:
                _copy_file(part, folder / part.name, account)
            yield (str(folder if is_folder else folder / dump.path.name),), None


@contextmanager
def text_file_for_account(text: str, account: Account) -> Iterator[Path]:
    """A temporary file with this text that the account can read."""
    with _private_folder(account) as folder:
        path = folder / "list"
        path.write_text(text, encoding="utf-8", errors="surrogateescape")
        path.chmod(0o644)  # in a folder that only the account may enter
        yield path


def _is_readable_by(account: Account, path: Path) -> bool:
    """Whether the account can open a file, or the files of a folder, by name."""
    path = path.resolve()
    if not account.switched:
        return True
    files = [part for part in path.iterdir() if part.is_file()] if path.is_dir() else [path]
    folder = path if path.is_dir() else path.parent
    return (
        account.first_closed_folder(folder) is None
        and (not path.is_dir() or account.has_permission(path, os.R_OK))
        and all(account.has_permission(part, os.R_OK) for part in files)
    )


@contextmanager
def _open_unbuffered(path: Path) -> Iterator[IO[bytes]]:
    with read_errors_as_unreadable(path):
        file = path.open("rb", buffering=0)  # the child inherits its position
    with file:
        yield file


@contextmanager
def _private_folder(account: Account) -> Iterator[Path]:
    """A temporary private folder of the account. Raises RestoreFailed, ServerFailed."""
    with private_folder() as folder:
        account.take_ownership(folder, 0o700)
        if closed := account.first_closed_folder(folder.parent):
            raise RestoreFailed(
                f"{closed}: closed to the account {account.name}; set TMPDIR to a folder that it may use"
            )
        yield folder


def _copy_file(source: Path, target: Path, account: Account) -> None:
    """Copy a file of an archive for the account, never the target of a symbolic link."""
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
