"""Migration files: the naming rule, the checksum, and the discovery of a directory's files.

Names are {version}_{description}.sql, with the version zero-padded to three digits and the description in snake_case.
The checksum is the SHA-256 in hex of the bytes without a byte order mark and with LF for CRLF: for an ordinary file the
output of sha256sum. See docs/specification.md.
"""

from __future__ import annotations

import codecs
import hashlib
import os
import re
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from kernel.errors import FilesInvalid, Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path


_CHUNK_BYTES = 1 << 20
_FIRST_READ_BYTES = 1 << 16  # more than most files have, and less than what malloc asks the system for


class _LineEndNormalizer:
    """Bytes without the byte order mark and with LF for CRLF, in whatever pieces they come."""

    def __init__(self) -> None:
        self._started = False
        self._held_back = b""

    def feed(self, chunk: bytes) -> bytes:
        """The next plain bytes; an empty chunk is the end, and lets go of what waited for more."""
        plain = self._held_back + chunk
        if not self._started:
            if chunk and len(plain) < len(codecs.BOM_UTF8) and codecs.BOM_UTF8.startswith(plain):
                self._held_back = plain
                return b""
            plain = plain.removeprefix(codecs.BOM_UTF8)
            self._started = True
        # A CR at the edge waits for the LF that may follow it.
        if b"\r" not in plain:  # a search for one byte is many times as fast as for two
            self._held_back = b""
            return plain
        self._held_back = b"\r" if chunk and plain.endswith(b"\r") else b""
        return plain.removesuffix(self._held_back).replace(b"\r\n", b"\n")


class HashingReader:
    """The bytes of an open file, hashed as they go by, so that what ran is known to be what was planned."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read = read
        self._normalizer = _LineEndNormalizer()
        self._hash = hashlib.sha256()

    def read(self, size: int) -> bytes:
        """As a file's read; empty at its end."""
        chunk = self._read(size)
        self._hash.update(self._normalizer.feed(chunk))
        return chunk

    def checksum(self) -> str:
        """The checksum of what was read, once it is at its end; 64 hex digits."""
        return self._hash.hexdigest()


def file_checksum(path: str | Path) -> str:
    """The checksum of a file, which may be of any size. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)  # a third of the price of Path.open, for thousands of files
    try:
        first = os.read(descriptor, _FIRST_READ_BYTES)
        # Of a file, less than was asked for is all there is.
        if len(first) < _FIRST_READ_BYTES and b"\r" not in first and not first.startswith(codecs.BOM_UTF8):
            return hashlib.sha256(first).hexdigest()
        os.lseek(descriptor, 0, os.SEEK_SET)
        reader = HashingReader(partial(os.read, descriptor))
        while reader.read(_CHUNK_BYTES):
            pass
    finally:
        os.close(descriptor)
    return reader.checksum()


def accepted_checksums(path: Path) -> frozenset[str]:
    """Every checksum that counts as this file's; see accepted_of. Raises OSError."""
    with path.open("rb", buffering=0) as file:
        return accepted_checksums_of_stream(file.read)


def accepted_checksums_of_stream(read: Callable[[int], bytes]) -> frozenset[str]:
    """Every checksum that counts as these bytes': a checkout on Windows, or a runner that hashed the raw bytes.

    Line ends and the byte order mark change nothing that a migration does.
    """
    raw = hashlib.sha256()
    unix, windows = ([hashlib.sha256(mark) for mark in (b"", codecs.BOM_UTF8)] for _line_end in ("LF", "CRLF"))
    plain = _LineEndNormalizer()
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


VERSION_DIGITS = 3
_FILENAME = re.compile(r"(?P<version>[0-9]{3,})_(?P<description>[a-z0-9]+(?:_[a-z0-9]+)*)\.sql")
_PREFIXED = r"[A-Za-z]+[0-9]+_"
_FOREIGN_LETTER = r"[^A-Za-z0-9_\- ]"


def parse_filename(filename: str) -> tuple[str, str] | None:
    """The version as written and the description, or None when the name breaks the rule."""
    match = _FILENAME.fullmatch(filename)
    return (match["version"], match["description"]) if match else None


def format_version(number: int) -> str:
    """A version as it is written: 16 is "016", 1000 is "1000"."""
    return f"{number:0{VERSION_DIGITS}}"


def explain_bad_filename(filename: str) -> str:
    """What is wrong with a name that `parse` refuses, and the name that would be right where there is one."""
    stem = filename[:-4]
    version = stem[: len(stem) - len(stem.lstrip("0123456789"))]
    rest = stem[len(version) :]
    paired = rest.endswith((".up", ".down"))
    faults = [
        fault
        for found, fault in (
            (not filename.endswith(".sql"), "the ending is not in lower case"),
            (not version and re.match(_PREFIXED, stem), "a letter ahead of the version"),
            (not version and not re.match(_PREFIXED, stem), "no version ahead of the description"),
            (0 < len(version) < VERSION_DIGITS, f"version not padded to {VERSION_DIGITS} digits"),
            (version and not rest.strip("_-. "), "no description behind the version"),
            ("-" in rest, "hyphens, use underscores"),
            (" " in rest, "blanks, use underscores"),
            (any(letter.isupper() for letter in rest), "capital letters, use snake_case"),
            (paired, "one file a migration, and what undoes it in revert/ under the same name"),
            (not paired and re.search(_FOREIGN_LETTER, rest), "letters other than a to z, 0 to 9 and _"),
        )
        if found
    ] or ["underscores stand one at a time between words"]
    right = _suggest_filename(version, rest)
    return ", ".join(faults) + (f"; rename it to {right}" if right else "; name it like 016_add_user_preferences.sql")


def _suggest_filename(version: str, rest: str) -> str | None:
    words = re.findall(r"[a-z0-9]+", rest.lower())
    if not version or not words or not rest.isascii() or rest.endswith((".up", ".down")):
        return None
    return f"{format_version(int(version))}_{'_'.join(words)}.sql"


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """A file that obeys the naming rule; `version` is as written, `checksum` as of file_checksum."""

    version: str
    filename: str
    directory: Path
    checksum: str

    @property
    def path(self) -> Path:
        """Where the file is."""
        return self.directory / self.filename

    @property
    def number(self) -> int:
        """The version to compare by: 1000 comes after 999."""
        return int(self.version)

    def read_revert(self) -> Migration:
        """The file that undoes it, revert/ and the same name. Raises OSError when it cannot be read."""
        filename = f"revert/{self.filename}"
        return replace(self, filename=filename, checksum=file_checksum(self.directory / filename))

    def accepts(self, recorded: str) -> bool:
        """Whether a recorded checksum is this file's. Raises OSError when it has to look again and cannot."""
        return recorded == self.checksum or recorded.lower() in accepted_checksums(self.path)


def discover_migrations(directory: Path) -> tuple[Migration, ...]:
    """The migrations of a directory in version order; () when it holds none.

    Raises FilesInvalid with every misnamed, unreadable or duplicate file.
    """
    found, problems = read_candidates(directory, list_candidates(directory))
    if problems:
        raise FilesInvalid(problems)
    return found


def read_candidates(directory: Path, filenames: Iterable[str]) -> tuple[tuple[Migration, ...], tuple[Problem, ...]]:
    """The migrations among the candidates of a directory in version order, and what is wrong with the others."""
    problems: list[Problem] = []
    found: dict[int, Migration] = {}
    folder = str(directory)  # joining a Path with every name is slow
    for filename in filenames:
        parsed = parse_filename(filename)
        if parsed is None:
            problems.append(Problem(message=explain_bad_filename(filename), file=filename))
            continue
        version, _description = parsed
        try:
            digest = file_checksum(f"{folder}/{filename}")
        except OSError as error:
            problems.append(Problem(message=f"cannot be read: {error.strerror}", file=filename))
            continue
        one = Migration(version=version, filename=filename, directory=directory, checksum=digest)
        other = found.setdefault(int(version), one)
        if other is not one:
            message = f"the version of {other.filename} too; move one of them: inv db.renumber {filename}"
            problems.append(Problem(message=message, file=filename))
    return tuple(found[number] for number in sorted(found)), tuple(problems)


def list_candidates(directory: Path) -> list[str]:
    """The names in a directory that have to be migrations: *.sql, but for hidden files and directories. In their order.

    Raises FilesInvalid when it cannot be listed, or when one of them is a pipe or a device, and not to be read.
    """
    found: list[str] = []
    special: list[str] = []
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                name = entry.name
                if name[-4:].lower() != ".sql" or name[0] == ".":
                    continue
                if entry.is_file():  # which the listing itself knows of all but links
                    found.append(name)
                elif not entry.is_dir():
                    # Reading a dangling link fails with an error; reading a link to a pipe would block.
                    (special if os.path.exists(entry) else found).append(name)  # noqa: PTH110 - it is no Path
    except FileNotFoundError as error:
        message = f"no such directory: {directory}; create it or set KERNEL_MIGRATIONS_DIR"
        raise FilesInvalid([Problem(message=message)]) from error
    except OSError as error:
        raise FilesInvalid([Problem(message=f"{directory}: cannot be read: {error.strerror}")]) from error
    if special:
        raise FilesInvalid([Problem(message="not a regular file; take it away", file=name) for name in sorted(special)])
    return sorted(found)
