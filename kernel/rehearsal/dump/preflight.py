"""Everything that a restore would lack, found before it begins, each with its remedy.

`facts` asks the server that is to take the copy; `check` compares. What the server can be given is made elsewhere and
is no problem: roles (roles.create) and locales (locale.private). Tablespaces are not restored: all goes to the default.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, LiteralString

import psycopg
from psycopg import sql

from kernel import database
from kernel.errors import Problem
from kernel.rehearsal.dump import package, roles

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kernel.rehearsal.dump.dump import Collation, Contents, Dump

GB = 1_000_000_000
# Rows in a table take about as much as in a dump, indexes half of it again, WAL and sorting the rest (measured: 1.6 to
# 2.3 for tables of a few columns). A clone beside the golden copy takes the same once more.
_COPY_FACTOR = 2.5
_CLONES = 2
_PROVIDERS: dict[str, LiteralString] = {"icu": "icu", "builtin": "builtin"}
# What CREATE COLLATION answers for a locale that is unknown, or a provider that is.
_UNKNOWN = ("42704", "22023", "0A000", "42P17", "22P02")
_EMPTY_BYTES = 64 << 20  # a server without anything in it, and a little log


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """The server that is to take the copy: `name` is host:port/dbname, `ours` that it is a throwaway one.

    `extensions` can be created there, `lacking` are the locales asked for that it does not know, `missing_roles` the
    roles; `may_create_roles` tells whether those are no problem. `encoding` is the database's.
    """

    name: str
    version: str
    major: int
    encoding: str
    extensions: frozenset[str]
    lacking: tuple[Collation, ...]
    missing_roles: tuple[str, ...]
    may_create_roles: bool
    ours: bool


def facts(url: str, contents: Contents, *, ours: bool) -> Facts:
    """Ask the server of `url`, leaving nothing behind. Raises DatabaseUnreachable."""
    with database.session(url) as session:
        connection = session.connection
        row = connection.execute(
            "SELECT current_setting('server_version'), current_setting('server_version_num')::int / 10000,"
            " pg_encoding_to_char(encoding), rolsuper OR rolcreaterole"
            " FROM pg_database, pg_roles WHERE datname = current_database() AND rolname = current_user"
        ).fetchone()
        version, major, encoding, may_create_roles = row or ("", 0, "", False)
        available = connection.execute("SELECT name FROM pg_available_extensions").fetchall()
        return Facts(
            name=session.name,
            version=str(version).partition(" ")[0],  # packagers add words of their own
            major=major,
            encoding=encoding,
            extensions=frozenset(name for (name,) in available),
            lacking=tuple(one for one in contents.collations if not _known(connection, one)),
            missing_roles=roles.missing(connection, contents.roles),
            may_create_roles=bool(may_create_roles),
            ours=ours,
        )


def needed_bytes(contents: Contents, dump: Dump, *, clones: int = _CLONES, schema_only: bool = False) -> int:
    """The disk space for the copy and its clones, an estimate that is rather too high."""
    rows = 0 if schema_only else max(contents.data_bytes, dump.size_bytes)
    return _EMPTY_BYTES + int(rows * _COPY_FACTOR) * (1 + clones)


def check(
    contents: Contents, dump: Dump, target: Facts, free_bytes: int, *, schema_only: bool = False
) -> tuple[Problem, ...]:
    """Everything that would be in the way of restoring the dump at the target; () when nothing is.

    `free_bytes` are those where the target's data will lie.
    """
    sentences = (
        *_extensions(contents, target),
        *_locales(target),
        *_encoding(contents, target),
        *_roles(target),
        *_space(needed_bytes(contents, dump, schema_only=schema_only), free_bytes),
    )
    return tuple(Problem(message=sentence) for sentence in sentences)


def notes(contents: Contents, target: Facts) -> tuple[str, ...]:
    """What a restore does differently from production, though nothing is in its way."""
    found = []
    if contents.server_major not in (0, target.major):
        what = f"the dump comes from PostgreSQL {contents.server_version}, and is rehearsed on {target.version}"
        if contents.server_major < target.major:
            effect = "locks and rewrites can differ from production's"
        else:
            effect = "what only the newer one knows is not restored, and told as lost"
        if target.ours:
            remedy = f"install postgresql-{contents.server_major}, or set KERNEL_PG_BINDIR to its bin"
        else:
            remedy = f"give a TEST_DB on PostgreSQL {contents.server_major}, or none"
        found.append(f"{what}: {effect}; {remedy}")
    if contents.tablespaces:
        found.append(f"tablespaces {', '.join(contents.tablespaces)}: everything is in the default one here")
    return tuple(found)


def _extensions(contents: Contents, target: Facts) -> Iterable[str]:
    for name in contents.extensions:
        if name not in target.extensions:
            where = "" if target.ours else f" on the server of {target.name}"
            other = ", or set KERNEL_PG_BINDIR to a PostgreSQL that has it" if target.ours else ""
            yield (
                f"extension {name}: not available for PostgreSQL {target.version}{where}; "
                f"install it (Debian: apt-get install {package.debian(name, target.major)}){other}"
            )


def _locales(target: Facts) -> Iterable[str]:
    for one in target.lacking:
        if one.provider == "libc":
            yield (
                f"locale {one.locale}: unknown on the server of {target.name}; "
                "generate it there (Debian: dpkg-reconfigure locales) and restart the server"
            )
        else:
            other = " and set KERNEL_PG_BINDIR to its bin" if target.ours else ""
            yield (
                f"collation {one.locale} of {one.provider}: PostgreSQL {target.version} cannot make it; "
                f"install a PostgreSQL that can (Debian's are built with ICU){other}"
            )


def _encoding(contents: Contents, target: Facts) -> Iterable[str]:
    # A database in UTF8 takes text of every encoding; in SQL_ASCII anything, unconverted.
    if contents.encoding and target.encoding not in ("UTF8", contents.encoding):
        yield (
            f"{target.name}: its encoding {target.encoding} cannot hold all of the dump's {contents.encoding}; "
            "create it with ENCODING 'UTF8' TEMPLATE template0"
        )


def _roles(target: Facts) -> Iterable[str]:
    wanted = [name for name in target.missing_roles if not name.startswith(roles.PREDEFINED)]
    if wanted and not target.may_create_roles:
        yield f"{target.name}: roles of the dump are missing; as somebody who may create roles: {roles.remedy(wanted)}"


def _space(needed: int, free_bytes: int) -> Iterable[str]:
    if needed > free_bytes:
        yield (
            f"disk space: the copy and its clones need about {_size(needed)}, and {_size(free_bytes)} are free; "
            "free some, set TMPDIR to a larger disk, or rehearse with --schema-only"
        )


def _size(size_bytes: int) -> str:
    return f"{size_bytes / 1e9:.1f} GB" if size_bytes >= GB else f"{size_bytes / 1e6:.0f} MB"


def _known(connection: database.Connection, one: Collation) -> bool:
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
        return listed is not None or error.sqlstate not in _UNKNOWN
    return True
