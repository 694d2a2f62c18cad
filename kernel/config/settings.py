"""Load settings: the environment, then `.env.local`, then `.env`, then the defaults; and validate them.

The first layer in which a name has a value wins. Empty means unset, in every layer: `DATABASE_URL= inv db.status` falls
through to the files. Within a file the last of several lines for one name counts. Values are not interpreted:
`${NAME}` is not expanded, so that a password may contain it, and the environment is never changed.

Problems name the variable, its place and what is expected, never the value, which may be a secret.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import partial
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from kernel.config.conninfo import LIBPQ_DATABASE_VARIABLES, LIBPQ_KEYWORDS, check_conninfo
from kernel.config.ledger_name import DEFAULT_LEDGER, parse_ledger_name
from kernel.config.variables import SETTINGS
from kernel.errors import Problem, SettingsError
from kernel.units import parse_milliseconds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from kernel.config.ledger_name import LedgerName


DOTENV_FILES = (".env.local", ".env")  # the one with precedence first
SETTING_NAMES = tuple(setting.name for setting in SETTINGS)
URL_NAMES = SETTING_NAMES[:3]  # the first that is set is the database
_DEFAULTS = {setting.name: setting.default for setting in SETTINGS}
_NAME_BYTES = 63  # of an identifier of PostgreSQL
_PREFIX = "KERNEL_"
# Compared without the prefix. Similar enough: KERNEL_LOCK_RETRY, KERNEL_PG_BIN_DIR; not: KERNEL_STORAGE_PATH.
_MISSPELLING_SIMILARITY = 0.81
# Other usual names for the URL of an application's database. POSTGRES_URL is not one of them: hosts and images set it.
_URL_ALIASES = frozenset({"DB_URL", "DBURL", "DB_URI", "DATABASE_DSN", "DB_DSN"})
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The validated settings; paths are absolute, URLs exactly as written, and the repr holds no URL."""

    root: Path
    database_url: str | None = field(repr=False)
    database_variable: str | None
    """One of URL_NAMES, or libpq's variables, which set `database_url`; None, as the URL: the embedded server."""
    production: bool
    prod_db: str | None = field(repr=False)
    test_db: str | None = field(repr=False)
    test_database_url: str | None = field(repr=False)
    """Unchecked: another program may read it, and migrations do not."""
    migrations_dir: Path
    migrations_table: LedgerName
    role: str = field(repr=False)  # a URL may have been written there by mistake
    """The role to set after connecting; "" for the one that the connection begins with."""
    ignored_drift: tuple[str, ...] = field(repr=False)  # likewise
    """Names and patterns of objects that db.verify --schema does not report."""
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
    libpq = [entry for name, entry in entries.items() if name in LIBPQ_KEYWORDS]
    located = [entry.name for entry in libpq if entry.name in LIBPQ_DATABASE_VARIABLES]
    result = Settings(
        root=root,
        database_url=(
            optional(variable, partial(check_conninfo, shared=variable != URL_NAMES[0]))
            if variable
            else _libpq_conninfo(libpq)
            if located
            else None
        ),
        database_variable=variable or " and ".join(located) or None,
        production=with_default("KERNEL_STORAGE_MODE", _parse_storage_mode),
        prod_db=optional("PROD_DB", partial(check_conninfo, shared=False)),
        test_db=optional("TEST_DB", partial(check_conninfo, shared=False)),
        test_database_url=entries["TEST_DATABASE_URL"].value if "TEST_DATABASE_URL" in entries else None,
        migrations_dir=with_default("KERNEL_MIGRATIONS_DIR", path),
        migrations_table=optional("KERNEL_MIGRATIONS_TABLE", parse_ledger_name) or DEFAULT_LEDGER,
        role=optional("KERNEL_ROLE", _parse_role) or "",
        ignored_drift=optional("KERNEL_IGNORE_DRIFT", _parse_patterns) or (),
        pg_bindir=optional("KERNEL_PG_BINDIR", path),
        data_dir=optional("KERNEL_DATA_DIR", path),
        lock_timeout_ms=with_default("KERNEL_LOCK_TIMEOUT", parse_milliseconds),
        lock_retries=with_default("KERNEL_LOCK_RETRIES", _parse_retries),
        statement_timeout_ms=with_default("KERNEL_STATEMENT_TIMEOUT", parse_milliseconds),
        warnings=tuple(_check_unknown_names(entries, problems, embedded=variable is None and not located)),
    )
    problems += _shadowed_url_problems(variable, entries)
    if result.production and result.database_variable is None:
        names = " or ".join(URL_NAMES[1:])
        problems.append(entries["KERNEL_STORAGE_MODE"].problem(f"production needs a database; set {names}"))
    if problems:
        raise SettingsError(problems)
    return result


def _is_setting(name: str) -> bool:
    """Whether a variable is a setting, one of libpq's, or looks as if it were to be a setting."""
    return (
        name in SETTING_NAMES
        or name in LIBPQ_KEYWORDS
        or re.fullmatch(rf"{_PREFIX}\w+", name, re.ASCII) is not None
        or _is_url_alias(name)
        or _nearest_setting(name, SETTING_NAMES) is not None
    )


def _libpq_conninfo(entries: Iterable[SettingEntry]) -> str:
    """The connection string of the libpq variables in files; libpq itself reads those of the environment."""
    values = {LIBPQ_KEYWORDS[entry.name]: entry.value for entry in entries if entry.layer}
    return " ".join(f"{keyword}='{_quote_value(value)}'" for keyword, value in values.items())


def _quote_value(value: str) -> str:
    return value.replace("\\", r"\\").replace("'", r"\'")


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


def _parse_role(text: str) -> str:
    if text.lower() == "none" or len(text.encode()) > _NAME_BYTES or "\0" in text:
        raise ValueError(f"expected the name of a role, as pg_roles has it, of at most {_NAME_BYTES} bytes")
    return text


def _parse_patterns(text: str) -> tuple[str, ...]:
    if "\0" in text:
        raise ValueError("contains a NUL character; write names or patterns, separated by commas")
    return tuple(filter(None, (one.strip() for one in text.split(","))))


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


def _check_unknown_names(entries: Mapping[str, SettingEntry], problems: list[Problem], *, embedded: bool) -> list[str]:
    """Return at most one warning, for unknown names, which the application may read; a misspelling is a problem.

    Where the setting has a value in the same layer or above, the other name is that of something else. Other names for
    a URL are a problem when the `embedded` server would be used.
    """
    ignored: list[str] = []
    for entry in entries.values():
        if entry.name in SETTING_NAMES or entry.name in LIBPQ_KEYWORDS:
            continue
        nearest = _nearest_setting(entry.name, SETTING_NAMES)
        if nearest:
            if nearest.startswith(_PREFIX) or nearest not in entries or entries[nearest].layer > entry.layer:
                problems.append(entry.problem(f"unknown; write {nearest}, or remove it"))
        elif entry.name.startswith(_PREFIX) and not (embedded and _is_url_alias(entry.name)):
            ignored.append(entry.name)
        elif embedded:
            problems.append(entry.problem("not read, and no database URL is set; write DATABASE_URL, or remove it"))
    return [f"ignored, not settings of the migrations: {', '.join(sorted(ignored))}"] if ignored else []


def _is_url_alias(name: str) -> bool:
    """Whether it is another name for the URL of the database, such as DB_URL and KERNEL_DATABASE_URL."""
    other = name.upper().removeprefix(_PREFIX)
    return other in _URL_ALIASES or (len(other) < len(name) and _nearest_setting(other, SETTING_NAMES) in URL_NAMES)


def _nearest_setting(name: str, known: Sequence[str]) -> str | None:
    """The known name that an unknown one is a misspelling of, None for a name of something else.

    Without a database URL the embedded server is used, so that `DATABSE_URL` would migrate another database than is
    meant.

    Names that begin with KERNEL_ are ours and may differ more; those of URLs by case, separators and one typing error,
    the others by case only.
    """
    if not name.isascii():
        return None
    upper, letters = name.upper(), _letters(name)
    if upper in known:
        return upper
    if upper.startswith(_PREFIX):
        from difflib import get_close_matches  # noqa: PLC0415 - rarely needed

        unprefixed = {one.removeprefix(_PREFIX): one for one in known if one.startswith(_PREFIX)}
        near = get_close_matches(upper.removeprefix(_PREFIX), unprefixed, n=1, cutoff=_MISSPELLING_SIMILARITY)
        return unprefixed[near[0]] if near else None
    urls = [one for one in known if one.endswith("_URL")]
    return next((one for one in urls if _is_misspelling(letters, _letters(one))), None)


def _letters(name: str) -> str:
    return "".join(filter(str.isalnum, name)).upper()


def _is_misspelling(one: str, other: str) -> bool:
    """Whether texts are equal, or one letter is added, left out, replaced or exchanged with the next.

    Digits are there on purpose, as in DATABASE_URL_2.
    """
    if abs(len(one) - len(other)) > 1 or any(map(str.isdigit, one)):
        return False
    begin = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    one, other = one[begin:], other[begin:]
    return (
        one[1:] == other[1:]
        or one[1:] == other
        or one == other[1:]
        or (one[:2] == other[1::-1] and one[2:] == other[2:])
    )


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
