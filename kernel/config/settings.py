"""The settings of all tasks: their table, loading and validation.

Problems name the variable, its place and what is expected, never the value, which may be a secret.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from kernel.config.conninfo import check_conninfo
from kernel.config.dotenv_files import read_setting_entries
from kernel.errors import Problem, SettingsError
from kernel.units import parse_milliseconds

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from kernel.config.dotenv_files import SettingEntry


@dataclass(frozen=True, slots=True)
class Setting:
    """An environment variable; `default` is the value in effect when it is unset, None when there is none."""

    name: str
    default: str | None
    description: str


SETTINGS = (
    Setting(
        "MIGRATION_DATABASE_URL",
        None,
        "A direct connection for migrations, if DATABASE_URL or SUPABASE_DB_URL goes through a pooler. "
        "It precedes both.",
    ),
    Setting(
        "DATABASE_URL",
        None,
        "The database. If no URL is set, the embedded development server is used.",
    ),
    Setting(
        "SUPABASE_DB_URL",
        None,
        "The database, if DATABASE_URL is unset.",
    ),
    Setting(
        "KERNEL_STORAGE_MODE",
        "IN_MEMORY",
        "SUPABASE is production: a URL is required, and db.rollback, db.baseline and db.repair need --yes. "
        "IN_MEMORY is development.",
    ),
    Setting(
        "PROD_DB",
        None,
        "The database that db.snapshot-test dumps; a role with SELECT is enough.",
    ),
    Setting(
        "TEST_DB",
        None,
        "A database that db.snapshot-test may overwrite. If unset, it starts a throwaway server.",
    ),
    Setting(
        "KERNEL_MIGRATIONS_DIR",
        "migrations",
        "The directory of the migrations.",
    ),
    Setting(
        "KERNEL_PG_BINDIR",
        None,
        "The directory of the PostgreSQL programs for local servers and dumps. "
        "If unset, the newest that are installed.",
    ),
    Setting(
        "KERNEL_DATA_DIR",
        ".kernel/postgres",
        "The directory of the embedded server's data; below /var/lib/aibos-kernel "
        "if the server's account cannot enter the default.",
    ),
    Setting(
        "KERNEL_LOCK_TIMEOUT",
        "5s",
        "How long a statement in a transaction waits for a lock before the migration is rolled back and retried; "
        "0 is no limit.",
    ),
    Setting(
        "KERNEL_LOCK_RETRIES",
        "5",
        "How often a migration is retried after a lock timeout.",
    ),
    Setting(
        "KERNEL_STATEMENT_TIMEOUT",
        "0",
        "How long a statement in a transaction may run; 0 is no limit.",
    ),
)
SETTING_NAMES = tuple(setting.name for setting in SETTINGS)
_DEFAULTS = {setting.name: setting.default for setting in SETTINGS}
URL_NAMES = SETTING_NAMES[:3]  # the first that is set is the database
_PREFIX = "KERNEL_"
# Compared without the prefix. Similar enough: KERNEL_LOCK_RETRY, KERNEL_PG_BIN_DIR; not: KERNEL_STORAGE_PATH.
_MISSPELLING_SIMILARITY = 0.81
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The validated settings; paths are absolute, URLs exactly as written, and the repr holds no URL."""

    root: Path
    database_url: str | None = field(repr=False)
    database_variable: str | None
    """The one of URL_NAMES that sets `database_url`; None, as the URL, means the embedded server."""
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
    """Lines for stderr, without values."""


def load_settings(root: Path, environ: Mapping[str, str]) -> Settings:
    """Load the settings of the project in `root`: environ > .env.local > .env > default.

    Of URL_NAMES only the one in use is checked: the application may need parameters in the others that libpq refuses.
    Raises SettingsError with every problem at once.
    """
    root = root.absolute()
    entries, problems = read_setting_entries(root, environ, concerns=_is_setting)

    def optional(name: str, parse: Callable[[str], _T]) -> _T | None:
        entry = entries.get(name)
        if entry is None:
            return None
        try:
            return parse(entry.value)
        except ValueError as error:
            problems.append(entry.problem(str(error)))
            return None

    def with_default(name: str, parse: Callable[[str], _T]) -> _T:
        value = optional(name, parse)
        return parse(_DEFAULTS[name] or "") if value is None else value

    def path(text: str) -> Path:
        return root / _parse_path(text)

    variable = next((name for name in URL_NAMES if name in entries), None)
    result = Settings(
        root=root,
        database_url=optional(variable, partial(check_conninfo, shared=variable != URL_NAMES[0])) if variable else None,
        database_variable=variable,
        production=with_default("KERNEL_STORAGE_MODE", _parse_storage_mode),
        prod_db=optional("PROD_DB", partial(check_conninfo, shared=False)),
        test_db=optional("TEST_DB", partial(check_conninfo, shared=False)),
        migrations_dir=with_default("KERNEL_MIGRATIONS_DIR", path),
        pg_bindir=optional("KERNEL_PG_BINDIR", path),
        data_dir=optional("KERNEL_DATA_DIR", path),
        lock_timeout_ms=with_default("KERNEL_LOCK_TIMEOUT", parse_milliseconds),
        lock_retries=with_default("KERNEL_LOCK_RETRIES", _parse_retries),
        statement_timeout_ms=with_default("KERNEL_STATEMENT_TIMEOUT", parse_milliseconds),
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
    """Return a problem for each URL in a layer above that of the URL in use: an exported DATABASE_URL is intended."""
    if variable is None:
        return []
    used = entries[variable]
    return [
        entry.problem(
            f"{used.name} in {used.source} would be used instead; set {used.name} here too, or remove it there"
        )
        for name in URL_NAMES
        if (entry := entries.get(name)) and entry.layer < used.layer and entry.value != used.value
    ]


def _check_unknown_names(entries: Mapping[str, SettingEntry], problems: list[Problem]) -> list[str]:
    """Return at most one warning, for unknown names, which the application may read; a misspelling is a problem."""
    unknown = [entry for name, entry in entries.items() if name not in SETTING_NAMES]
    if not unknown:
        return []
    from difflib import get_close_matches  # noqa: PLC0415 - rarely needed

    known = [name.removeprefix(_PREFIX) for name in SETTING_NAMES if name.startswith(_PREFIX)]
    ignored: list[str] = []
    for entry in unknown:
        nearest = get_close_matches(entry.name.removeprefix(_PREFIX), known, n=1, cutoff=_MISSPELLING_SIMILARITY)
        if nearest:
            problems.append(entry.problem(f"unknown; write {_PREFIX}{nearest[0]}, or remove it"))
        else:
            ignored.append(entry.name)
    return [f"ignored, not settings of the migrations: {', '.join(sorted(ignored))}"] if ignored else []
