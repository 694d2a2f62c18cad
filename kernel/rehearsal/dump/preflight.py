"""Check before a restore that the server has everything the dump needs; each problem comes with its remedy.

Missing roles are created elsewhere (common.roles). Tablespaces are not restored: everything goes to the default one.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, LiteralString

import psycopg
from psycopg import sql

from kernel.db.connection import Connection, open_session
from kernel.errors import Problem
from kernel.postgres.account import current_account
from kernel.postgres.process import run_as_account
from kernel.rehearsal.dump.common.roles import PREDEFINED_PREFIX, create_role_statements, find_missing_roles
from kernel.units import format_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kernel.rehearsal.dump.common.model import Collation, Dump, DumpContents


# Source of these names: Debian bookworm and PostgreSQL's repository for it.
# Part of PostgreSQL's contrib, which is in Debian's package of the server. None of them creates a table.
CONTRIB_EXTENSIONS = frozenset(
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
# Exceptions from the rule of debian_package.
_DEBIAN_PACKAGES = {
    "pg_cron": "postgresql-{}-cron",
    "pg_partman": "postgresql-{}-partman",
    "pg_repack": "postgresql-{}-repack",
    "postgis": "postgresql-{}-postgis-3",
    "vector": "postgresql-{}-pgvector",
}
# Rows in a table take about as much as in a dump, indexes half of that, WAL and sorting the rest (measured: 1.6 to 2.3
# for tables of a few columns). Each clone of the template database takes the same again.
_COPY_FACTOR = 2.5
_CLONES = 2
_PROVIDERS: dict[str, LiteralString] = {"icu": "icu", "builtin": "builtin"}
# SQLSTATEs of CREATE COLLATION for a locale or a provider that is unknown.
_UNKNOWN_LOCALE_STATES = ("42704", "22023", "0A000", "42P17", "22P02")
_EMPTY_SERVER_BYTES = 64 << 20  # a server without anything in it, and a little log


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetServer:
    """The server that takes the copy: `name` is host:port/dbname, `encoding` the database's.

    `extensions` can be created there; `missing_collations` and `missing_roles` are those of the dump that it lacks.
    Roles are no problem with `may_create_roles`. `is_throwaway` servers are started by a rehearsal.
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


def inspect_target_server(url: str, contents: DumpContents, *, is_throwaway: bool) -> TargetServer:
    """Read what the server of `url` has; nothing is left there. Raises DatabaseUnreachable."""
    with open_session(url) as session:
        connection = session.connection
        ((version, major, encoding, may_create_roles),) = connection.execute(
            "SELECT current_setting('server_version'), current_setting('server_version_num')::int / 10000,"
            " pg_encoding_to_char(encoding), rolsuper OR rolcreaterole"
            " FROM pg_database, pg_roles WHERE datname = current_database() AND rolname = current_user"
        ).fetchall()
        available = connection.execute("SELECT name FROM pg_available_extensions").fetchall()
        return TargetServer(
            name=session.name,
            version=version.partition(" ")[0],  # packagers append words
            major=major,
            encoding=encoding,
            extensions=frozenset(name for (name,) in available),
            missing_collations=tuple(one for one in contents.collations if not _can_create_collation(connection, one)),
            missing_roles=find_missing_roles(connection, contents.roles),
            may_create_roles=may_create_roles,
            is_throwaway=is_throwaway,
        )


def estimate_needed_bytes(contents: DumpContents, dump: Dump, *, schema_only: bool = False) -> int:
    """Estimate, rather too high, the bytes on disk of the copy and its clones."""
    rows = 0 if schema_only else max(contents.data_bytes, dump.size_bytes)
    return _EMPTY_SERVER_BYTES + int(rows * _COPY_FACTOR) * (1 + _CLONES)


def check_target_server(
    contents: DumpContents, dump: Dump, target: TargetServer, free_bytes: int, *, schema_only: bool = False
) -> tuple[Problem, ...]:
    """Everything that prevents a restore of the dump at the target, () when nothing does.

    `free_bytes` are those of the disk with the target's data.
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
    """Sentences on how the copy will differ from production."""
    found = []
    if contents.server_major not in (0, target.major):
        what = f"the dump comes from PostgreSQL {contents.server_version}, and is rehearsed on {target.version}"
        if contents.server_major < target.major:
            effect = "locks and rewrites can differ from production's"
        else:
            effect = "what only the newer one knows is not restored, and reported as lost"
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
            where = "here" if target.is_throwaway else f"on the server of {target.name}"
            then = "" if target.is_throwaway else " and restart the server"
            yield (
                f"locale {one.locale}: unknown {where}; "
                f"generate it there (Debian: apt-get install locales, dpkg-reconfigure locales){then}"
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
        yield (
            f"{target.name}: roles of the dump are missing; as a user who may create roles: "
            f"{create_role_statements(wanted)}"
        )


def _space_problems(needed: int, free_bytes: int) -> Iterable[str]:
    if needed > free_bytes:
        yield (
            f"disk space: the copy and its clones need about {format_bytes(needed)}, and {format_bytes(free_bytes)} "
            "are free; free some, set TMPDIR to a larger disk, or rehearse with --schema-only"
        )


def _can_create_collation(connection: Connection, one: Collation) -> bool:
    """Whether the server can create the collation; tried in a transaction, as no catalog lists all of them."""
    # Every user may create it in the schema of temporary tables.
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
        # A name in pg_collation ("de-x-icu") exists already; an error of another kind says nothing about the locale.
        listed = connection.execute("SELECT 1 FROM pg_collation WHERE collname = %s", (one.locale,)).fetchone()
        return listed is not None or error.sqlstate not in _UNKNOWN_LOCALE_STATES
    return True


def lists_every_table(contents: DumpContents) -> bool:
    """Whether `table_names` are all tables that a restore creates: extensions may create more, and so may scripts."""
    by_pg_dump, decoded = bool(contents.server_version), contents.encoding in ("", "UTF8")
    return by_pg_dump and decoded and CONTRIB_EXTENSIONS.issuperset(contents.extensions)


def debian_package(extension: str, major: int) -> str:
    """The Debian package with an extension for a server of this major version."""
    if extension in CONTRIB_EXTENSIONS:
        return f"postgresql-{major}"
    if extension in ("plperl", "plperlu", "plpython3u", "pltcl", "pltclu"):
        return f"postgresql-{extension.removesuffix('u')}-{major}"
    family = "postgis" if extension.startswith("postgis_") else extension
    return _DEBIAN_PACKAGES.get(family, f"postgresql-{{}}-{extension.replace('_', '-')}").format(major)


def unavailable_locales(collations: Iterable[Collation]) -> tuple[str, ...]:
    """The locales of libc among `collations` that this machine lacks: no server here creates a database with them."""
    if not shutil.which("locale"):
        return ()
    listed = run_as_account(current_account(), "locale", "-a").stdout.splitlines()
    available = {_normalise_locale(name) for name in (*listed, "C", "POSIX")}
    wanted = (one.locale for one in collations if one.provider == "libc")
    return tuple(name for name in wanted if _normalise_locale(name) not in available)


def _normalise_locale(name: str) -> str:
    """One spelling of a locale: for glibc en_US.UTF-8 and en_US.utf8 are the same."""
    base, dot, rest = name.partition(".")
    codeset, at, modifier = rest.partition("@")
    return f"{base}{dot}{codeset.lower().replace('-', '')}{at}{modifier}"
