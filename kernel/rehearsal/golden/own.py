"""A golden copy on a throwaway server of our own: made there, or kept in the store from an earlier rehearsal."""

from __future__ import annotations

import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from kernel.errors import DatabaseRefused, DatabaseUnreachable, ServerFailed
from kernel.rehearsal.golden import clone, filling, shared, slot, store, tuning
from kernel.rehearsal.golden.place import Place, administration
from kernel.rehearsal.result import Restore
from kernel.server import programs, throwaway

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from kernel.database import Session
    from kernel.rehearsal.golden.slot import About
    from kernel.rehearsal.golden.store import Store
    from kernel.rehearsal.golden.wish import Restorer, Wish
    from kernel.server.cluster import Server
    from kernel.server.guard import Guard
    from kernel.server.programs import Programs

GOLDEN = "golden"
VARIABLE = "our own server"

# More than any folder in memory has free.
NEVER_IN_MEMORY = 1 << 62

# What a new cluster has: everything else in a kept one is a clone that a killed rehearsal left.
LASTING = ("postgres", "template0", "template1", GOLDEN)


@contextmanager
def opened(wish: Wish, restore: Restorer) -> Iterator[Place]:
    """The golden copy that `wish` describes, from the store where it has one, else by `restore`.

    Raises ProgramsMissing, ServerFailed, RestoreFailed and what `restore` raises. However the block ends, nothing
    stays but what is kept.
    """
    chosen = wish.programs or programs.find(None)
    with ExitStack() as stack:
        kept = _store(wish)
        place = stack.enter_context(_stored(kept, chosen, wish)) if kept else None
        if place is None:
            place = stack.enter_context(_made(kept if wish.keep else None, chosen, wish, restore))
        yield place


def _store(wish: Wish) -> Store | None:
    """The store, or None where there can be none: then nothing is kept, and it is said."""
    if not wish.digest:
        return None
    try:
        return store.opened_store(wish.store)
    except OSError as error:
        wish.say(f"warning: copies of production cannot be kept: {error}")
        return None


@contextmanager
def _stored(kept: Store, chosen: Programs, wish: Wish) -> Iterator[Place | None]:
    """The golden copy from the store, or None; why it is not used is said where there is one."""
    began = time.perf_counter()
    key = store.key(wish.digest, chosen, schema_only=wish.schema_only)
    with ExitStack() as stack:
        folder, why = stack.enter_context(kept.claimed(key))
        if why:
            wish.say(why)
        if folder is None:
            yield None
            return
        slot.mark(folder)
        guard = stack.enter_context(throwaway.guarded(chosen, folder=folder, environ=wish.environ))
        known = slot.about(folder)
        server = _tidy(guard, known, wish)
        if server is None:
            wish.say(f"{folder}: the kept copy of {known.name} does not open as it was put away; it is made again")
            guard.stop()
            kept.remove(folder)
            yield None
            return
        stack.enter_context(_resting(kept, guard, server, known, wish))
        restored = Restore(
            seconds=time.perf_counter() - began,
            bytes=_size(server),
            reused=True,
            warnings=known.warnings,
        )
        yield _place(server, key, restored, known.roles)


@contextmanager
def _made(kept: Store | None, chosen: Programs, wish: Wish, restore: Restorer) -> Iterator[Place]:
    """A golden copy made now, and put into `kept` when that is given and it fits."""
    memory = tuning.memory_bytes()
    with ExitStack() as stack:
        folder = stack.enter_context(kept.making()) if kept else None
        # What lies in memory is missing from it: half is left to the server and to others.
        room_bytes = wish.room_bytes if wish.room_bytes <= memory // 2 else NEVER_IN_MEMORY
        guard = stack.enter_context(
            throwaway.guarded(chosen, folder=folder, room_bytes=room_bytes, environ=wish.environ)
        )
        loading = guard.serve(tuning.loading(memory))
        restored = filling.fill(loading.conninfo, GOLDEN, wish, restore, variable=VARIABLE, begun=lambda _: None)
        with administration(loading.conninfo, variable=VARIABLE) as session:
            roles, digest = shared.roles(session.connection), shared.digest(session.connection)
        guard.stop()
        known = slot.About(
            name=wish.name, seconds=restored.seconds, warnings=restored.warnings, shared=digest, roles=roles
        )
        key = store.key(wish.digest, chosen, schema_only=wish.schema_only)
        if kept and folder:
            _keep(kept, folder, guard, known, key=key, wish=wish)
        server = guard.serve({**tuning.practice(memory), **wish.server_settings})
        if kept and guard.kept:
            stack.enter_context(_resting(kept, guard, server, known, wish))
        yield _place(server, key, restored, roles)


def _keep(kept: Store, folder: Path, guard: Guard, known: About, *, key: str, wish: Wish) -> None:
    """Give a copy that is complete, and whose server is stopped, its name in the store; or say why it has none."""
    if not kept.fits(folder):
        wish.say(f"the copy of {wish.name} is not kept: it is larger than what the store may take")
        return
    slot.describe(folder, known)
    slot.mark(folder)
    try:
        guard.keep(kept.path(key))
    except OSError as error:
        # Another rehearsal, which made the same copy meanwhile, has the name.
        wish.say(f"the copy of {wish.name} is not kept: {error.strerror}")


@contextmanager
def _resting(kept: Store, guard: Guard, server: Server, known: About, wish: Wish) -> Iterator[None]:
    """Put the golden copy away at the end: without clones, with no more log than it needs, and on the disk.

    One in which the rehearsal changed what all databases share is removed instead.
    """
    try:
        yield
    finally:
        folder = guard.cluster.folder
        try:
            with administration(server.conninfo, variable=VARIABLE) as session:
                same = _tidied(session, known)
            guard.serve({**tuning.resting(tuning.memory_bytes()), **wish.server_settings})
            guard.stop()
            why = slot.put_away(folder, guard.programs, kept.account) if same else "roles or tablespaces were changed"
        except (DatabaseUnreachable, DatabaseRefused, ServerFailed) as error:  # it may have crashed
            why = str(error)
        if why:
            wish.say(f"the copy of {known.name} is not kept: {why}")
            guard.stop()
            kept.remove(folder)
        kept.trim()


def _tidy(guard: Guard, known: About, wish: Wish) -> Server | None:
    """Serve a kept copy as it was put away, without what a killed rehearsal left in it; None when that cannot be."""
    try:
        server = guard.serve({**tuning.practice(tuning.memory_bytes()), **wish.server_settings})
        with administration(server.conninfo, variable=VARIABLE) as session:
            return server if _tidied(session, known) and clone.exists(session, GOLDEN) else None
    except (DatabaseUnreachable, DatabaseRefused, ServerFailed):
        return None


def _tidied(session: Session, known: About) -> bool:
    """Drop every clone, and the roles that came with them; whether all that is shared is then as it was."""
    for (name,) in session.connection.execute("SELECT datname FROM pg_database").fetchall():
        if name not in LASTING:
            clone.drop(session, name, force=True)
    shared.drop_other_roles(session.connection, known.roles)
    return shared.digest(session.connection) == known.shared


def _size(server: Server) -> int:
    with administration(server.conninfo, variable=VARIABLE) as session:
        return clone.size_bytes(session, GOLDEN)


def _place(server: Server, key: str, restored: Restore, roles: tuple[str, ...]) -> Place:
    return Place(url=server.conninfo, variable=VARIABLE, golden=GOLDEN, key=key, restored=restored, roles=roles)
