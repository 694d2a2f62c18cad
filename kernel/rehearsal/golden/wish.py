"""What a rehearsal wants to have copied, and where."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from kernel.server.programs import Programs

Restorer = Callable[[str], tuple[str, ...]]
"""Fills the empty database at a URL, as a superuser where the server is ours, and closes every connection to it.

What comes back are sentences to remember with the copy: what it lacks, and what people should know of it.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Locale:
    """Encoding and locale of the copied database; "" is the server's default. `provider` is libc, icu or builtin.

    `name` is the locale of that provider, `collate` and `ctype` are libc's, which the others have beside it.
    """

    encoding: str = ""
    collate: str = ""
    ctype: str = ""
    provider: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Forbidden:
    """A database that must never be overwritten, by the variable that names it."""

    variable: str
    url: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What to copy and where to. `digest` tells dumps apart, `name` is the dump's for people.

    Without `test_db` the copy lives on a throwaway server of `programs`, in memory when `room_bytes` are free there:
    all that it and its clones will take. `keep` stores it for the next time; a stored one is used in any case.
    `settings` become settings of the database, as ALTER DATABASE … SET makes them; `server_settings` those of the
    server while it rehearses, and `environ` is added to its environment. `yes` allows TEST_DB to hold what is not
    ours. `say` is told what people should know. `store` is for tests: where to keep, else the user's cache.
    """

    digest: str
    name: str
    programs: Programs | None = None
    schema_only: bool = False
    room_bytes: int = 1 << 30
    keep: bool = False
    locale: Locale = field(default_factory=Locale)
    settings: Mapping[str, str] = field(default_factory=dict)
    server_settings: Mapping[str, str] = field(default_factory=dict)
    environ: Mapping[str, str] = field(default_factory=dict)
    test_db: str | None = field(default=None, repr=False)
    yes: bool = False
    forbidden: tuple[Forbidden, ...] = ()
    say: Callable[[str], None] = lambda _line: None
    store: Path | None = None
