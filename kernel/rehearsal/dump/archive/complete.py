r"""Check that the files of an archive are complete: pg_restore does not always notice one that is cut short.

Of a directory archive, pg_restore restores the rest of a file of rows that is cut short, and exits 0, unless gzip
compresses it (and it is not empty). So uncompressed rows must end with the lines that pg_dump writes after them, zstd
is decompressed, and an LZ4 frame must end with its end mark. An uncompressed large object always looks complete.
Sources: the end of dumpTableData in pg_dump.c, and the LZ4 frame format description.
"""

from __future__ import annotations

import os
import tarfile
from typing import IO, TYPE_CHECKING

from kernel.errors import DumpUnreadable
from kernel.rehearsal.dump.common.decompress import decompress_stream
from kernel.rehearsal.dump.common.model import DUMP_AGAIN, DumpFormat

if TYPE_CHECKING:
    from pathlib import Path

    from kernel.rehearsal.dump.common.model import Dump


_ROW_FILES = "[0-9]*.dat*"
_LARGE_OBJECT_FILES = "blob_*.dat*"
_COPY_END, _INSERTS_END = b"\\.\n\n\n", b";\n\n\n"
_EMPTY_INSERTS = b"\n\n"  # written by --inserts for an empty table
_INSERT = b"INSERT "
_LZ4_END_MARK = bytes(4)  # pg_dump writes no checksum after it
_END_OF_TAR_BYTES = 512  # pg_dump writes two such blocks; the first one marks the end


def check_complete(dump: Dump) -> None:
    """Raise DumpUnreadable when a directory or tar archive is cut short; names every file of a directory that is."""
    if dump.format is DumpFormat.TAR:
        _check_tar(dump.path)
    elif dump.format is DumpFormat.DIRECTORY:
        _check_directory(dump.path)


def _check_tar(path: Path) -> None:
    """pg_restore can loop for ever on a tar that ends inside of a member."""
    try:
        with path.open("rb") as file:
            size_bytes = os.fstat(file.fileno()).st_size
            with tarfile.open(fileobj=file, mode="r:") as tar:
                for member in tar:
                    if member.offset_data + member.size > size_bytes:
                        raise DumpUnreadable(
                            f"{path}: cut short within {member.name!r}, one of its files; {DUMP_AGAIN}"
                        )
                if tar.offset + _END_OF_TAR_BYTES > size_bytes:
                    raise DumpUnreadable(f"{path}: cut short, for the end of the tar is missing; {DUMP_AGAIN}")
    except tarfile.TarError as error:
        raise DumpUnreadable(f"{path}: damaged or cut short ({error}); {DUMP_AGAIN}") from error


def _check_directory(folder: Path) -> None:
    try:
        for path in folder.iterdir():
            # A link would be read with our permissions, wherever it leads.
            if path.is_symlink() or not path.is_file():
                raise DumpUnreadable(f"{path}: not a file, which pg_dump never puts into an archive; dump it again")
        cut = [path.name for path in sorted(folder.glob(_ROW_FILES)) if not _is_complete(path, rows=True)]
        cut += [path.name for path in sorted(folder.glob(_LARGE_OBJECT_FILES)) if not _is_complete(path, rows=False)]
    except OSError as error:
        raise DumpUnreadable(f"{error.filename or folder}: {error.strerror}; {DUMP_AGAIN}") from error
    if cut:
        raise DumpUnreadable(f"{folder}: cut short: {', '.join(cut)}; {DUMP_AGAIN}")


def _is_complete(path: Path, *, rows: bool) -> bool:
    """Whether a file of rows or of a large object is complete, as far as it shows."""
    with path.open("rb") as file:
        if path.stat().st_size == 0:
            return not rows  # an empty large object is an empty file in most formats
        if path.suffix == ".lz4":
            return _last_bytes(file, len(_LZ4_END_MARK)) == _LZ4_END_MARK
        if path.suffix == ".zst":
            for _ in decompress_stream(file.read, "zstd", str(path)):
                pass  # raises when it is cut short
            return True
        return path.suffix != ".dat" or not rows or _has_end_of_rows(file)


def _has_end_of_rows(file: IO[bytes]) -> bool:
    begin = file.read(len(_INSERT))
    if begin == _EMPTY_INSERTS:
        return True
    return _last_bytes(file, len(_COPY_END)).endswith(_INSERTS_END if begin == _INSERT else _COPY_END)


def _last_bytes(file: IO[bytes], count: int) -> bytes:
    file.seek(-min(count, file.seek(0, os.SEEK_END)), os.SEEK_END)
    return file.read()
