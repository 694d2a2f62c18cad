"""Where settings are read: the environment, then `.env.local`, then `.env`.

The first layer in which a name has a value wins. Empty means unset, in every layer: `DATABASE_URL= inv db.status` falls
through to the files. Within a file the last of several lines for one name counts. Values are taken as they stand:
`${NAME}` is not expanded, so that a password may contain it, and the environment is never changed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from io import StringIO
from typing import TYPE_CHECKING

from kernel.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

FILES = (".env.local", ".env")  # the stronger first


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A value that is not empty, and where it stands; `layer` 0 is the environment, 1 and 2 are FILES."""

    name: str
    value: str = field(repr=False)
    layer: int
    line: int | None = None

    @property
    def source(self) -> str:
        return FILES[self.layer - 1] if self.layer else "environment"

    def problem(self, message: str) -> Problem:
        """`message` with the name before it and the place: `.env.local:3: DATABASE_URL: message`."""
        return Problem(message=f"{self.name}: {message}", file=self.source, line=self.line)


def read(
    root: Path, environ: Mapping[str, str], *, concerns: Callable[[str], bool]
) -> tuple[dict[str, Entry], list[Problem]]:
    """The winning entry of each name for which `concerns(name)` holds, and what is wrong with the files in `root`.

    Problems are files that cannot be read or are not UTF-8, NUL characters, and lines that are not NAME=value.
    A file that does not exist is not a problem.
    """
    entries = {
        name: Entry(name=name, value=value, layer=0) for name, value in environ.items() if value and concerns(name)
    }
    problems: list[Problem] = []
    for layer, file in enumerate(FILES, start=1):
        text, fault = _text(root / file)
        if fault is not None:
            problems.append(fault)
        if text is None:
            continue
        for name, entry in _lines(text, file, layer, concerns, problems).items():
            if entry.value:
                entries.setdefault(name, entry)
    return entries, problems


def _text(path: Path) -> tuple[str | None, Problem | None]:
    """The file's text without BOM and with LF only, or None and why it cannot be had; (None, None) without a file."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return None, None
    except UnicodeDecodeError:
        return None, Problem(message="is not UTF-8; save it as UTF-8", file=path.name)
    except OSError as error:
        return None, Problem(message=f"cannot be read ({error.strerror}); mend it or remove it", file=path.name)
    if (at := text.find("\0")) >= 0:
        line = text.count("\n", 0, at) + 1
        return None, Problem(message="contains a NUL character; remove it", file=path.name, line=line)
    return text, None


def _lines(
    text: str, file: str, layer: int, concerns: Callable[[str], bool], problems: list[Problem]
) -> dict[str, Entry]:
    """The last entry of each name that concerns us, empty ones included; what is malformed goes to `problems`."""
    from dotenv.parser import parse_stream  # noqa: PLC0415 - costs as much as all of kernel/; most runs have no file

    entries: dict[str, Entry] = {}
    for binding in parse_stream(StringIO(text)):
        written = binding.original.string
        # A binding begins with the blank lines before it; the line to show is the one with the name.
        line = binding.original.line + written[: len(written) - len(written.lstrip())].count("\n")
        if binding.error:
            problems.append(Problem(message="is not NAME=value; check its quotes", file=file, line=line))
        elif binding.key is None:
            continue
        elif binding.value is None:
            # Without "=" the parser takes the whole word for the name: `DATABASE_URL:postgresql://…` too.
            if concerns(re.split(r"\W", binding.key, maxsplit=1)[0]):
                problems.append(Problem(message="has no =; write NAME=value", file=file, line=line))
        elif concerns(binding.key):
            entries[binding.key] = Entry(name=binding.key, value=binding.value, layer=layer, line=line)
    return entries
