"""Everything that a restore would lack, found before it begins, each with its remedy.

`facts` asks the server that is to take the copy; `check` compares. What the server can be given is made elsewhere and
is no problem: roles (roles.create) and locales (locale.private). Tablespaces are not restored: all goes to the default.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, LiteralString

import psycopg
from psycopg import sql

from kernel.db.connection import Connection, open_session
from kernel.errors import Problem, ServerFailed
from kernel.postgres.account import current_account, server_account
from kernel.postgres.cache import cached_folder
from kernel.postgres.process import program_failed_error, run_as_account
from kernel.rehearsal.dump.roles import PREDEFINED_PREFIX, create_role_statements, find_missing_roles

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kernel.rehearsal.dump.identify import Collation, Dump, DumpContents


# Locales of the operating system that a dump needs and this machine lacks: compiled into a private folder.
#
# glibc finds them there when the server's environment has LOCPATH; nothing of the system is changed. With LOCPATH glibc
# no longer looks into the system's archive of locales, so those that the system has are compiled as well.
# Sources: localedef(1), locale(7), and setlocale in the manual of the GNU C Library.


# language_TERRITORY.codeset@modifier: also what keeps a name in a dump from being a path.
_LOCALE_NAME = re.compile(r"(?P<base>[a-z]{2,3}(?:_[A-Z]{2})?)\.(?P<codeset>[A-Za-z0-9-]+)(?P<modifier>@[a-z]+)?")
_BUILT_IN_LOCALES = frozenset({"C", "POSIX", "C.UTF-8", "C.utf8"})
_LOCALE_SOURCES = Path("/usr/share/i18n/locales")
_LOCALEDEF_WARNED = 1  # localedef's status when it warned, and made the locale all the same


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvidedLocales:
    """`environ` is for the server that restores and for every one that serves the copy later; `problems` remain."""

    environ: tuple[tuple[str, str], ...] = ()
    problems: tuple[Problem, ...] = ()


def provide_locales(collations: Iterable[Collation]) -> ProvidedLocales:
    """The locales of libc among `collations`, made available to servers of our own; nothing to do is usual.

    They lie in the cache, and stay: a database is bound to the locales that it was made with.
    """
    wanted = sorted({one.locale for one in collations if one.provider == "libc"} - _BUILT_IN_LOCALES)
    lacking = [name for name in wanted if _normalise_locale(name) not in _system_locales()]
    if not lacking:
        return ProvidedLocales()
    impossible = [Problem(message=why) for name in lacking if (why := _explain_unavailable(name))]
    if impossible:
        return ProvidedLocales(problems=tuple(impossible))
    compiled = [name for name in wanted if not _explain_unavailable(name)]
    name = hashlib.sha256("\0".join(compiled).encode()).hexdigest()[:12]
    try:
        folder = cached_folder(f"locales/{name}", current_account(), lambda path: _compile_locales(path, compiled))
    except (OSError, ServerFailed) as error:
        return ProvidedLocales(
            problems=(Problem(message=f"locales {', '.join(lacking)}: cannot be made here: {error}"),)
        )
    if closed := server_account(Path("/")).first_closed_folder(folder):
        return ProvidedLocales(
            problems=(Problem(message=f"{folder}: the server's account cannot enter {closed}; open it up"),)
        )
    return ProvidedLocales(environ=(("LOCPATH", str(folder)),))


def _explain_unavailable(name: str) -> str:
    """Why a locale cannot be made, with the remedy, or ""."""
    match = _LOCALE_NAME.fullmatch(name)
    if not match:
        return (
            f"locale {name!r}: unknown here, and not of the form en_US.UTF-8; rehearse where production's system runs"
        )
    if not sys.platform.startswith("linux") or not shutil.which("localedef"):
        return f"locale {name}: unknown here; install it with the system's own tools"
    source = f"{match['base']}{match['modifier'] or ''}"
    if not (_LOCALE_SOURCES / source).is_file():
        return f"locale {name}: unknown here, and its source {_LOCALE_SOURCES / source} is missing; apt-get install locales"
    return ""


def _system_locales() -> frozenset[str]:
    listed = run_as_account(current_account(), "locale", "-a") if shutil.which("locale") else None
    return frozenset(_normalise_locale(line) for line in listed.stdout.splitlines()) if listed else frozenset()


def _normalise_locale(name: str) -> str:
    """One spelling of a name, for glibc takes en_US.UTF-8 and en_US.utf8 for one."""
    base, dot, rest = name.partition(".")
    codeset, at, modifier = rest.partition("@")
    return f"{base}{dot}{codeset.lower().replace('-', '')}{at}{modifier}"


def _compile_locales(folder: Path, names: Iterable[str]) -> None:
    """Raises ServerFailed, which quotes localedef."""
    folder.mkdir(mode=0o755)
    for name in names:
        match = _LOCALE_NAME.fullmatch(name)
        if match is None:
            continue
        target = folder / _normalise_locale(name)
        source = f"{match['base']}{match['modifier'] or ''}"
        done = run_as_account(current_account(), "localedef", "-i", source, "-f", match["codeset"], f"{target}")
        if done.returncode > _LOCALEDEF_WARNED or not target.is_dir():
            raise program_failed_error(f"localedef of {name} failed", done.stdout)
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)


# Which Debian package brings an extension. Source: the names in Debian bookworm and in PostgreSQL's own repository.


# Part of PostgreSQL's contrib, which Debian packs with the server.
_CONTRIB_EXTENSIONS = frozenset(
    (
        *("adminpack", "amcheck", "autoinc", "bloom", "btree_gin", "btree_gist", "citext", "cube", "dblink"),
        *("dict_int", "dict_xsyn", "earthdistance", "file_fdw", "fuzzystrmatch", "hstore", "insert_username"),
        *("intagg", "intarray", "isn", "lo", "ltree", "moddatetime", "old_snapshot", "pageinspect"),
        *("pg_buffercache", "pg_freespacemap", "pg_logicalinspect", "pg_prewarm", "pg_stat_statements", "pg_surgery"),
        *("pg_trgm", "pg_visibility", "pg_walinspect", "pgcrypto", "pgrowlocks", "pgstattuple", "plpgsql"),
        *("postgres_fdw", "refint", "seg", "sslinfo", "tablefunc", "tcn", "tsm_system_rows", "tsm_system_time"),
        *("unaccent", "uuid-ossp", "xml2"),
    )
)
# Where the rule below does not hold.
_DEBIAN_PACKAGES = {
    "pg_cron": "postgresql-{}-cron",
    "pg_partman": "postgresql-{}-partman",
    "pg_repack": "postgresql-{}-repack",
    "plperl": "postgresql-plperl-{}",
    "plperlu": "postgresql-plperl-{}",
    "plpython3u": "postgresql-plpython3-{}",
    "pltcl": "postgresql-pltcl-{}",
    "pltclu": "postgresql-pltcl-{}",
    "postgis": "postgresql-{}-postgis-3",
    "postgis_raster": "postgresql-{}-postgis-3",
    "postgis_sfcgal": "postgresql-{}-postgis-3",
    "postgis_tiger_geocoder": "postgresql-{}-postgis-3",
    "postgis_topology": "postgresql-{}-postgis-3",
    "vector": "postgresql-{}-pgvector",
}


def debian_package(extension: str, major: int) -> str:
    """The package that brings an extension to a server of this major version."""
    if extension in _CONTRIB_EXTENSIONS:
        return f"postgresql-{major}"
    return _DEBIAN_PACKAGES.get(extension, f"postgresql-{{}}-{extension.replace('_', '-')}").format(major)


GB = 1_000_000_000
# Rows in a table take about as much as in a dump, indexes half of it again, WAL and sorting the rest (measured: 1.6 to
# 2.3 for tables of a few columns). A clone beside the golden copy takes the same once more.
_COPY_FACTOR = 2.5
_CLONES = 2
_PROVIDERS: dict[str, LiteralString] = {"icu": "icu", "builtin": "builtin"}
# What CREATE COLLATION answers for a locale that is unknown, or a provider that is.
_UNKNOWN_LOCALE_STATES = ("42704", "22023", "0A000", "42P17", "22P02")
_EMPTY_SERVER_BYTES = 64 << 20  # a server without anything in it, and a little log


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetServer:
    """The server that is to take the copy: `name` is host:port/dbname, `ours` that it is a throwaway one.

    `extensions` can be created there, `lacking` are the locales asked for that it does not know, `missing_roles` the
    roles; `may_create_roles` tells whether those are no problem. `encoding` is the database's.
    """

    name: str
    version: str
    major: int
    encoding: str
    extensions: frozenset[str]
    missing_collations: tuple[Collation, ...]
    missing_roles: tuple[str, ...]
    may_create_roles: bool
    is_throwaway: bool


def inspect_target_server(url: str, contents: DumpContents, *, ours: bool) -> TargetServer:
    """Ask the server of `url`, leaving nothing behind. Raises DatabaseUnreachable."""
    with open_session(url) as session:
        connection = session.connection
        row = connection.execute(
            "SELECT current_setting('server_version'), current_setting('server_version_num')::int / 10000,"
            " pg_encoding_to_char(encoding), rolsuper OR rolcreaterole"
            " FROM pg_database, pg_roles WHERE datname = current_database() AND rolname = current_user"
        ).fetchone()
        version, major, encoding, may_create_roles = row or ("", 0, "", False)
        available = connection.execute("SELECT name FROM pg_available_extensions").fetchall()
        return TargetServer(
            name=session.name,
            version=str(version).partition(" ")[0],  # packagers add words of their own
            major=major,
            encoding=encoding,
            extensions=frozenset(name for (name,) in available),
            missing_collations=tuple(one for one in contents.collations if not _can_create_collation(connection, one)),
            missing_roles=find_missing_roles(connection, contents.roles),
            may_create_roles=bool(may_create_roles),
            is_throwaway=ours,
        )


def estimate_needed_bytes(
    contents: DumpContents, dump: Dump, *, clones: int = _CLONES, schema_only: bool = False
) -> int:
    """The disk space for the copy and its clones, an estimate that is rather too high."""
    rows = 0 if schema_only else max(contents.data_bytes, dump.size_bytes)
    return _EMPTY_SERVER_BYTES + int(rows * _COPY_FACTOR) * (1 + clones)


def check_target_server(
    contents: DumpContents, dump: Dump, target: TargetServer, free_bytes: int, *, schema_only: bool = False
) -> tuple[Problem, ...]:
    """Everything that would be in the way of restoring the dump at the target; () when nothing is.

    `free_bytes` are those where the target's data will lie.
    """
    sentences = (
        *_extension_problems(contents, target),
        *_locale_problems(target),
        *_encoding_problems(contents, target),
        *_role_problems(target),
        *_space_problems(estimate_needed_bytes(contents, dump, schema_only=schema_only), free_bytes),
    )
    return tuple(Problem(message=sentence) for sentence in sentences)


def describe_differences(contents: DumpContents, target: TargetServer) -> tuple[str, ...]:
    """What a restore does differently from production, though nothing is in its way."""
    found = []
    if contents.server_major not in (0, target.major):
        what = f"the dump comes from PostgreSQL {contents.server_version}, and is rehearsed on {target.version}"
        if contents.server_major < target.major:
            effect = "locks and rewrites can differ from production's"
        else:
            effect = "what only the newer one knows is not restored, and told as lost"
        if target.is_throwaway:
            remedy = f"install postgresql-{contents.server_major}, or set KERNEL_PG_BINDIR to its bin"
        else:
            remedy = f"give a TEST_DB on PostgreSQL {contents.server_major}, or none"
        found.append(f"{what}: {effect}; {remedy}")
    if contents.tablespaces:
        found.append(f"tablespaces {', '.join(contents.tablespaces)}: everything is in the default one here")
    return tuple(found)


def _extension_problems(contents: DumpContents, target: TargetServer) -> Iterable[str]:
    for name in contents.extensions:
        if name not in target.extensions:
            where = "" if target.is_throwaway else f" on the server of {target.name}"
            other = ", or set KERNEL_PG_BINDIR to a PostgreSQL that has it" if target.is_throwaway else ""
            yield (
                f"extension {name}: not available for PostgreSQL {target.version}{where}; "
                f"install it (Debian: apt-get install {debian_package(name, target.major)}){other}"
            )


def _locale_problems(target: TargetServer) -> Iterable[str]:
    for one in target.missing_collations:
        if one.provider == "libc":
            yield (
                f"locale {one.locale}: unknown on the server of {target.name}; "
                "generate it there (Debian: dpkg-reconfigure locales) and restart the server"
            )
        else:
            other = " and set KERNEL_PG_BINDIR to its bin" if target.is_throwaway else ""
            yield (
                f"collation {one.locale} of {one.provider}: PostgreSQL {target.version} cannot make it; "
                f"install a PostgreSQL that can (Debian's are built with ICU){other}"
            )


def _encoding_problems(contents: DumpContents, target: TargetServer) -> Iterable[str]:
    # A database in UTF8 takes text of every encoding; in SQL_ASCII anything, unconverted.
    if contents.encoding and target.encoding not in ("UTF8", contents.encoding):
        yield (
            f"{target.name}: its encoding {target.encoding} cannot hold all of the dump's {contents.encoding}; "
            "create it with ENCODING 'UTF8' TEMPLATE template0"
        )


def _role_problems(target: TargetServer) -> Iterable[str]:
    wanted = [name for name in target.missing_roles if not name.startswith(PREDEFINED_PREFIX)]
    if wanted and not target.may_create_roles:
        yield f"{target.name}: roles of the dump are missing; as somebody who may create roles: {create_role_statements(wanted)}"


def _space_problems(needed: int, free_bytes: int) -> Iterable[str]:
    if needed > free_bytes:
        yield (
            f"disk space: the copy and its clones need about {_format_gigabytes(needed)}, and {_format_gigabytes(free_bytes)} are free; "
            "free some, set TMPDIR to a larger disk, or rehearse with --schema-only"
        )


def _format_gigabytes(size_bytes: int) -> str:
    return f"{size_bytes / 1e9:.1f} GB" if size_bytes >= GB else f"{size_bytes / 1e6:.0f} MB"


def _can_create_collation(connection: Connection, one: Collation) -> bool:
    """Whether a collation can be made of it. Tried, in a transaction that is rolled back: no catalog lists them all."""
    # The schema of temporary tables takes it, whatever the user may do elsewhere.
    statement = sql.SQL("CREATE COLLATION pg_temp.tried (provider = {}, locale = {})").format(
        sql.SQL(_PROVIDERS.get(one.provider, "libc")),
        sql.Literal(one.locale.removesuffix("-x-icu")),
    )
    try:
        with connection.transaction(force_rollback=True):
            connection.execute("SET TRANSACTION READ WRITE")
            connection.execute(statement)
    except psycopg.Error as error:
        if connection.broken:
            raise
        # Its own name, as pg_collation has it ("de-x-icu"), needs no making; another error says nothing of the locale.
        listed = connection.execute("SELECT 1 FROM pg_collation WHERE collname = %s", (one.locale,)).fetchone()
        return listed is not None or error.sqlstate not in _UNKNOWN_LOCALE_STATES
    return True
