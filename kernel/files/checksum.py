"""The checksum of a migration file.

SHA-256 in hex of its bytes, the byte order mark removed and CRLF read as LF: for an ordinary file what sha256sum
prints, and what the TypeScript runner wrote (the specification, "Migration Tracking Table": SHA256 of migration SQL).
"""

from __future__ import annotations

import codecs
import hashlib
import os
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_CHUNK_BYTES = 1 << 20
_USUAL_BYTES = 1 << 16  # more than most files have, and less than what malloc asks the system for


class _Plain:
    """Bytes without the byte order mark and with LF for CRLF, in whatever pieces they come."""

    def __init__(self) -> None:
        self._begun = False
        self._carried = b""

    def feed(self, chunk: bytes) -> bytes:
        """The next plain bytes; an empty chunk is the end, and lets go of what waited for more."""
        plain = self._carried + chunk
        if not self._begun:
            if chunk and len(plain) < len(codecs.BOM_UTF8) and codecs.BOM_UTF8.startswith(plain):
                self._carried = plain
                return b""
            plain = plain.removeprefix(codecs.BOM_UTF8)
            self._begun = True
        # A CR at the edge waits for the LF that may follow it.
        if b"\r" not in plain:  # a search for one byte is many times as fast as for two
            self._carried = b""
            return plain
        self._carried = b"\r" if chunk and plain.endswith(b"\r") else b""
        return plain.removesuffix(self._carried).replace(b"\r\n", b"\n")


class Reader:
    """The bytes of an open file, hashed as they go by, so that what ran is known to be what was planned."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read = read
        self._plain = _Plain()
        self._hash = hashlib.sha256()

    def read(self, size: int) -> bytes:
        """As a file's read; empty at its end."""
        chunk = self._read(size)
        self._hash.update(self._plain.feed(chunk))
        return chunk

    def digest(self) -> str:
        """The checksum of what was read, once it is at its end; 64 hex digits."""
        return self._hash.hexdigest()


def of(path: str | Path) -> str:
    """The checksum of a file, which may be of any size. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)  # a third of the price of Path.open, for thousands of files
    try:
        first = os.read(descriptor, _USUAL_BYTES)
        # Of a file, less than was asked for is all there is.
        if len(first) < _USUAL_BYTES and b"\r" not in first and not first.startswith(codecs.BOM_UTF8):
            return hashlib.sha256(first).hexdigest()
        os.lseek(descriptor, 0, os.SEEK_SET)
        reader = Reader(partial(os.read, descriptor))
        while reader.read(_CHUNK_BYTES):
            pass
    finally:
        os.close(descriptor)
    return reader.digest()


def accepted(path: Path) -> frozenset[str]:
    """Every checksum that counts as this file's; see accepted_of. Raises OSError."""
    with path.open("rb", buffering=0) as file:
        return accepted_of(file.read)


def accepted_of(read: Callable[[int], bytes]) -> frozenset[str]:
    """Every checksum that counts as these bytes': a checkout on Windows, or a runner that hashed the raw bytes.

    Line ends and the byte order mark change nothing that a migration does.
    """
    raw = hashlib.sha256()
    unix, windows = ([hashlib.sha256(mark) for mark in (b"", codecs.BOM_UTF8)] for _line_end in ("LF", "CRLF"))
    plain = _Plain()
    while True:
        chunk = read(_CHUNK_BYTES)
        raw.update(chunk)
        lines = plain.feed(chunk)
        for digest in unix:
            digest.update(lines)
        for digest in windows:
            digest.update(lines.replace(b"\n", b"\r\n"))
        if not chunk:
            break
    return frozenset(digest.hexdigest() for digest in (raw, *unix, *windows))
