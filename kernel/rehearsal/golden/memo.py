"""What the digest of a big file was when it was last read: a second rehearsal need not read the dump again.

A file counts as the same when its path, inode, size and times are; for a folder, when that holds for each of its
files. The change time is among them, which nobody can set back as one can the modification time.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from kernel.server import cache, locks
from kernel.server.account import opened, ourselves

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FILE = "digests.json"
MOST = 200  # dumps that are remembered; the oldest are forgotten first

# Within a tick of the file system's clock a file can change without a trace in its times.
SETTLED_SECONDS = 2.0


def digest(path: Path, compute: Callable[[], str], *, folder: Path | None = None) -> str:
    """The digest of the dump at `path`, from memory or by `compute`. Whatever is wrong with the memory costs time only.

    `folder` is where the memory lies, the cache by default. Raises what `compute` raises.
    """
    memory = (folder or cache.folder()) / FILE
    name = os.fsdecode(path.resolve())
    before = _fingerprint(path)
    known = _read(memory).get(name)
    if known and known[0] == before:
        return known[1]
    found = compute()
    if before and _fingerprint(path) == before:
        _remember(memory, name, before, found)
    return found


def _fingerprint(path: Path) -> str:
    """What changes when a byte of the dump does; "" when it cannot be read, or was written to just now."""
    digest = hashlib.sha256()
    newest = 0.0
    try:
        for file in _files(path):
            status = file.stat()
            newest = max(newest, status.st_mtime, status.st_ctime)
            identity = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
            digest.update(f"{file.relative_to(path)} {identity}\n".encode(errors="surrogateescape"))
    except OSError:
        return ""
    return digest.hexdigest() if newest < time.time() - SETTLED_SECONDS else ""


def _files(path: Path) -> list[Path]:
    return [path, *sorted(path.rglob("*"))] if path.is_dir() else [path]


def _read(memory: Path) -> dict[str, tuple[str, str]]:
    """What is remembered, oldest first: path -> (fingerprint, digest); {} when it is unreadable."""
    try:
        held = json.loads(memory.read_text(encoding="utf-8", errors="surrogateescape"))
        return {str(name): (str(fingerprint), str(found)) for name, (fingerprint, found) in held.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _remember(memory: Path, name: str, fingerprint: str, found: str) -> None:
    """Add one; whoever reads meanwhile sees the whole of the old or of the new memory."""
    with suppress(OSError):
        ourselves().make(memory.parent)
        with locks.exclusive(memory.with_suffix(".lock")):
            held = _read(memory)
            held.pop(name, None)
            held[name] = (fingerprint, found)
            new = memory.with_suffix(".new")
            with os.fdopen(opened(new, os.O_WRONLY | os.O_TRUNC), "w", encoding="utf-8") as file:
                json.dump(dict(list(held.items())[-MOST:]), file)
            new.replace(memory)
