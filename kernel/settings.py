"""The settings of every task, checked as a whole; the only module that knows what an environment variable means.

Where a value is read is kernel/environment.py's matter. Problems name the variable, its place and what is expected,
never the value, which may be the secret.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from kernel import conninfo, environment
from kernel.duration import milliseconds
from kernel.errors import Problem, SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from kernel.environment import Entry

URL_NAMES = ("MIGRATION_DATABASE_URL", "DATABASE_URL", "SUPABASE_DB_URL")  # the first that is set is the database
NAMES = (
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
_CLOSE = 0.81
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


def load(root: Path, environ: Mapping[str, str]) -> Settings:
    """The settings of the project in `root`: environ > .env.local > .env > default. Nothing is changed or connected.

    Raises SettingsError with every problem at once. Of URL_NAMES only the one that is used is checked: the application
    may need what libpq refuses in the others.
    """
    root = root.absolute()
    entries, problems = environment.read(root, environ, concerns=_concerns)

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
        return root / _path(text)

    variable = next((name for name in URL_NAMES if name in entries), None)
    result = Settings(
        root=root,
        database_url=parsed(variable, None, _url if variable == URL_NAMES[0] else _shared_url) if variable else None,
        database_variable=variable,
        production=parsed("KERNEL_STORAGE_MODE", default=False, parse=_production),
        prod_db=parsed("PROD_DB", None, _url),
        test_db=parsed("TEST_DB", None, _url),
        migrations_dir=parsed("KERNEL_MIGRATIONS_DIR", root / "migrations", path),
        pg_bindir=parsed("KERNEL_PG_BINDIR", None, path),
        data_dir=parsed("KERNEL_DATA_DIR", None, path),
        lock_timeout_ms=parsed("KERNEL_LOCK_TIMEOUT", 5_000, milliseconds),
        lock_retries=parsed("KERNEL_LOCK_RETRIES", 5, _retries),
        statement_timeout_ms=parsed("KERNEL_STATEMENT_TIMEOUT", 0, milliseconds),
        warnings=tuple(_unknown(entries, problems)),
    )
    problems += _passed_over(variable, entries)
    if result.production and variable is None:
        names = " or ".join(URL_NAMES[1:])
        problems.append(entries["KERNEL_STORAGE_MODE"].problem(f"production needs a database; set {names}"))
    if problems:
        raise SettingsError(problems)
    return result


def _concerns(name: str) -> bool:
    return name in NAMES or (name.startswith(_PREFIX) and re.fullmatch(rf"{_PREFIX}\w+", name, re.ASCII) is not None)


def _url(text: str) -> str:
    return conninfo.checked(text, shared=False)


def _shared_url(text: str) -> str:
    return conninfo.checked(text, shared=True)


def _production(text: str) -> bool:
    if text not in ("SUPABASE", "supabase", "IN_MEMORY", "in_memory"):
        raise ValueError("expected SUPABASE (production) or IN_MEMORY (development)")
    return text.upper() == "SUPABASE"


def _path(text: str) -> Path:
    if "\0" in text:
        raise ValueError("contains a NUL character; write a path")
    if text.startswith("~"):
        raise ValueError("begins with ~, which only a shell expands; write the whole path")
    return Path(text)


def _retries(text: str) -> int:
    if re.fullmatch("[0-9]{1,3}", text) is None:
        raise ValueError("expected a whole number from 0 to 999")
    return int(text)


def _passed_over(variable: str | None, entries: Mapping[str, Entry]) -> list[Problem]:
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


def _unknown(entries: Mapping[str, Entry], problems: list[Problem]) -> list[str]:
    """One warning that lists the names unknown here, which the Kernel may know; a likely misspelling is a problem."""
    unknown = [entry for name, entry in entries.items() if name not in NAMES]
    if not unknown:
        return []
    from difflib import get_close_matches  # noqa: PLC0415 - rarely needed

    known = [name.removeprefix(_PREFIX) for name in NAMES if name.startswith(_PREFIX)]
    others: list[str] = []
    for entry in unknown:
        nearest = get_close_matches(entry.name.removeprefix(_PREFIX), known, n=1, cutoff=_CLOSE)
        if nearest:
            problems.append(entry.problem(f"unknown; write {_PREFIX}{nearest[0]}, or remove it"))
        else:
            others.append(entry.name)
    return [f"ignored, not settings of the migrations: {', '.join(sorted(others))}"] if others else []
