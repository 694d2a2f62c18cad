"""The cache of built schemas: a file for the digest of everything that a build depends on.

The files are private and written as a whole. One that another account could have written, or that is not what this
version writes, is not read, and replaced by the next build.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import stat
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from kernel.postgres.account import current_account, open_private_file
from kernel.postgres.cache import WRITABLE_BY_OTHERS, cache_folder, programs_cache_key
from kernel.schema.built import BuiltSchema
from kernel.schema.snapshot import ALL_QUERIES, Schema, SchemaObject

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from kernel.migrations.migration import Migration
    from kernel.postgres.programs import Programs
    from kernel.schema.built import BuildTarget
    from kernel.schema.snapshot import Fact


_FORMAT = 1
_FOLDER = "schemas"
_KEPT_FILES = 20
_FIELD_TYPES = [str, str, str, str, int, str, str, str]  # of a SchemaObject before its labels
_FACT_TYPES = frozenset({str, tuple, type(None)})
_MAX_BYTES = 512 << 20


def schema_digest(files: Sequence[Migration], target: BuildTarget, programs: Programs) -> str:
    """The digest of the files, what they depend on, the build of PostgreSQL, and the queries of this version."""
    parts = (
        *(str(_FORMAT), hashlib.sha256("".join(ALL_QUERIES).encode()).hexdigest(), programs_cache_key(programs)),
        *(target.database, target.role, str(target.ledger.schema), target.ledger.table),
        *(str(len(target.search_path)), *target.search_path),
        *(str(len(target.literal_settings)), *(part for setting in target.literal_settings for part in setting)),
        *(part for one in files for part in (one.filename, one.checksum)),
    )
    return hashlib.sha256("\0".join(parts).encode(errors="surrogateescape")).hexdigest()


def load_built_schema(digest: str) -> BuiltSchema | None:
    """The schema that was stored, None without one that can be trusted and read."""
    try:
        descriptor = os.open(_path(digest), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        others = status.st_uid != os.geteuid() or status.st_mode & WRITABLE_BY_OTHERS
        if others or not stat.S_ISREG(status.st_mode) or status.st_size > _MAX_BYTES:
            return None
        checksum, _, body = file.read().partition(b"\n")
    if hashlib.sha256(body).hexdigest().encode() != checksum:
        return None
    try:
        built = _read_document(json.loads(body))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    with suppress(OSError):
        os.utime(_path(digest))  # the files used last are kept
    return built


def store_built_schema(digest: str, built: BuiltSchema) -> None:
    """Store a schema and remove the files that were used longest ago; without a usable cache nothing is stored."""
    body = json.dumps(_document(built), separators=(",", ":")).encode()
    path = _path(digest)
    draft = path.with_name(f".{secrets.token_hex(8)}.part")
    with suppress(OSError):
        current_account().make_folders(path.parent)
        path.parent.chmod(0o700)
        try:
            descriptor = open_private_file(draft, os.O_WRONLY | os.O_EXCL)
            with os.fdopen(descriptor, "wb") as file:
                file.write(hashlib.sha256(body).hexdigest().encode() + b"\n" + body)
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
        by_age = sorted(path.parent.glob("*.json"), key=lambda one: one.stat().st_mtime, reverse=True)
        for old in by_age[_KEPT_FILES:]:
            old.unlink(missing_ok=True)


def _path(digest: str) -> Path:
    return cache_folder() / _FOLDER / f"{digest}.json"


def _document(built: BuiltSchema) -> dict[str, object]:
    labels = list(dict.fromkeys(obj.labels for obj in built.schema.objects))
    number = {one: index for index, one in enumerate(labels)}
    return {
        "version": built.version,
        "labels": labels,
        "objects": [(*obj[:8], number[obj.labels], obj.facts) for obj in built.schema.objects],
        "files": built.files,
        "restored": built.restored,
    }


def _read_document(document: dict[str, Any]) -> BuiltSchema:
    """Read what _document wrote. Raises ValueError, TypeError or KeyError for anything else."""
    labels = [tuple(map(_text, one)) for one in document["labels"]]
    objects = tuple(_read_object(row, labels) for row in document["objects"])
    if any(len(obj.labels) != len(obj.facts) for obj in objects):
        raise ValueError("an object without one of its facts")
    return BuiltSchema(
        version=_number(document["version"]),
        schema=Schema(objects=objects),
        files={_text(key): tuple(map(_text, names)) for key, names in document["files"].items()},
        restored={
            _text(key): {_text(label): _fact(fact) for label, fact in facts.items()}
            for key, facts in document["restored"].items()
        },
    )


def _read_object(row: list[Any], labels: list[tuple[str, ...]]) -> SchemaObject:
    *fields, label, facts = row
    if list(map(type, fields)) != _FIELD_TYPES:
        raise TypeError("no object")
    if list in map(type, facts):
        facts = [tuple(fact) if type(fact) is list else fact for fact in facts]
    if not _FACT_TYPES.issuperset(map(type, facts)):
        raise TypeError("no fact")
    return SchemaObject._make((*fields, labels[label], tuple(facts)))


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("no text")
    return value


def _number(value: object) -> int:
    if type(value) is not int:
        raise TypeError("no number")
    return value


def _fact(value: object) -> Fact:
    if isinstance(value, list):
        return tuple(map(_text, value))
    return None if value is None else _text(value)
