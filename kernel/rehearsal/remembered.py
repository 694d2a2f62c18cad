"""What a kept dump holds, so that the next rehearsal of it need not read it again."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from kernel.rehearsal.dump.dump import Collation, Contents
from kernel.server import cache
from kernel.server.account import opened, ourselves

if TYPE_CHECKING:
    from pathlib import Path

_FORMAT = 2  # raised when Contents has other fields, or their meaning changes


def read(digest: str) -> Contents | None:
    """The contents of the dump with this digest, None when they are not known. Whatever is wrong costs time only."""
    try:
        held = json.loads(_path(digest).read_text(encoding="utf-8"))
        collations = tuple(Collation(**one) for one in held.pop("collations"))
        settings = tuple((name, value) for name, value in held.pop("settings"))
        plain: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in held.items()
        }
        return Contents(**plain, collations=collations, settings=settings)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def write(digest: str, contents: Contents) -> None:
    """Remember them, for nobody else to read."""
    path = _path(digest)
    with suppress(OSError):
        ourselves().make(path.parent)
        new = path.with_suffix(".new")
        with os.fdopen(opened(new, os.O_WRONLY | os.O_TRUNC), "w", encoding="utf-8") as file:
            json.dump(asdict(contents), file)
        new.replace(path)


def forget() -> None:
    """Forget all of them."""
    for path in _folder().glob("*.json"):
        with suppress(OSError):
            path.unlink()


def _folder() -> Path:
    return cache.folder() / "dumps"


def _path(digest: str) -> Path:
    return _folder() / f"{digest}-{_FORMAT}.json"
