"""Which number the next migration gets, and how its files come to be without overwriting any.

Two people who add a migration in two branches take the same number; it shows when the second branch is merged. So the
default branch of the remote counts as well as the directory, as far as it was fetched: nothing here uses the network.
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

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path


_DEFAULT_BRANCHES = ("refs/remotes/origin/HEAD", "refs/remotes/origin/main", "refs/remotes/origin/master")
_GIT_SECONDS = 5  # a repository on a slow disk; without an answer the local files decide


def numbers_in_names(names: Iterable[str]) -> set[int]:
    """The numbers at the beginning of `names` that end in .sql, misnamed ones such as 16-x.sql included."""
    return {int(match[1]) for name in names if (match := re.match(r"([0-9]+)[_-].*\.sql\Z", name, re.DOTALL))}


def taken_numbers(directory: Path, environ: Mapping[str, str]) -> set[int]:
    """The numbers of the files in `directory` and of the remote's default branch; raises UsageError without one."""
    try:
        local = [path.name for path in directory.iterdir()]
    except OSError as error:
        remedy = "create it, or set KERNEL_MIGRATIONS_DIR"
        raise UsageError(f"{directory}: cannot be listed ({error.strerror}); {remedy}") from error
    return numbers_in_names(local) | numbers_in_names(remote_filenames(directory, environ))


def remote_filenames(directory: Path, environ: Mapping[str, str]) -> tuple[str, ...]:
    """The file names of `directory` on the remote's default branch; () without git, a repository or such a branch."""
    repository = open_git_repository(directory, environ, seconds=_GIT_SECONDS)
    for branch in _DEFAULT_BRANCHES:
        listing = repository.run_git("ls-tree", "--name-only", "-z", branch)
        if listing is not None:
            return tuple(os.fsdecode(listing).split("\0"))
    return ()


@contextmanager
def lock_directory(directory: Path) -> Iterator[None]:
    """One at a time chooses a number in `directory`; the kernel of the system lets go when the process dies."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        # Some network file systems lock no directories. There, create() still overwrites nothing.
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def create_files(files: Mapping[Path, bytes]) -> None:
    """Create all of `files` or none; raises FileExistsError when one is there, and OSError as the system gives it."""
    created: list[Path] = []
    try:
        for path, content in files.items():
            with path.open("xb") as file:
                created.append(path)
                file.write(content)
    except BaseException:  # Ctrl-C as well: half a file must not look like a migration
        for path in created:
            path.unlink()
        raise


# db.new and db.renumber: files of the next free number, never on top of another.


REVERT_DIRECTORY = "revert"  # the directory beside the migrations, with files of the same names
_FILENAME_BYTES = 255  # bytes: of a file name on common file systems, and of schema_migrations.filename
_SUFFIX = re.compile(r"\.sql\Z", re.IGNORECASE)

_MIGRATION_BODY = """\
-- One change, safe to run again, and harmless to the running instances: a nullable column, a new table.
-- Backfill data in a migration of its own. Replace this example:
--
-- ALTER TABLE tenants
--   ADD COLUMN IF NOT EXISTS preferences JSONB DEFAULT '{}';
"""
_NO_TRANSACTION_BODY = """\
-- Each statement commits by itself: what ran before a failure stays. Replace this example:
--
-- CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_tenants_preferences
--   ON tenants USING GIN (preferences);
"""
_REVERT_BODY = """\
-- Undo the migration of the same name; runs in one transaction with the removal of its record. Replace this example:
--
"""
_REVERT_EXAMPLE = "-- ALTER TABLE tenants\n--   DROP COLUMN IF EXISTS preferences;\n"
_REVERT_EXAMPLE_INDEX = "-- DROP INDEX IF EXISTS idx_tenants_preferences;\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaffoldResult:
    """What `new` created: the migration and, when asked for, its revert file."""

    paths: tuple[Path, ...]
    name: str
    """The description part of the file name, in snake case."""
    renamed: bool
    """Whether `name` is not the one given, so that the user should be told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RenumberResult:
    """Where the files were and where they are: the migration, then its revert file if there is one."""

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
    """Create the next migration in `directory`; `environ` is handed to git, less its GIT_* variables.

    Raises UsageError for a name or description that cannot be used, and for a directory that cannot be written.
    """
    slug = snake_case(name)
    if description is not None and not description.isprintable():
        raise UsageError("description: has a line break or control character; write it in one line")
    numbers = taken_numbers(directory, environ)  # asks git, so not under the lock
    try:
        if revert:
            (directory / REVERT_DIRECTORY).mkdir(exist_ok=True)
        with lock_directory(directory):
            numbers |= numbers_in_names(path.name for path in directory.iterdir())
            number = max(numbers, default=0) + 1
            while True:
                version = f"{number:03}"
                filename = f"{version}_{slug}.sql"
                if len(filename) > _FILENAME_BYTES:
                    raise UsageError(f"name: the file name would be longer than {_FILENAME_BYTES} bytes; shorten it")
                title = _header_title(name, slug)
                text = _migration_text(version, title, description or title, no_transaction=no_transaction)
                files = {directory / filename: text.encode()}
                if revert:
                    text = _revert_text(version, title, no_transaction=no_transaction)
                    files[directory / REVERT_DIRECTORY / filename] = text.encode()
                try:
                    create_files(files)
                except FileExistsError:  # made by hand since, or a revert file without its migration
                    number += 1
                else:
                    break
    except OSError as error:
        raise UsageError(f"{error.filename or directory}: cannot be written ({error.strerror})") from error
    return ScaffoldResult(paths=tuple(files), name=slug, renamed=slug != name)


def _header_title(name: str, slug: str) -> str:
    """A sentence as it was given, which knows its capitals; else the words of the file name."""
    title = _SUFFIX.sub("", name.strip()) if " " in name.strip() else slug.replace("_", " ")
    return title[0].upper() + title[1:]


def _migration_text(version: str, title: str, description: str, *, no_transaction: bool) -> str:
    head = f"-- Migration: {version} - {title}\n-- Description: {description}\n"
    if no_transaction:
        return f"{head}-- migrate: no-transaction\n\n{_NO_TRANSACTION_BODY}"
    return f"{head}\n{_MIGRATION_BODY}"


def _revert_text(version: str, title: str, *, no_transaction: bool) -> str:
    example = _REVERT_EXAMPLE_INDEX if no_transaction else _REVERT_EXAMPLE
    return f"-- Revert: {version} - {title}\n\n{_REVERT_BODY}{example}"


def snake_case(name: str) -> str:
    """`name` as the description of a file name: "Add user preferences" and add-user-preferences are the same.

    Every run of other characters is one underscore, a suffix .sql is left off. A single word in CamelCase is divided at
    its capitals (AddUserIDs: add_user_ids); in several words capitals only become small, since a sentence has its own.
    Raises UsageError for what cannot be meant as a description.
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
    if words.isalnum():
        words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z]{2})", "_", words)
    slug = re.sub(r"[^a-z0-9]+", "_", words.lower()).strip("_")
    if not slug:
        raise UsageError('name: empty; say what the migration does, such as "add user preferences"')
    return slug


def renumber_migration(
    directory: Path, filename: str, *, environ: Mapping[str, str], to: int | None = None
) -> RenumberResult:
    """Move a migration and its revert file to number `to`, by default the next free one, and adapt their first lines.

    That it is not applied is for the caller to know. Nothing is overwritten, and a crash in between leaves both files,
    not none. Raises UsageError when the file is not there or the number is not free.
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
            contents = [_renumber_header(path.read_bytes(), int(match[1]), version) for path in old]
            create_files(dict(zip(new, contents, strict=True)))
            for path in old:
                path.unlink()
    except OSError as error:
        raise UsageError(f"{error.filename or directory}: cannot be moved ({error.strerror})") from error
    return RenumberResult(old_paths=tuple(old), new_paths=tuple(new))


def _renumber_header(content: bytes, number: int, version: str) -> bytes:
    """`content` with `version` in the line `-- Migration: NNN` (or Revert) of its first comments; else unchanged."""
    line = rb"\A((?:\xef\xbb\xbf)?(?:[ \t\r]*(?:--[^\n]*)?\n)*?--[ \t]*(?:Migration|Revert):[ \t]*)0*%d(?![0-9])"
    return re.sub(line % number, lambda match: match[1] + version.encode(), content)
