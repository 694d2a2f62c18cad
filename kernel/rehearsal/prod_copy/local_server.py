"""A copy on a local throwaway server: restored now, or kept in the store by an earlier rehearsal."""

from __future__ import annotations

import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from kernel.errors import DatabaseRefused, DatabaseUnreachable, ServerFailed
from kernel.postgres.programs import find_programs
from kernel.postgres.throwaway import open_watched_cluster
from kernel.rehearsal.prod_copy.copy import ProdCopy
from kernel.rehearsal.prod_copy.databases import (
    create_empty_database,
    database_exists,
    database_size_bytes,
    drop_database,
    fill_template_database,
    open_admin_session,
)
from kernel.rehearsal.prod_copy.server_globals import digest_globals, drop_other_roles, list_roles
from kernel.rehearsal.prod_copy.server_settings import loading_settings, rehearsal_settings, storage_settings
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
    from contextlib import AbstractContextManager
    from pathlib import Path

    from kernel.db.connection import Session
    from kernel.postgres.cluster import Server
    from kernel.postgres.programs import Programs
    from kernel.postgres.watchdog import WatchedCluster
    from kernel.rehearsal.prod_copy.model import CopyRequest, Restorer
    from kernel.rehearsal.prod_copy.store import CopyStore


TEMPLATE_NAME = "golden"  # kept copies of earlier versions have this name
SERVER_NAME = "the throwaway server"

# Every other database of a stored server is a clone that a killed rehearsal left.
PERMANENT_DATABASES = ("postgres", "template0", "template1", TEMPLATE_NAME)

# More than any folder in memory has free: the data then lies on disk.
_NEVER_IN_MEMORY_BYTES = 1 << 62


@contextmanager
def open_local_copy(request: CopyRequest, restore: Restorer) -> Iterator[ProdCopy]:
    """The copy of a dump, from the store if it has one, else restored now.

    Raises ProgramsMissing, ServerFailed, RestoreFailed and what `restore` raises. Server and data are gone after the
    block, except what is kept.
    """
    programs = request.programs or find_programs(None)
    with ExitStack() as stack:
        store = _open_store_or_warn(request)
        copy = stack.enter_context(_open_stored_copy(store, programs, request)) if store else None
        if copy is None:
            store = store if request.target.keep else None
            copy = stack.enter_context(_restore_copy(store, programs, request, restore))
        yield copy


def _open_store_or_warn(request: CopyRequest) -> CopyStore | None:
    """The store; None for a dump without a digest, and with a warning where no store can be made."""
    if not request.digest:
        return None
    try:
        return open_store(request.target.store_folder)
    except OSError as error:
        request.print_line(f"warning: copies of production cannot be kept: {error}")
        return None


@contextmanager
def _open_stored_copy(store: CopyStore, programs: Programs, request: CopyRequest) -> Iterator[ProdCopy | None]:
    """The copy from the store, or None; prints why a stored copy is not used."""
    key = entry_key(request.digest, programs, variant=request.variant)
    with ExitStack() as stack:
        claim = store.claim_entry(key, request.print_line, to_keep=request.target.keep)
        folder, reason = stack.enter_context(claim)
        began = time.perf_counter()
        if reason:
            request.print_line(reason)
        if folder is None:
            yield None
            return
        flag_in_use(folder)
        cluster = stack.enter_context(open_watched_cluster(programs, folder=folder))
        info = read_entry_info(folder)
        server = _start_stored_server(cluster, info, request)
        if server is None:
            request.print_line(f"{folder}: the kept copy of {info.name} cannot be opened; it is restored again")
            cluster.stop()
            store.remove_folder(folder)
            yield None
            return
        stack.enter_context(_return_to_store(store, cluster, server, info, request))
        with _open_admin_session(server) as session:
            size_bytes = database_size_bytes(session, TEMPLATE_NAME)
        seconds = time.perf_counter() - began
        restored = Restore(seconds=seconds, size_bytes=size_bytes, reused=True, warnings=info.warnings)
        yield _local_copy(server, key, restored, info)


@contextmanager
def _restore_copy(
    store: CopyStore | None, programs: Programs, request: CopyRequest, restore: Restorer
) -> Iterator[ProdCopy]:
    """A copy restored now, and put into the store when one is given and has room for it."""
    with ExitStack() as stack:
        folder = stack.enter_context(store.new_entry_folder()) if store else None
        # Data in memory takes memory from the server and from others: half of it stays free.
        in_memory = request.room_bytes <= request.memory_bytes // 2
        room_bytes = request.room_bytes if in_memory else _NEVER_IN_MEMORY_BYTES
        cluster = stack.enter_context(open_watched_cluster(programs, folder=folder, room_bytes=room_bytes))
        server = cluster.serve(loading_settings(request.memory_bytes))
        with _open_admin_session(server) as session:
            create_empty_database(session, TEMPLATE_NAME, request.locale)
        restored = fill_template_database(server.conninfo, TEMPLATE_NAME, request, restore, variable=SERVER_NAME)
        with _open_admin_session(server) as session:
            info = EntryInfo(
                name=request.name,
                warnings=restored.warnings,
                globals_digest=digest_globals(session.connection),
                roles=list_roles(session.connection),
            )
        cluster.stop()
        key = entry_key(request.digest, programs, variant=request.variant)
        if store and folder:
            _keep_in_store(store, folder, cluster, info, key=key, request=request)
        server = cluster.serve(rehearsal_settings(request.memory_bytes))
        if store and cluster.kept:
            stack.enter_context(_return_to_store(store, cluster, server, info, request))
        yield _local_copy(server, key, restored, info)


def _keep_in_store(
    store: CopyStore, folder: Path, cluster: WatchedCluster, info: EntryInfo, *, key: str, request: CopyRequest
) -> None:
    """Rename the data of a stopped server to its entry in the store; print why it is not kept otherwise."""
    if not store.fits(folder):
        request.print_line(f"the copy of {request.name} is not kept: it is larger than what the store may take")
        return
    write_entry_info(folder, info)
    flag_in_use(folder)
    try:
        cluster.keep_data_as(store.entry_folder(key))
    except OSError as error:  # another rehearsal restored the same dump meanwhile, and has the name
        request.print_line(f"the copy of {request.name} is not kept: {error.strerror}")


@contextmanager
def _return_to_store(
    store: CopyStore, cluster: WatchedCluster, server: Server, info: EntryInfo, request: CopyRequest
) -> Iterator[None]:
    """After the block, write the copy to disk without clones and without spare WAL.

    A copy whose roles or tablespaces the rehearsal changed is removed instead.
    """
    try:
        yield
    finally:
        folder = cluster.cluster.folder
        reason = "roles or tablespaces were changed"
        try:
            with _open_admin_session(server) as session:
                unchanged = _drop_clones_and_roles(session, info)
            cluster.serve(storage_settings(request.memory_bytes))
            cluster.stop()
            if unchanged:
                reason = sync_and_release(folder, cluster.programs, store.account)
        except (DatabaseUnreachable, DatabaseRefused, ServerFailed) as error:  # the server may have crashed
            reason = str(error)
        if reason:
            request.print_line(f"the copy of {info.name} is not kept: {reason}")
            cluster.stop()
            store.remove_folder(folder)
        store.trim()


def _start_stored_server(cluster: WatchedCluster, info: EntryInfo, request: CopyRequest) -> Server | None:
    """Serve a stored copy without what a killed rehearsal left in it; None when it is not as it was stored."""
    try:
        server = cluster.serve(rehearsal_settings(request.memory_bytes))
        with _open_admin_session(server) as session:
            intact = _drop_clones_and_roles(session, info) and database_exists(session, TEMPLATE_NAME)
    except (DatabaseUnreachable, DatabaseRefused, ServerFailed):
        return None
    return server if intact else None


def _drop_clones_and_roles(session: Session, info: EntryInfo) -> bool:
    """Drop every clone and the roles of its migrations; return whether everything shared is as it was stored."""
    for (name,) in session.connection.execute("SELECT datname FROM pg_database").fetchall():
        if name not in PERMANENT_DATABASES:
            drop_database(session, name, force=True)
    drop_other_roles(session.connection, info.roles)
    return digest_globals(session.connection) == info.globals_digest


def _open_admin_session(server: Server) -> AbstractContextManager[Session]:
    return open_admin_session(server.conninfo, variable=SERVER_NAME)


def _local_copy(server: Server, key: str, restored: Restore, info: EntryInfo) -> ProdCopy:
    return ProdCopy(
        server_url=server.conninfo,
        variable=SERVER_NAME,
        template=TEMPLATE_NAME,
        key=key,
        restored=restored,
        programs_origin=server.programs.origin,
        roles=info.roles,
    )
