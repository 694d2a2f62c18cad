"""Files that are written as a whole or not at all."""

from __future__ import annotations

import errno
import os
import secrets
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def replacing_file(path: Path) -> Iterator[IO[str]]:
    """Write a text file in UTF-8: a reader sees the old file or the new one, never a part; a link to it is kept.

    Its permissions are those of any new file. Raises OSError, before the block where the folder cannot be written.
    """
    real = replaceable_file(path)
    draft = real.with_name(f".{secrets.token_hex(8)}.part")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)  # less the umask
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="\n") as file:
            yield file
            file.flush()
            # Otherwise a crash soon after can leave the new name with nothing in it.
            os.fsync(descriptor)
        draft.replace(real)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def replaceable_file(path: Path) -> Path:
    """The file that a path leads to, which need not exist. Raises OSError for a folder, a device or a pipe."""
    real = path.resolve()
    if real.exists() and not real.is_file():
        raise OSError(errno.EINVAL, "it is no ordinary file", str(path))
    return real
