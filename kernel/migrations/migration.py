"""Migration files: the naming rule, the checksum, and discovery in a directory.

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

from kernel.errors import FilesInvalid, Problem, UsageError
from kernel.migrations.phases import PHASE_MARK, Phase, read_phase
from kernel.migrations.replaced import REPLACED_FOLDER, REPLACED_MARK, read_replaced

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from kernel.migrations.replaced import ReplacedVersion


_CHUNK_BYTES = 1 << 20
_LONGEST_VERSION_DIGITS = 255  # of schema_migrations.version
_FIRST_READ_BYTES = 1 << 16  # more than most files have, and less than what malloc asks the system for

VERSION_DIGITS = 3
_FILENAME = re.compile(r"(?P<version>[0-9]{3,})_(?P<description>[a-z0-9]+(?:_[a-z0-9]+)*)\.sql")
_PREFIXED = r"[A-Za-z]+[0-9]+_"
_FOREIGN_LETTER = r"[^A-Za-z0-9_\- ]"


class _LineEndNormalizer:
    """Normalize a stream of bytes in chunks of any size: remove the byte order mark, replace CRLF by LF."""

    def __init__(self) -> None:
        self._started = False
        self._held_back = b""

    def feed(self, chunk: bytes) -> bytes:
        """Return the next normalized bytes; an empty chunk ends the stream and returns the bytes held back."""
        plain = self._held_back + chunk
        if not self._started:
            if chunk and len(plain) < len(codecs.BOM_UTF8) and codecs.BOM_UTF8.startswith(plain):
                self._held_back = plain
                return b""
            plain = plain.removeprefix(codecs.BOM_UTF8)
            self._started = True
        # Hold back a CR at the end of the chunk: an LF may follow it.
        if b"\r" not in plain:  # a search for one byte is many times as fast as for two
            self._held_back = b""
            return plain
        self._held_back = b"\r" if chunk and plain.endswith(b"\r") else b""
        return plain.removesuffix(self._held_back).replace(b"\r\n", b"\n")


class HashingReader:
    """A reader that hashes the bytes of a file as they are read, to verify that the planned content was run."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read = read
        self._normalizer = _LineEndNormalizer()
        self._hash = hashlib.sha256()

    def read(self, size: int) -> bytes:
        """Read at most `size` bytes; empty at the end of the file."""
        chunk = self._read(size)
        self._hash.update(self._normalizer.feed(chunk))
        return chunk

    def checksum(self) -> str:
        """Return the checksum of the bytes read so far, to be called at the end of the file; 64 hex digits."""
        return self._hash.hexdigest()


def file_checksum(path: str | Path) -> str:
    """Return the checksum of a file of any size. Raises OSError."""
    return _checksum_and_first_bytes(path)[0]


def _checksum_and_first_bytes(path: str | Path) -> tuple[str, bytes]:
    descriptor = os.open(path, os.O_RDONLY)  # takes a third of the time of Path.open; there may be thousands of files
    try:
        first = os.read(descriptor, _FIRST_READ_BYTES)
        # A read of a regular file that returns fewer bytes than requested has reached its end.
        if len(first) < _FIRST_READ_BYTES and b"\r" not in first and not first.startswith(codecs.BOM_UTF8):
            return hashlib.sha256(first).hexdigest(), first
        os.lseek(descriptor, 0, os.SEEK_SET)
        reader = HashingReader(partial(os.read, descriptor))
        while reader.read(_CHUNK_BYTES):
            pass
    finally:
        os.close(descriptor)
    return reader.checksum(), first


def accepted_checksums(path: Path) -> frozenset[str]:
    """Return the checksums that are accepted for a file; see accepted_checksums_of_stream. Raises OSError."""
    with path.open("rb", buffering=0) as file:
        return accepted_checksums_of_stream(file.read)


def accepted_checksums_of_stream(read: Callable[[int], bytes]) -> frozenset[str]:
    """Return the accepted checksums of a stream: with LF or CRLF, with or without a byte order mark, and unchanged.

    They allow for a checkout on Windows, and for runners that hash the raw bytes: line ends and the byte order mark do
    not change the effect of a migration.
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


def parse_filename(filename: str) -> tuple[str, str] | None:
    """Return the version as written and the description; None when the name violates the rule."""
    match = _FILENAME.fullmatch(filename)
    return (match["version"], match["description"]) if match else None


def version_of_file(filename: str) -> str:
    """The version in the name of a migration, revert or verification file; the name of a repeatable file."""
    name = filename.rpartition("/")[2]
    version = name.partition("_")[0]
    return version if version.isdigit() else name.removesuffix(".sql")


def format_version(number: int) -> str:
    """Format a version with at least three digits: 16 is "016", 1000 is "1000"."""
    return f"{number:0{VERSION_DIGITS}}"


def parse_version(text: str) -> int:
    """Parse a version as a user writes it, 16 or 016. Raises UsageError."""
    if not (text.isascii() and text.isdigit() and len(text) <= _LONGEST_VERSION_DIGITS):
        raise UsageError(f"{text!r} is no version; write the number of the file, such as 016")
    return int(text)


def explain_bad_filename(filename: str) -> str:
    """Describe the faults of a name that parse_filename rejects, and suggest a valid name if possible."""
    stem = filename[:-4]
    version = stem[: len(stem) - len(stem.lstrip("0123456789"))]
    rest = stem[len(version) :]
    paired = rest.endswith((".up", ".down"))
    faults = [
        fault
        for applies, fault in (
            (not filename.endswith(".sql"), "the ending is not in lower case"),
            (not version and re.match(_PREFIXED, stem), "a letter ahead of the version"),
            (not version and not re.match(_PREFIXED, stem), "no version ahead of the description"),
            (0 < len(version) < VERSION_DIGITS, f"version not padded to {VERSION_DIGITS} digits"),
            (version and not rest.strip("_-. "), "no description after the version"),
            ("-" in rest, "hyphens, use underscores"),
            (" " in rest, "blanks, use underscores"),
            (any(letter.isupper() for letter in rest), "capital letters, use snake_case"),
            (paired, "one file a migration, and what undoes it in revert/ under the same name"),
            (not paired and re.search(_FOREIGN_LETTER, rest), "letters other than a to z, 0 to 9 and _"),
        )
        if applies
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
    """A file with a valid name; `version` is as written, `checksum` as returned by file_checksum.

    `replaces` are the versions that it stands for; () for a file that is no squash file. `phase` is by its directive.
    """

    version: str
    filename: str
    directory: Path
    checksum: str
    replaces: tuple[ReplacedVersion, ...] = ()
    phase: Phase = Phase.BEFORE

    @property
    def path(self) -> Path:
        """The path of the file."""
        return self.directory / self.filename

    @property
    def number(self) -> int:
        """The version as an integer, for comparisons: 1000 comes after 999."""
        return int(self.version)

    def read_revert(self) -> Migration:
        """Return its revert file, of the same name in revert/. Raises OSError when it cannot be read."""
        filename = f"revert/{self.filename}"
        return replace(self, filename=filename, checksum=file_checksum(self.directory / filename))

    def accepts(self, recorded: str) -> bool:
        """Whether a recorded checksum is accepted for this file. Raises OSError when the file cannot be read again."""
        return recorded == self.checksum or recorded.lower() in accepted_checksums(self.path)

    def accepts_replaced(self, filename: str, recorded: str) -> bool:
        """Whether a recorded checksum is accepted for a file that this squash file replaces, other than its own.

        That depends on line ends, which a checksum does not show: the file has to be in the folder of replaced files.
        """
        if parse_filename(filename) is None:  # a ledger may contain any text
            return False
        path = self.directory / REPLACED_FOLDER / self.filename[:-4] / filename
        try:
            known = file_checksum(path) in {one.checksum for one in self.replaces}
            return known and recorded.lower() in accepted_checksums(path)
        except OSError:
            return False


def discover_migrations(directory: Path) -> tuple[Migration, ...]:
    """Return the migrations of a directory in version order; () when it contains none.

    Raises FilesInvalid with every misnamed, unreadable or duplicate file.
    """
    migrations, problems = read_candidates(directory, list_candidates(directory))
    if problems:
        raise FilesInvalid(problems)
    return migrations


def require_migrations(directory: Path) -> tuple[Migration, ...]:
    """The migrations of a directory. Raises FilesInvalid, also for a directory without any."""
    migrations = discover_migrations(directory)
    if not migrations:
        message = f"{directory}: no migration files; set KERNEL_MIGRATIONS_DIR, or begin with: inv db.new NAME"
        raise FilesInvalid([Problem(message=message)])
    return migrations


def read_candidates(directory: Path, filenames: Iterable[str]) -> tuple[tuple[Migration, ...], tuple[Problem, ...]]:
    """Return the migrations among the candidates of a directory, in version order, and the problems of the others."""
    problems: list[Problem] = []
    by_number: dict[int, Migration] = {}
    folder = str(directory)  # joining a Path with every name is slow
    for filename in filenames:
        parsed = parse_filename(filename)
        if parsed is None:
            problems.append(Problem(message=explain_bad_filename(filename), file=filename))
            continue
        version, _description = parsed
        try:
            digest, first_bytes = _checksum_and_first_bytes(f"{folder}/{filename}")
            replaces = read_replaced(directory / filename) if REPLACED_MARK in first_bytes else ()
            phase = read_phase(directory / filename) if PHASE_MARK in first_bytes else Phase.BEFORE
        except OSError as error:
            problems.append(Problem(message=f"cannot be read: {error.strerror}", file=filename))
            continue
        migration = Migration(
            version=version,
            filename=filename,
            directory=directory,
            checksum=digest,
            replaces=replaces,
            phase=phase,
        )
        other = by_number.setdefault(int(version), migration)
        if other is not migration and not (other.replaces or replaces):
            message = f"the version of {other.filename} too; move one of them: inv db.renumber {filename}"
            problems.append(Problem(message=message, file=filename))
        elif other is not migration:
            squash, old = (other, migration) if other.replaces else (migration, other)
            problems.append(_problem_below_squash(old, squash))
    migrations = tuple(by_number[number] for number in sorted(by_number))
    return migrations, (*problems, *_problems_below_squash(migrations))


def _problems_below_squash(migrations: tuple[Migration, ...]) -> Iterator[Problem]:
    """Yield a problem for each file below a squash file: an empty database would run it before its tables are there."""
    squash = next((migration for migration in reversed(migrations) if migration.replaces), None)
    if squash is not None:
        yield from (_problem_below_squash(one, squash) for one in migrations if one.number < squash.number)


def _problem_below_squash(migration: Migration, squash: Migration) -> Problem:
    """The problem of a file that a squash file has replaced, or that another branch added since."""
    if any(one.number == migration.number and one.checksum == migration.checksum for one in squash.replaces):
        message = f"replaced by {squash.filename}; move it to {REPLACED_FOLDER}/{squash.filename[:-4]}/, or remove it"
    else:
        message = (
            f"none of the files that {squash.filename} replaces, and numbered among them; "
            f"give it the next free number with: inv db.renumber {migration.filename}"
        )
    return Problem(message=message, file=migration.filename)


def list_candidates(directory: Path) -> list[str]:
    """Return the sorted names of the *.sql files in a directory, without hidden files and directories.

    Raises FilesInvalid when the directory cannot be listed, or when one of the files is a pipe or a device.
    """
    names: list[str] = []
    special: list[str] = []
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                name = entry.name
                if name[-4:].lower() != ".sql" or name[0] == ".":
                    continue
                if entry.is_file():  # known from the listing except for links
                    names.append(name)
                elif not entry.is_dir():
                    # Reading a dangling link fails with an error; reading a link to a pipe would block.
                    (special if os.path.exists(entry) else names).append(name)  # noqa: PTH110 - an os.DirEntry, not a Path
    except FileNotFoundError as error:
        message = f"no such directory: {directory}; create it or set KERNEL_MIGRATIONS_DIR"
        raise FilesInvalid([Problem(message=message)]) from error
    except OSError as error:
        raise FilesInvalid([Problem(message=f"{directory}: cannot be read: {error.strerror}")]) from error
    if special:
        raise FilesInvalid([Problem(message="not a regular file; take it away", file=name) for name in sorted(special)])
    return sorted(names)
