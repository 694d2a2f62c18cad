"""Decompress gzip and zstd as a stream; data that is cut short or damaged is refused.

`COMPRESSIONS` at the end of the module has everything that is particular to each.
"""

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


class _Frame(Protocol):
    """One gzip member or zstd frame; the common interface of zlib, zstandard and compression.zstd."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, /) -> bytes: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Compression:
    """A compression of whole files: their first bytes, and how to decompress them.

    `chunk_bytes` are read at once; they bound a decompressed piece. `unpack_command` is the program for users.
    `decompressor` returns a function that begins a frame, and the error that a damaged frame raises; it raises
    DumpUnreadable where no module for it is installed.
    """

    magic: bytes
    chunk_bytes: int
    unpack_command: str
    decompressor: Callable[[str], tuple[Callable[[], _Frame], type[Exception]]]


def detect_compression(head: bytes) -> str:
    """The compression of a file by its first bytes, a key of COMPRESSIONS, or ""."""
    return next((name for name, compression in COMPRESSIONS.items() if head.startswith(compression.magic)), "")


def decompress_stream(read: Callable[[int], bytes], compression: str, name: str) -> Iterator[bytes]:
    """Decompress a file, in pieces; `name` is the file in messages.

    Several members in a row are one stream, as for gunzip and unzstd. Raises DumpUnreadable with the offset in the
    compressed file, also when no module for zstd is installed.
    """
    begin, damage = COMPRESSIONS[compression].decompressor(name)
    frame = begin()
    fresh = True  # no byte of the frame was read
    offset = 0
    while packed := read(COMPRESSIONS[compression].chunk_bytes):
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


def _gzip_decompressor(_name: str) -> tuple[Callable[[], _Frame], type[Exception]]:
    return lambda: zlib.decompressobj(_GZIP_WINDOW), zlib.error


def _zstd_decompressor(name: str) -> tuple[Callable[[], _Frame], type[Exception]]:
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


COMPRESSIONS = {
    "gzip": Compression(  # a piece has at most 32 MB
        magic=b"\x1f\x8b", chunk_bytes=1 << 15, unpack_command="gunzip", decompressor=_gzip_decompressor
    ),
    "zstd": Compression(  # a piece has at most 256 MB
        magic=b"\x28\xb5\x2f\xfd", chunk_bytes=1 << 13, unpack_command="unzstd", decompressor=_zstd_decompressor
    ),
}
