"""Decompress gzip and zstd as a stream; data that is cut short or damaged is refused."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from kernel.errors import DumpUnreadable
from kernel.rehearsal.dump.common.model import DUMP_AGAIN
from kernel.units import format_count

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


_GZIP_WINDOW = 16 + zlib.MAX_WBITS  # 16: with gzip's header and trailer, whose checksum is then verified
_CHUNK_BYTES = 1 << 13  # read at once: they become a piece of at most 8 MB of gzip, 256 MB of zstd


class _Frame(Protocol):
    """One gzip member or zstd frame; the common interface of zlib, zstandard and compression.zstd."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, /) -> bytes: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Compression:
    """A compression of whole files: their first bytes, and the program that unpacks them, for users."""

    magic: bytes
    unpack_command: str


COMPRESSIONS = {
    "gzip": Compression(magic=b"\x1f\x8b", unpack_command="gunzip"),
    "zstd": Compression(magic=b"\x28\xb5\x2f\xfd", unpack_command="unzstd"),
}


def detect_compression(head: bytes) -> str:
    """The compression of a file by its first bytes, a key of COMPRESSIONS, or ""."""
    return next((name for name, compression in COMPRESSIONS.items() if head.startswith(compression.magic)), "")


def decompress_stream(read: Callable[[int], bytes], compression: str, name: str) -> Iterator[bytes]:
    """Decompress a file, in pieces; `name` is the file in messages.

    Several members in a row are one stream, as for gunzip and unzstd. Raises DumpUnreadable with the offset in the
    compressed file, also when no module for zstd is installed.
    """
    begin, damage = _decompressor(compression, name)
    frame = begin()
    fresh = True  # no byte of the frame was read
    offset = 0
    while packed := read(_CHUNK_BYTES):
        while packed:
            if fresh and offset and not packed.strip(b"\0"):
                packed = b""  # tapes and some disks pad the last block with zeros
                continue
            try:
                plain = frame.decompress(packed)
            except damage as error:
                raise DumpUnreadable(
                    f"{name}: its {compression} is damaged near byte {format_count(offset)}; {DUMP_AGAIN}"
                ) from error
            if plain:
                yield plain
            fresh = frame.eof
            rest = frame.unused_data if frame.eof else b""
            offset += len(packed) - len(rest)
            packed = rest
            if frame.eof:
                frame = begin()
    if not fresh:
        raise DumpUnreadable(
            f"{name}: cut short at byte {format_count(offset)}, in the middle of its {compression}; {DUMP_AGAIN}"
        )


def _decompressor(compression: str, name: str) -> tuple[Callable[[], _Frame], type[Exception]]:
    """A function that begins a frame, and the error that a damaged frame raises.

    Raises DumpUnreadable where no module for zstd is installed.
    """
    if compression == "gzip":
        return lambda: zlib.decompressobj(_GZIP_WINDOW), zlib.error
    try:
        from compression import zstd  # type: ignore[import-not-found,unused-ignore]  # noqa: PLC0415 - Python 3.14's
    except ImportError:
        pass
    else:
        return zstd.ZstdDecompressor, zstd.ZstdError
    try:
        import zstandard  # noqa: PLC0415 - optional, and only for dumps that are compressed so
    except ImportError as error:
        raise DumpUnreadable(
            f"{name}: compressed with zstd, which Python reads from 3.14 on; "
            "python -m pip install zstandard, or unpack it first: unzstd"
        ) from error
    return lambda: zstandard.ZstdDecompressor().decompressobj(), zstandard.ZstdError
