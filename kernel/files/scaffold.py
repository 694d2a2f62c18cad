"""db.new and db.renumber: files of the next free number, never on top of another."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kernel.errors import UsageError
from kernel.files import numbering

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

REVERT = "revert"  # the directory beside the migrations, with files of the same names
_LONGEST = 255  # bytes: of a file name on common file systems, and of schema_migrations.filename
_SUFFIX = re.compile(r"\.sql\Z", re.IGNORECASE)

_BODY = """\
-- One change, safe to run again, and harmless to the running instances: a nullable column, a new table.
-- Backfill data in a migration of its own. Replace this example:
--
-- ALTER TABLE tenants
--   ADD COLUMN IF NOT EXISTS preferences JSONB DEFAULT '{}';
"""
_BODY_WITHOUT_TRANSACTION = """\
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
class Scaffolded:
    """What `new` created: the migration and, when asked for, its revert file."""

    paths: tuple[Path, ...]
    name: str
    """The description part of the file name, in snake case."""
    renamed: bool
    """Whether `name` is not the one given, so that the user should be told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Renumbered:
    """Where the files were and where they are: the migration, then its revert file if there is one."""

    old: tuple[Path, ...]
    new: tuple[Path, ...]


def new(
    directory: Path,
    name: str,
    *,
    environ: Mapping[str, str],
    description: str | None = None,
    revert: bool = False,
    no_transaction: bool = False,
) -> Scaffolded:
    """Create the next migration in `directory`; `environ` is handed to git, less its GIT_* variables.

    Raises UsageError for a name or description that cannot be used, and for a directory that cannot be written.
    """
    slug = snake_case(name)
    if description is not None and not description.isprintable():
        raise UsageError("description: has a line break or control character; write it in one line")
    numbers = numbering.taken(directory, environ)  # asks git, so not under the lock
    try:
        if revert:
            (directory / REVERT).mkdir(exist_ok=True)
        with numbering.exclusive(directory):
            numbers |= numbering.versions(path.name for path in directory.iterdir())
            number = max(numbers, default=0) + 1
            while True:
                version = f"{number:03}"
                filename = f"{version}_{slug}.sql"
                if len(filename) > _LONGEST:
                    raise UsageError(f"name: the file name would be longer than {_LONGEST} bytes; shorten it")
                title = _title(name, slug)
                text = _migration(version, title, description or title, no_transaction=no_transaction)
                files = {directory / filename: text.encode()}
                if revert:
                    text = _revert(version, title, no_transaction=no_transaction)
                    files[directory / REVERT / filename] = text.encode()
                try:
                    numbering.create(files)
                except FileExistsError:  # made by hand since, or a revert file without its migration
                    number += 1
                else:
                    break
    except OSError as error:
        raise UsageError(f"{error.filename or directory}: cannot be written ({error.strerror})") from error
    return Scaffolded(paths=tuple(files), name=slug, renamed=slug != name)


def _title(name: str, slug: str) -> str:
    """A sentence as it was given, which knows its capitals; else the words of the file name."""
    title = _SUFFIX.sub("", name.strip()) if " " in name.strip() else slug.replace("_", " ")
    return title[0].upper() + title[1:]


def _migration(version: str, title: str, description: str, *, no_transaction: bool) -> str:
    head = f"-- Migration: {version} - {title}\n-- Description: {description}\n"
    if no_transaction:
        return f"{head}-- migrate: no-transaction\n\n{_BODY_WITHOUT_TRANSACTION}"
    return f"{head}\n{_BODY}"


def _revert(version: str, title: str, *, no_transaction: bool) -> str:
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


def renumber(directory: Path, filename: str, *, environ: Mapping[str, str], to: int | None = None) -> Renumbered:
    """Move a migration and its revert file to number `to`, by default the next free one, and adapt their first lines.

    That it is not applied is for the caller to know. Nothing is overwritten, and a crash in between leaves both files,
    not none. Raises UsageError when the file is not there or the number is not free.
    """
    match = re.fullmatch(r"([0-9]{3,})(_[a-z0-9_]+\.sql)", filename)
    if match is None:
        raise UsageError("file: not the name of a migration; write it as db.status shows it, such as 016_add_users.sql")
    if to is not None and to < 1:
        raise UsageError("--to: not a number from 1")
    numbers = numbering.taken(directory, environ)
    try:
        with numbering.exclusive(directory):
            numbers |= numbering.versions(path.name for path in directory.iterdir())
            if to in numbers:
                raise UsageError(f"--to {to:03}: taken, here or on the remote's default branch; leave --to off")
            if not (directory / filename).is_file():
                raise UsageError(f"{filename}: not in {directory}; write it as db.status shows it")
            version = f"{to or max(numbers) + 1:03}"
            old = [path for path in (directory / filename, directory / REVERT / filename) if path.is_file()]
            new = [path.with_name(version + match[2]) for path in old]
            contents = [_renumbered(path.read_bytes(), int(match[1]), version) for path in old]
            numbering.create(dict(zip(new, contents, strict=True)))
            for path in old:
                path.unlink()
    except OSError as error:
        raise UsageError(f"{error.filename or directory}: cannot be moved ({error.strerror})") from error
    return Renumbered(old=tuple(old), new=tuple(new))


def _renumbered(content: bytes, number: int, version: str) -> bytes:
    """`content` with `version` in the line `-- Migration: NNN` (or Revert) of its first comments; else unchanged."""
    line = rb"\A((?:\xef\xbb\xbf)?(?:[ \t\r]*(?:--[^\n]*)?\n)*?--[ \t]*(?:Migration|Revert):[ \t]*)0*%d(?![0-9])"
    return re.sub(line % number, lambda match: match[1] + version.encode(), content)
