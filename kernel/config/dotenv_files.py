"""Read settings from the environment, then `.env.local`, then `.env`.

The first layer in which a name has a value wins. Empty means unset, in every layer: `DATABASE_URL= inv db.status` falls
through to the files. Within a file the last of several lines for one name counts. Values are not interpreted:
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


DOTENV_FILES = (".env.local", ".env")  # the one with precedence first


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingEntry:
    """A value that is not empty, and its place; `layer` 0 is the environment, 1 and 2 are DOTENV_FILES."""

    name: str
    value: str = field(repr=False)
    layer: int
    line: int | None = None

    @property
    def source(self) -> str:
        """The file name, or "environment"."""
        return DOTENV_FILES[self.layer - 1] if self.layer else "environment"

    def problem(self, message: str) -> Problem:
        """A Problem with the place and the name: `.env.local:3: DATABASE_URL: message`."""
        return Problem(message=f"{self.name}: {message}", file=self.source, line=self.line)


def read_setting_entries(
    root: Path, environ: Mapping[str, str], *, concerns: Callable[[str], bool]
) -> tuple[dict[str, SettingEntry], list[Problem]]:
    """Return the effective entry of each name for which `concerns(name)` holds, and the problems of the files.

    Problems are files in `root` that cannot be read or are not UTF-8, NUL characters, and lines that are not
    NAME=value. A file that does not exist is not a problem.
    """
    entries = {
        name: SettingEntry(name=name, value=value, layer=0)
        for name, value in environ.items()
        if value and concerns(name)
    }
    problems: list[Problem] = []
    for layer, file in enumerate(DOTENV_FILES, start=1):
        text, problem = _read_text(root / file)
        if problem is not None:
            problems.append(problem)
        if text is None:
            continue
        for name, entry in _parse_dotenv(text, file, layer, concerns, problems).items():
            if entry.value:
                entries.setdefault(name, entry)
    return entries, problems


def _read_text(path: Path) -> tuple[str | None, Problem | None]:
    """Return the text without BOM and with LF only, or None and the problem; (None, None) if there is no file."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return None, None
    except UnicodeDecodeError:
        return None, Problem(message="is not UTF-8; save it as UTF-8", file=path.name)
    except OSError as error:
        return None, Problem(
            message=f"cannot be read ({error.strerror}); fix its permissions or remove it", file=path.name
        )
    if (at := text.find("\0")) >= 0:
        line = text.count("\n", 0, at) + 1
        return None, Problem(message="contains a NUL character; remove it", file=path.name, line=line)
    return text, None


def _parse_dotenv(
    text: str, file: str, layer: int, concerns: Callable[[str], bool], problems: list[Problem]
) -> dict[str, SettingEntry]:
    """Return the last entry of each relevant name, empty ones included; append malformed lines to `problems`."""
    from dotenv.parser import parse_stream  # noqa: PLC0415 - costs as much as all of kernel/; most runs have no file

    entries: dict[str, SettingEntry] = {}
    for binding in parse_stream(StringIO(text)):
        source = binding.original.string
        # A binding begins with the blank lines before it; report the line with the name.
        line = binding.original.line + source[: len(source) - len(source.lstrip())].count("\n")
        if binding.error:
            problems.append(Problem(message="is not NAME=value; check its quotes", file=file, line=line))
        elif binding.key is None:
            continue
        elif binding.value is None:
            # Without "=" the parser takes the whole word as the name, `DATABASE_URL:postgresql://…` too.
            if concerns(re.split(r"\W", binding.key, maxsplit=1)[0]):
                problems.append(Problem(message="has no =; write NAME=value", file=file, line=line))
        elif concerns(binding.key):
            entries[binding.key] = SettingEntry(name=binding.key, value=binding.value, layer=layer, line=line)
    return entries
