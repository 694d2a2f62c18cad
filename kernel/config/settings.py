"""Where settings are read: the environment, then `.env.local`, then `.env`.

The first layer in which a name has a value wins. Empty means unset, in every layer: `DATABASE_URL= inv db.status` falls
through to the files. Within a file the last of several lines for one name counts. Values are taken as they stand:
`${NAME}` is not expanded, so that a password may contain it, and the environment is never changed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from kernel.config.conninfo import check_conninfo
from kernel.errors import Problem, SettingsError
from kernel.units import parse_milliseconds

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


DOTENV_FILES = (".env.local", ".env")  # the stronger first


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingEntry:
    """A value that is not empty, and where it stands; `layer` 0 is the environment, 1 and 2 are FILES."""

    name: str
    value: str = field(repr=False)
    layer: int
    line: int | None = None

    @property
    def source(self) -> str:
        return DOTENV_FILES[self.layer - 1] if self.layer else "environment"

    def problem(self, message: str) -> Problem:
        """`message` with the name before it and the place: `.env.local:3: DATABASE_URL: message`."""
        return Problem(message=f"{self.name}: {message}", file=self.source, line=self.line)


def read_setting_entries(
    root: Path, environ: Mapping[str, str], *, concerns: Callable[[str], bool]
) -> tuple[dict[str, SettingEntry], list[Problem]]:
    """The winning entry of each name for which `concerns(name)` holds, and what is wrong with the files in `root`.

    Problems are files that cannot be read or are not UTF-8, NUL characters, and lines that are not NAME=value.
    A file that does not exist is not a problem.
    """
    entries = {
        name: SettingEntry(name=name, value=value, layer=0)
        for name, value in environ.items()
        if value and concerns(name)
    }
    problems: list[Problem] = []
    for layer, file in enumerate(DOTENV_FILES, start=1):
        text, fault = _read_dotenv_text(root / file)
        if fault is not None:
            problems.append(fault)
        if text is None:
            continue
        for name, entry in _parse_dotenv(text, file, layer, concerns, problems).items():
            if entry.value:
                entries.setdefault(name, entry)
    return entries, problems


def _read_dotenv_text(path: Path) -> tuple[str | None, Problem | None]:
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


def _parse_dotenv(
    text: str, file: str, layer: int, concerns: Callable[[str], bool], problems: list[Problem]
) -> dict[str, SettingEntry]:
    """The last entry of each name that concerns us, empty ones included; what is malformed goes to `problems`."""
    from dotenv.parser import parse_stream  # noqa: PLC0415 - costs as much as all of kernel/; most runs have no file

    entries: dict[str, SettingEntry] = {}
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
            entries[binding.key] = SettingEntry(name=binding.key, value=binding.value, layer=layer, line=line)
    return entries


# The settings of every task, checked as a whole; the only module that knows what an environment variable means.
#
# Where a value is read is kernel/environment.py's matter. Problems name the variable, its place and what is expected,
# never the value, which may be the secret.


URL_NAMES = ("MIGRATION_DATABASE_URL", "DATABASE_URL", "SUPABASE_DB_URL")  # the first that is set is the database
SETTING_NAMES = (
    *URL_NAMES,
    "KERNEL_STORAGE_MODE",
    "PROD_DB",
    "TEST_DB",
    "KERNEL_MIGRATIONS_DIR",
    "KERNEL_PG_BINDIR",
    "KERNEL_DATA_DIR",
    "KERNEL_LOCK_TIMEOUT",
    "KERNEL_LOCK_RETRIES",
    "KERNEL_STATEMENT_TIMEOUT",
)
_PREFIX = "KERNEL_"
# Above: KERNEL_LOCK_RETRY, KERNEL_PG_BIN_DIR. Below: KERNEL_STORAGE_PATH, KERNEL_DATABASE_DIR. Without the prefix.
_MISSPELLING_SIMILARITY = 0.81
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What `load` found; paths are absolute, URLs exactly as written, and no URL shows in the repr."""

    root: Path
    database_url: str | None = field(repr=False)
    database_variable: str | None
    """The one of URL_NAMES that `database_url` comes from; None, as the URL, means the embedded server."""
    production: bool
    prod_db: str | None = field(repr=False)
    test_db: str | None = field(repr=False)
    migrations_dir: Path
    pg_bindir: Path | None
    data_dir: Path | None
    lock_timeout_ms: int
    lock_retries: int
    statement_timeout_ms: int
    warnings: tuple[str, ...]
    """Lines for stderr; without values, as the problems."""


def load_settings(root: Path, environ: Mapping[str, str]) -> Settings:
    """The settings of the project in `root`: environ > .env.local > .env > default. Nothing is changed or connected.

    Raises SettingsError with every problem at once. Of URL_NAMES only the one that is used is checked: the application
    may need what libpq refuses in the others.
    """
    root = root.absolute()
    entries, problems = read_setting_entries(root, environ, concerns=_is_setting)

    def parsed(name: str, default: _T, parse: Callable[[str], _T]) -> _T:
        entry = entries.get(name)
        if entry is None:
            return default
        try:
            return parse(entry.value)
        except ValueError as error:
            problems.append(entry.problem(str(error)))
            return default

    def path(text: str) -> Path:
        return root / _parse_path(text)

    variable = next((name for name in URL_NAMES if name in entries), None)
    result = Settings(
        root=root,
        database_url=parsed(variable, None, _parse_url if variable == URL_NAMES[0] else _parse_shared_url)
        if variable
        else None,
        database_variable=variable,
        production=parsed("KERNEL_STORAGE_MODE", default=False, parse=_parse_storage_mode),
        prod_db=parsed("PROD_DB", None, _parse_url),
        test_db=parsed("TEST_DB", None, _parse_url),
        migrations_dir=parsed("KERNEL_MIGRATIONS_DIR", root / "migrations", path),
        pg_bindir=parsed("KERNEL_PG_BINDIR", None, path),
        data_dir=parsed("KERNEL_DATA_DIR", None, path),
        lock_timeout_ms=parsed("KERNEL_LOCK_TIMEOUT", 5_000, parse_milliseconds),
        lock_retries=parsed("KERNEL_LOCK_RETRIES", 5, _parse_retries),
        statement_timeout_ms=parsed("KERNEL_STATEMENT_TIMEOUT", 0, parse_milliseconds),
        warnings=tuple(_check_unknown_names(entries, problems)),
    )
    problems += _shadowed_url_problems(variable, entries)
    if result.production and variable is None:
        names = " or ".join(URL_NAMES[1:])
        problems.append(entries["KERNEL_STORAGE_MODE"].problem(f"production needs a database; set {names}"))
    if problems:
        raise SettingsError(problems)
    return result


def _is_setting(name: str) -> bool:
    return name in SETTING_NAMES or (
        name.startswith(_PREFIX) and re.fullmatch(rf"{_PREFIX}\w+", name, re.ASCII) is not None
    )


def _parse_url(text: str) -> str:
    return check_conninfo(text, shared=False)


def _parse_shared_url(text: str) -> str:
    return check_conninfo(text, shared=True)


def _parse_storage_mode(text: str) -> bool:
    if text not in ("SUPABASE", "supabase", "IN_MEMORY", "in_memory"):
        raise ValueError("expected SUPABASE (production) or IN_MEMORY (development)")
    return text.upper() == "SUPABASE"


def _parse_path(text: str) -> Path:
    if "\0" in text:
        raise ValueError("contains a NUL character; write a path")
    if text.startswith("~"):
        raise ValueError("begins with ~, which only a shell expands; write the whole path")
    return Path(text)


def _parse_retries(text: str) -> int:
    if re.fullmatch("[0-9]{1,3}", text) is None:
        raise ValueError("expected a whole number from 0 to 999")
    return int(text)


def _shadowed_url_problems(variable: str | None, entries: Mapping[str, SettingEntry]) -> list[Problem]:
    """Each URL in a stronger place than the one that would be used: someone who exports DATABASE_URL means it."""
    if variable is None:
        return []
    used = entries[variable]
    return [
        entry.problem(
            f"{used.name} in {used.source} would be used instead; set {used.name} here too, or take it out there"
        )
        for name in URL_NAMES
        if (entry := entries.get(name)) and entry.layer < used.layer and entry.value != used.value
    ]


def _check_unknown_names(entries: Mapping[str, SettingEntry], problems: list[Problem]) -> list[str]:
    """One warning that lists the names unknown here, which the Kernel may know; a likely misspelling is a problem."""
    unknown = [entry for name, entry in entries.items() if name not in SETTING_NAMES]
    if not unknown:
        return []
    from difflib import get_close_matches  # noqa: PLC0415 - rarely needed

    known = [name.removeprefix(_PREFIX) for name in SETTING_NAMES if name.startswith(_PREFIX)]
    others: list[str] = []
    for entry in unknown:
        nearest = get_close_matches(entry.name.removeprefix(_PREFIX), known, n=1, cutoff=_MISSPELLING_SIMILARITY)
        if nearest:
            problems.append(entry.problem(f"unknown; write {_PREFIX}{nearest[0]}, or remove it"))
        else:
            others.append(entry.name)
    return [f"ignored, not settings of the migrations: {', '.join(sorted(others))}"] if others else []
