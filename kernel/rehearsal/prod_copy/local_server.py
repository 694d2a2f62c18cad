"""A golden copy on a throwaway server of our own: made there, or kept in the store from an earlier rehearsal."""

from __future__ import annotations

import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql

from kernel.errors import DatabaseRefused, DatabaseUnreachable, ServerFailed
from kernel.postgres.programs import find_programs
from kernel.postgres.throwaway import open_watched_cluster
from kernel.rehearsal.prod_copy.databases import (
    create_template_database,
    database_exists,
    database_size_bytes,
    drop_database,
)
from kernel.rehearsal.prod_copy.model import CopyServer, open_admin_session
from kernel.rehearsal.prod_copy.server_settings import (
    available_memory_bytes,
    loading_settings,
    rehearsal_settings,
    storage_settings,
)
from kernel.rehearsal.prod_copy.store import entry_key, open_store
from kernel.rehearsal.prod_copy.store_entry import (
    EntryInfo,
    flag_in_use,
    read_entry_info,
    sync_and_release,
    write_entry_info,
)
from kernel.rehearsal.result import Restore

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from kernel.db.connection import Connection, Session
    from kernel.postgres.cluster import Server
    from kernel.postgres.programs import Programs
    from kernel.postgres.watchdog import WatchedCluster
    from kernel.rehearsal.prod_copy.model import CopyRequest, Restorer
    from kernel.rehearsal.prod_copy.store import CopyStore


# What the databases of one server have in common: roles, their memberships and settings, tablespaces.
#
# A migration that runs on a clone changes them for all clones. Roles that it made are dropped before the next clone is
# made; other changes cannot be undone, and are told apart by a digest.


_ROLES_QUERY = "SELECT rolname FROM pg_roles WHERE rolname !~ '^pg_' ORDER BY rolname"
# Rows as they are, OIDs and all: the server stays the same from first to last.
_GLOBALS_DIGEST_QUERY = """
SELECT md5(string_agg(line, E'\\n' ORDER BY line COLLATE "C")) FROM (
    SELECT 'role ' || to_jsonb(r)::text FROM pg_authid r
    UNION ALL SELECT 'member ' || to_jsonb(m)::text FROM pg_auth_members m
    UNION ALL SELECT 'setting ' || to_jsonb(s)::text FROM pg_db_role_setting s
    UNION ALL SELECT 'tablespace ' || to_jsonb(t)::text FROM pg_tablespace t
    UNION ALL SELECT 'comment ' || to_jsonb(d)::text FROM pg_shdescription d
    UNION ALL SELECT 'database ' || datname || ' ' || datdba || ' ' || coalesce(datacl::text, '') FROM pg_database
) AS lines (line)
"""


def list_roles(connection: Connection) -> tuple[str, ...]:
    """Every role but PostgreSQL's own, by name."""
    return tuple(name for (name,) in connection.execute(_ROLES_QUERY))


def digest_globals(connection: Connection) -> str:
    """The same while nothing that is shared has changed, for a superuser, with no clone there."""
    row = connection.execute(_GLOBALS_DIGEST_QUERY).fetchone()
    return str(row and row[0])


def drop_other_roles(connection: Connection, known: tuple[str, ...]) -> tuple[str, ...]:
    """Drop every role but these; the names of those that had to stay because a database has something of theirs."""
    left = []
    for name in list_roles(connection):
        if name not in known:
            try:
                connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))
            except psycopg.errors.DependentObjectsStillExist:
                left.append(name)
    return tuple(left)


TEMPLATE_NAME = "golden"
SERVER_NAME = "our own server"

# More than any folder in memory has free.
NEVER_IN_MEMORY_BYTES = 1 << 62

# What a new cluster has: everything else in a kept one is a clone that a killed rehearsal left.
PERMANENT_DATABASES = ("postgres", "template0", "template1", TEMPLATE_NAME)


@contextmanager
def open_local_template(wish: CopyRequest, restore: Restorer) -> Iterator[CopyServer]:
    """The golden copy that `wish` describes, from the store where it has one, else by `restore`.

    Raises ProgramsMissing, ServerFailed, RestoreFailed and what `restore` raises. However the block ends, nothing
    stays but what is kept.
    """
    chosen = wish.programs or find_programs(None)
    with ExitStack() as stack:
        kept = _open_store_or_warn(wish)
        place = stack.enter_context(_open_stored_template(kept, chosen, wish)) if kept else None
        if place is None:
            place = stack.enter_context(_create_template(kept if wish.keep else None, chosen, wish, restore))
        yield place


def _open_store_or_warn(wish: CopyRequest) -> CopyStore | None:
    """The store, or None where there can be none: then nothing is kept, and it is said."""
    if not wish.digest:
        return None
    try:
        return open_store(wish.store_folder)
    except OSError as error:
        wish.print_line(f"warning: copies of production cannot be kept: {error}")
        return None


@contextmanager
def _open_stored_template(kept: CopyStore, chosen: Programs, wish: CopyRequest) -> Iterator[CopyServer | None]:
    """The golden copy from the store, or None; why it is not used is said where there is one."""
    began = time.perf_counter()
    key = entry_key(wish.digest, chosen, schema_only=wish.schema_only)
    with ExitStack() as stack:
        folder, why = stack.enter_context(kept.claim_entry(key))
        if why:
            wish.print_line(why)
        if folder is None:
            yield None
            return
        flag_in_use(folder)
        guard = stack.enter_context(open_watched_cluster(chosen, folder=folder, environ=wish.environ))
        known = read_entry_info(folder)
        server = _start_stored_server(guard, known, wish)
        if server is None:
            wish.print_line(
                f"{folder}: the kept copy of {known.name} does not open as it was put away; it is made again"
            )
            guard.stop()
            kept.remove_folder(folder)
            yield None
            return
        stack.enter_context(_return_to_store(kept, guard, server, known, wish))
        restored = Restore(
            seconds=time.perf_counter() - began,
            size_bytes=_template_size_bytes(server),
            reused=True,
            warnings=known.warnings,
        )
        yield _copy_server(server, key, restored, known.roles)


@contextmanager
def _create_template(
    kept: CopyStore | None, chosen: Programs, wish: CopyRequest, restore: Restorer
) -> Iterator[CopyServer]:
    """A golden copy made now, and put into `kept` when that is given and it fits."""
    memory = available_memory_bytes()
    with ExitStack() as stack:
        folder = stack.enter_context(kept.new_entry_folder()) if kept else None
        # What lies in memory is missing from it: half is left to the server and to others.
        room_bytes = wish.room_bytes if wish.room_bytes <= memory // 2 else NEVER_IN_MEMORY_BYTES
        guard = stack.enter_context(
            open_watched_cluster(chosen, folder=folder, room_bytes=room_bytes, environ=wish.environ)
        )
        loading = guard.serve(loading_settings(memory))
        restored = create_template_database(
            loading.conninfo, TEMPLATE_NAME, wish, restore, variable=SERVER_NAME, begun=lambda _: None
        )
        with open_admin_session(loading.conninfo, variable=SERVER_NAME) as session:
            roles, digest = list_roles(session.connection), digest_globals(session.connection)
        guard.stop()
        known = EntryInfo(
            name=wish.name, seconds=restored.seconds, warnings=restored.warnings, shared=digest, roles=roles
        )
        key = entry_key(wish.digest, chosen, schema_only=wish.schema_only)
        if kept and folder:
            _keep_in_store(kept, folder, guard, known, key=key, wish=wish)
        server = guard.serve({**rehearsal_settings(memory), **wish.server_settings})
        if kept and guard.kept:
            stack.enter_context(_return_to_store(kept, guard, server, known, wish))
        yield _copy_server(server, key, restored, roles)


def _keep_in_store(
    kept: CopyStore, folder: Path, guard: WatchedCluster, known: EntryInfo, *, key: str, wish: CopyRequest
) -> None:
    """Give a copy that is complete, and whose server is stopped, its name in the store; or say why it has none."""
    if not kept.fits(folder):
        wish.print_line(f"the copy of {wish.name} is not kept: it is larger than what the store may take")
        return
    write_entry_info(folder, known)
    flag_in_use(folder)
    try:
        guard.keep_data_as(kept.entry_folder(key))
    except OSError as error:
        # Another rehearsal, which made the same copy meanwhile, has the name.
        wish.print_line(f"the copy of {wish.name} is not kept: {error.strerror}")


@contextmanager
def _return_to_store(
    kept: CopyStore, guard: WatchedCluster, server: Server, known: EntryInfo, wish: CopyRequest
) -> Iterator[None]:
    """Put the golden copy away at the end: without clones, with no more log than it needs, and on the disk.

    One in which the rehearsal changed what all databases share is removed instead.
    """
    try:
        yield
    finally:
        folder = guard.cluster.folder
        try:
            with open_admin_session(server.conninfo, variable=SERVER_NAME) as session:
                same = _drop_clones_and_roles(session, known)
            guard.serve({**storage_settings(available_memory_bytes()), **wish.server_settings})
            guard.stop()
            why = (
                sync_and_release(folder, guard.programs, kept.account) if same else "roles or tablespaces were changed"
            )
        except (DatabaseUnreachable, DatabaseRefused, ServerFailed) as error:  # it may have crashed
            why = str(error)
        if why:
            wish.print_line(f"the copy of {known.name} is not kept: {why}")
            guard.stop()
            kept.remove_folder(folder)
        kept.trim()


def _start_stored_server(guard: WatchedCluster, known: EntryInfo, wish: CopyRequest) -> Server | None:
    """Serve a kept copy as it was put away, without what a killed rehearsal left in it; None when that cannot be."""
    try:
        server = guard.serve({**rehearsal_settings(available_memory_bytes()), **wish.server_settings})
        with open_admin_session(server.conninfo, variable=SERVER_NAME) as session:
            return (
                server if _drop_clones_and_roles(session, known) and database_exists(session, TEMPLATE_NAME) else None
            )
    except (DatabaseUnreachable, DatabaseRefused, ServerFailed):
        return None


def _drop_clones_and_roles(session: Session, known: EntryInfo) -> bool:
    """Drop every clone, and the roles that came with them; whether all that is shared is then as it was."""
    for (name,) in session.connection.execute("SELECT datname FROM pg_database").fetchall():
        if name not in PERMANENT_DATABASES:
            drop_database(session, name, force=True)
    drop_other_roles(session.connection, known.roles)
    return digest_globals(session.connection) == known.shared


def _template_size_bytes(server: Server) -> int:
    with open_admin_session(server.conninfo, variable=SERVER_NAME) as session:
        return database_size_bytes(session, TEMPLATE_NAME)


def _copy_server(server: Server, key: str, restored: Restore, roles: tuple[str, ...]) -> CopyServer:
    return CopyServer(
        url=server.conninfo, variable=SERVER_NAME, template=TEMPLATE_NAME, key=key, restored=restored, roles=roles
    )
