"""Locales of the operating system that a dump needs and this machine lacks: compiled into a private folder.

glibc finds them there when the server's environment has LOCPATH; nothing of the system is changed. With LOCPATH glibc
no longer looks into the system's archive of locales, so those that the system has are compiled as well.
Sources: localedef(1), locale(7), and setlocale in the manual of the GNU C Library.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from kernel.errors import Problem, ServerFailed
from kernel.server import cache, process
from kernel.server.account import ourselves, serving

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kernel.rehearsal.dump.dump import Collation, Contents

# language_TERRITORY.codeset@modifier: also what keeps a name in a dump from being a path.
_NAME = re.compile(r"(?P<base>[a-z]{2,3}(?:_[A-Z]{2})?)\.(?P<codeset>[A-Za-z0-9-]+)(?P<modifier>@[a-z]+)?")
_CLAUSES = re.compile(rb"\b(LOCALE_PROVIDER|(?:ICU_|BUILTIN_)?LOCALE|LC_COLLATE|LC_CTYPE) = '?([^' ;]+)")
_NEEDS_NOTHING = frozenset({"C", "POSIX", "C.UTF-8", "C.utf8"})
_SOURCES = Path("/usr/share/i18n/locales")
_WARNED = 1  # localedef's status when it warned, and made the locale all the same


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """`environ` is for the server that restores and for every one that serves the copy later; `problems` remain."""

    environ: tuple[tuple[str, str], ...] = ()
    problems: tuple[Problem, ...] = ()


def of_database(contents: Contents, sql: bytes) -> Contents:
    """The contents with the database's own locale, from the CREATE DATABASE that pg_dump wrote."""
    told = {clause.decode(): value.decode() for clause, value in _CLAUSES.findall(sql)}
    common = told.get("LOCALE", "")
    return replace(
        contents,
        locale_provider=told.get("LOCALE_PROVIDER", ""),
        locale=told.get("ICU_LOCALE") or told.get("BUILTIN_LOCALE") or "",
        lc_collate=told.get("LC_COLLATE", common),
        lc_ctype=told.get("LC_CTYPE", common),
    )


def private(collations: Iterable[Collation]) -> Made:
    """The locales of libc among `collations`, made available to servers of our own; nothing to do is usual.

    They lie in the cache, and stay: a database is bound to the locales that it was made with.
    """
    wanted = sorted({one.locale for one in collations if one.provider == "libc"} - _NEEDS_NOTHING)
    lacking = [name for name in wanted if _normal(name) not in _of_the_system()]
    if not lacking:
        return Made()
    impossible = [Problem(message=why) for name in lacking if (why := _impossible(name))]
    if impossible:
        return Made(problems=tuple(impossible))
    compiled = [name for name in wanted if not _impossible(name)]
    name = hashlib.sha256("\0".join(compiled).encode()).hexdigest()[:12]
    try:
        folder = cache.cached(f"locales/{name}", ourselves(), lambda path: _compile(path, compiled))
    except (OSError, ServerFailed) as error:
        return Made(problems=(Problem(message=f"locales {', '.join(lacking)}: cannot be made here: {error}"),))
    if closed := serving(Path("/")).closed(folder):
        return Made(problems=(Problem(message=f"{folder}: the server's account cannot enter {closed}; open it up"),))
    return Made(environ=(("LOCPATH", str(folder)),))


def _impossible(name: str) -> str:
    """Why a locale cannot be made, with the remedy, or ""."""
    match = _NAME.fullmatch(name)
    if not match:
        return (
            f"locale {name!r}: unknown here, and not of the form en_US.UTF-8; rehearse where production's system runs"
        )
    if not sys.platform.startswith("linux") or not shutil.which("localedef"):
        return f"locale {name}: unknown here; install it with the system's own tools"
    source = f"{match['base']}{match['modifier'] or ''}"
    if not (_SOURCES / source).is_file():
        return f"locale {name}: unknown here, and its source {_SOURCES / source} is missing; apt-get install locales"
    return ""


def _of_the_system() -> frozenset[str]:
    listed = process.run(ourselves(), "locale", "-a") if shutil.which("locale") else None
    return frozenset(_normal(line) for line in listed.stdout.splitlines()) if listed else frozenset()


def _normal(name: str) -> str:
    """One spelling of a name, for glibc takes en_US.UTF-8 and en_US.utf8 for one."""
    base, dot, rest = name.partition(".")
    codeset, at, modifier = rest.partition("@")
    return f"{base}{dot}{codeset.lower().replace('-', '')}{at}{modifier}"


def _compile(folder: Path, names: Iterable[str]) -> None:
    """Raises ServerFailed, which quotes localedef."""
    folder.mkdir(mode=0o755)
    for name in names:
        match = _NAME.fullmatch(name)
        if match is None:
            continue
        target = folder / _normal(name)
        source = f"{match['base']}{match['modifier'] or ''}"
        done = process.run(ourselves(), "localedef", "-i", source, "-f", match["codeset"], f"{target}")
        if done.returncode > _WARNED or not target.is_dir():
            raise process.failure(f"localedef of {name} failed", done.stdout)
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
