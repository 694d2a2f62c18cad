"""Create and renumber migration files: choose the next free version number, and never overwrite a file.

Migrations added in two branches can get the same number, a conflict that appears when the second branch is merged.
The numbers on the default branch of the remote, as last fetched, are therefore taken too; no function uses the network.
"""

from __future__ import annotations

import fcntl
import os
import re
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kernel.errors import UsageError
from kernel.migrations.git_history import open_git_repository
from kernel.migrations.migration import parse_filename
from kernel.migrations.repeatable_names import REPEATABLE_FOLDER
from kernel.migrations.replaced import REPLACED_MARK
from kernel.migrations.scaffold_text import migration_text, repeatable_text, revert_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path


_DEFAULT_BRANCHES = ("refs/remotes/origin/HEAD", "refs/remotes/origin/main", "refs/remotes/origin/master")
_GIT_SECONDS = 5  # without an answer by then, only the local files count

REVERT_DIRECTORY = "revert"  # a subdirectory of the migrations, with files of the same names
_FILENAME_BYTES = 255  # the limit of common file systems, and of schema_migrations.filename
_SUFFIX = re.compile(r"\.sql\Z", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaffoldResult:
    """The files that scaffold_migration created: the migration and, if requested, its revert file."""

    paths: tuple[Path, ...]
    name: str
    """The description part of the file name, in snake case."""
    renamed: bool
    """Whether `name` differs from the given name, so that the task prints it."""
    same_name: str | None = None
    """A migration that has the same description already."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RenumberResult:
    """The paths before and after: of the migration, then of its revert file if there is one."""

    old_paths: tuple[Path, ...]
    new_paths: tuple[Path, ...]


def scaffold_migration(
    directory: Path,
    name: str,
    *,
    environ: Mapping[str, str],
    description: str | None = None,
    revert: bool = False,
    no_transaction: bool = False,
) -> ScaffoldResult:
    """Create the next migration in `directory`; git gets `environ` without GIT_* variables.

    Raises UsageError for an invalid name or description, and for a directory that cannot be written.
    """
    slug = snake_case(name)
    if description is not None and not description.isprintable():
        raise UsageError("description: has a line break or control character; write it in one line")
    numbers = taken_numbers(directory, environ)  # runs git, so before the lock is taken
    try:
        if revert:
            (directory / REVERT_DIRECTORY).mkdir(exist_ok=True)
        with lock_directory(directory):
            numbers |= numbers_in_names(path.name for path in directory.iterdir())
            same_name = _find_same_name(directory, slug)
            number = max(numbers, default=0) + 1
            while True:
                version = f"{number:03}"
                filename = f"{version}_{slug}.sql"
                if len(filename) > _FILENAME_BYTES:
                    raise UsageError(f"name: the file name would be longer than {_FILENAME_BYTES} bytes; shorten it")
                title = _header_title(name, slug)
                text = migration_text(version, title, description or title, no_transaction=no_transaction)
                files = {directory / filename: text.encode()}
                if revert:
                    text = revert_text(version, title, no_transaction=no_transaction)
                    files[directory / REVERT_DIRECTORY / filename] = text.encode()
                try:
                    create_files(files)
                except FileExistsError:  # created meanwhile, or a revert file without its migration
                    number += 1
                else:
                    break
    except OSError as error:
        raise UsageError(f"{error.filename or directory}: cannot be written ({error.strerror})") from error
    return ScaffoldResult(paths=tuple(files), name=slug, renamed=slug != name, same_name=same_name)


def scaffold_repeatable(directory: Path, name: str, *, description: str = "") -> Path:
    """Create a repeatable file and return its path.

    Raises UsageError for an invalid name or description, a file that exists, and a directory that cannot be written.
    """
    slug = snake_case(name)
    if not description.isprintable():
        raise UsageError("description: has a line break or control character; write it in one line")
    if slug[0].isdigit():
        raise UsageError("name: begins with a digit, as the names of numbered files do; begin it with a letter")
    path = directory / REPEATABLE_FOLDER / f"{slug}.sql"
    if len(path.name) > _FILENAME_BYTES:
        raise UsageError(f"name: the file name would be longer than {_FILENAME_BYTES} bytes; shorten it")
    try:
        path.parent.mkdir(exist_ok=True)
        create_files({path: repeatable_text(_header_title(name, slug), description).encode()})
    except FileExistsError as error:
        raise UsageError(f"{REPEATABLE_FOLDER}/{path.name}: exists; change it, or choose another name") from error
    except OSError as error:
        raise UsageError(f"{error.filename or directory}: cannot be written ({error.strerror})") from error
    return path


def _find_same_name(directory: Path, slug: str) -> str | None:
    """The newest migration of a directory with this description."""
    found = [path.name for path in directory.iterdir() if (name := parse_filename(path.name)) and name[1] == slug]
    return max(found, key=lambda name: int(name.partition("_")[0]), default=None)


def renumber_migration(
    directory: Path, filename: str, *, environ: Mapping[str, str], to: int | None = None
) -> RenumberResult:
    """Move a migration and its revert file to number `to`, by default the next free one, and update their headers.

    The caller checks that it is not applied. No file is overwritten, and after a crash the file exists under both names
    rather than under none. Raises UsageError when the file does not exist or the number is taken.
    """
    match = re.fullmatch(r"([0-9]{3,})(_[a-z0-9_]+\.sql)", filename)
    if match is None:
        raise UsageError("file: not the name of a migration; write it as db.status shows it, such as 016_add_users.sql")
    if to is not None and to < 1:
        raise UsageError("--to: not a number from 1")
    numbers = taken_numbers(directory, environ)
    try:
        with lock_directory(directory):
            numbers |= numbers_in_names(path.name for path in directory.iterdir())
            if to in numbers:
                raise UsageError(f"--to {to:03}: taken, here or on the remote's default branch; leave --to off")
            if not (directory / filename).is_file():
                raise UsageError(f"{filename}: not in {directory}; write it as db.status shows it")
            version = f"{to or max(numbers) + 1:03}"
            old = [path for path in (directory / filename, directory / REVERT_DIRECTORY / filename) if path.is_file()]
            new = [path.with_name(version + match[2]) for path in old]
            if REPLACED_MARK in old[0].read_bytes():
                raise UsageError(f"{filename}: a squash file has the number of the last file that it replaces")
            contents = [_renumber_header(path.read_bytes(), int(match[1]), version) for path in old]
            create_files(dict(zip(new, contents, strict=True)))
            for path in old:
                path.unlink()
    except OSError as error:
        raise UsageError(f"{error.filename or directory}: cannot be moved ({error.strerror})") from error
    return RenumberResult(old_paths=tuple(old), new_paths=tuple(new))


def snake_case(name: str) -> str:
    """Convert a name to snake_case: "Add user preferences" and add-user-preferences both give add_user_preferences.

    Each run of other characters becomes one underscore; a suffix .sql is removed. A single word in CamelCase is split
    at its capitals (AddUserIDs: add_user_ids); in a name of several words, capitals are only converted to lower case.
    Raises UsageError for a name that cannot be a description.
    """
    if name.startswith("-"):
        raise UsageError("name: begins with -, like a flag; begin it with a letter")
    if not name.isascii():
        raise UsageError("name: has letters outside ASCII; write it with a-z and 0-9")
    if not name.isprintable():
        raise UsageError("name: has a line break or control character; write it in one line")
    if "/" in name or "\\" in name:
        raise UsageError("name: has a path separator; the directory is chosen by KERNEL_MIGRATIONS_DIR")
    words = _SUFFIX.sub("", name.strip())
    if re.match(r"[0-9]+(?![0-9A-Za-z])|[0-9]{3}", words):
        raise UsageError("name: begins with a number; leave the number off: it is chosen for you")
    slug = words_in_snake_case(words)
    if not slug:
        raise UsageError('name: empty; say what the migration does, such as "add user preferences"')
    return slug


def words_in_snake_case(words: str) -> str:
    """Convert ASCII text to snake_case as snake_case does, without its checks; "" when it has no letter or digit."""
    if words.isalnum():
        words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z]{2})", "_", words)
    return re.sub(r"[^a-z0-9]+", "_", words.lower()).strip("_")


def numbers_in_names(names: Iterable[str]) -> set[int]:
    """Return the numbers at the beginning of the *.sql names, also of invalid names such as 16-x.sql."""
    return {int(match[1]) for name in names if (match := re.match(r"([0-9]+)[_-].*\.sql\Z", name, re.DOTALL))}


def taken_numbers(directory: Path, environ: Mapping[str, str]) -> set[int]:
    """Return the numbers used in `directory` and on the remote's default branch.

    Raises UsageError when the directory cannot be listed.
    """
    try:
        local = [path.name for path in directory.iterdir()]
    except OSError as error:
        remedy = "create it, or set KERNEL_MIGRATIONS_DIR"
        raise UsageError(f"{directory}: cannot be listed ({error.strerror}); {remedy}") from error
    return numbers_in_names(local) | numbers_in_names(remote_filenames(directory, environ))


def remote_filenames(directory: Path, environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return the file names of `directory` on the remote's default branch; () without git, repository or branch."""
    repository = open_git_repository(directory, environ, seconds=_GIT_SECONDS)
    for branch in _DEFAULT_BRANCHES:
        listing = repository.run_git("ls-tree", "--name-only", "-z", branch)
        if listing is not None:
            return tuple(os.fsdecode(listing).split("\0"))
    return ()


@contextmanager
def lock_directory(directory: Path) -> Iterator[None]:
    """Hold an exclusive lock on `directory` while choosing a number; the system releases it when the process ends."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        # The directory itself, where kernel.postgres.file_lock would leave a lock file among the migrations. Some
        # network file systems cannot lock directories. There, create_files still overwrites nothing.
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def create_files(files: Mapping[Path, bytes]) -> None:
    """Create all of `files` or none. Raises FileExistsError when one exists, and other OSErrors."""
    created: list[Path] = []
    try:
        for path, content in files.items():
            with path.open("xb") as file:
                created.append(path)
                file.write(content)
    except BaseException:  # also on Ctrl-C: an incomplete file must not look like a migration
        for path in created:
            path.unlink()
        raise


def _header_title(name: str, slug: str) -> str:
    """Return the title for the header: a sentence as given, else the words of the file name; capitalized."""
    title = _SUFFIX.sub("", name.strip()) if " " in name.strip() else slug.replace("_", " ")
    return title[0].upper() + title[1:]


def _renumber_header(content: bytes, number: int, version: str) -> bytes:
    """Replace the number in the line `-- Migration: NNN` (or Revert) of the first comments, if there is one."""
    line = rb"\A((?:\xef\xbb\xbf)?(?:[ \t\r]*(?:--[^\n]*)?\n)*?--[ \t]*(?:Migration|Revert):[ \t]*)0*%d(?![0-9])"
    return re.sub(line % number, lambda match: match[1] + version.encode(), content)
