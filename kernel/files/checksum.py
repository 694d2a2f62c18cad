"""The checksum of a migration file.

SHA-256 in hex of its bytes, the byte order mark removed and CRLF read as LF: for an ordinary file what sha256sum
prints, and what the TypeScript runner wrote (the specification, "Migration Tracking Table": SHA256 of migration SQL).
"""

from __future__ import annotations

import codecs
import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_CHUNK_BYTES = 1 << 20


class Reader:
    """The bytes of an open file, hashed as they go by, so that what ran is known to be what was planned."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read = read
        self._plain = hashlib.sha256()
        self._begun = False
        self._carried = b""

    def read(self, size: int) -> bytes:
        """As a file's read; empty at its end."""
        chunk = self._read(size)
        plain = self._carried + chunk
        if not self._begun:
            plain = plain.removeprefix(codecs.BOM_UTF8)
            self._begun = True
        # A CR at the edge waits for the LF that may follow it.
        self._carried = b"\r" if chunk and plain.endswith(b"\r") else b""
        self._plain.update(plain.removesuffix(self._carried).replace(b"\r\n", b"\n"))
        return chunk

    def digest(self) -> str:
        """The checksum of what was read so far; 64 hex digits."""
        return self._plain.hexdigest()


def of(path: Path) -> str:
    """The checksum of a file, which may be of any size. Raises OSError."""
    with path.open("rb", buffering=0) as file:
        reader = Reader(file.read)
        while reader.read(_CHUNK_BYTES):
            pass
    return reader.digest()


def accepted(path: Path) -> frozenset[str]:
    """Every checksum that counts as this file's: a checkout on Windows, or a runner that hashed the raw bytes.

    Line ends and the byte order mark change nothing that a migration does. Raises OSError.
    """
    raw, windows, marked = hashlib.sha256(), hashlib.sha256(), hashlib.sha256(codecs.BOM_UTF8)
    with path.open("rb", buffering=0) as file:
        reader = Reader(file.read)
        for chunk in _chunks(reader):
            raw.update(chunk)
    with path.open("rb", buffering=0) as file:
        carried = b""
        for chunk in _chunks(Reader(file.read)):
            text = carried + chunk
            carried = b"\r" if text.endswith(b"\r") else b""
            lines = text.removesuffix(carried).replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
            windows.update(lines)
            marked.update(lines)
    return frozenset(hash_.hexdigest() for hash_ in (raw, windows, marked)) | {reader.digest()}


def _chunks(reader: Reader) -> Iterator[bytes]:
    while chunk := reader.read(_CHUNK_BYTES):
        yield chunk
