"""The store of golden copies: folders of a server's data, kept so that the next rehearsal only clones.

An entry has its name when it is complete; while it is made it has another, and is thrown away if that comes to
nothing. Whoever makes or uses an entry holds its lock, a file in it, which goes with the process. All of it belongs to
the account that the servers run as and is closed to others, for it holds production's rows. What that account could
have changed is handled as that account.
"""

from __future__ import annotations

import shutil
import stat
import tempfile
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kernel.rehearsal.golden import slot
from kernel.server import cache, locks, process
from kernel.server.account import ourselves, serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kernel.server.account import Account
    from kernel.server.programs import Programs

FORMAT = 1  # of an entry: raised when what an older version left here can no longer be used
MOST_BYTES = 20_000_000_000
MAKING, GONE = ".making-", ".gone-"
SWEEPING = ".lock"  # of the store: nobody makes a folder while somebody looks for those that nobody has
PRIVATE = 0o700


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A golden copy in the store, its size on disk, and when it was used last, in seconds of the system's clock."""

    folder: Path
    name: str
    bytes: int
    used_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Forgotten:
    """What `forget` removed, and what it could not, with the reason: in use, or what the system said."""

    removed: tuple[Entry, ...]
    left: tuple[tuple[Entry, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """The store in `folder`, all of it of `account`."""

    folder: Path
    account: Account

    def path(self, key: str) -> Path:
        return self.folder / key

    @contextmanager
    def claimed(self, key: str) -> Iterator[tuple[Path | None, str]]:
        """An entry that is complete and ours alone for the block; else None, and why, "" when there is none.

        An entry that a crash of the machine made worthless is removed. Raises OSError.
        """
        folder = self.path(key)
        with slot.locked(folder) as ours:
            if not folder.exists():
                yield None, ""
            elif not ours or slot.serving(folder, self.account):
                yield None, f"{folder}: in use by another rehearsal, so this one makes a copy of its own"
            elif why := self._worthless(folder):
                self.remove(folder)
                yield None, why
            else:
                yield folder, ""

    @contextmanager
    def making(self) -> Iterator[Path]:
        """A new folder for an entry in the making, ours alone; gone after the block unless it was renamed."""
        self._sweep()
        with ExitStack() as stack:
            with locks.exclusive(self.folder / SWEEPING):
                folder = Path(tempfile.mkdtemp(prefix=MAKING, dir=self.folder))
                stack.callback(self.remove, folder)
                self.account.own(folder, PRIVATE)
                stack.enter_context(locks.inheritable(folder / slot.LOCK))
            yield folder

    def fits(self, folder: Path) -> bool:
        """Whether an entry of this size can be kept at all: MOST_BYTES, and half of what would be free without us."""
        return slot.size_bytes(folder) <= self._limit()

    def trim(self) -> None:
        """Remove what was not used for longest, until the rest is within the limits. What is in use stays."""
        entries = self.entries()
        excess = sum(entry.bytes for entry in entries) - self._limit()
        for entry in sorted(entries, key=lambda one: one.used_at):
            if excess <= 0:
                return
            if not self._removed(entry):
                excess -= entry.bytes

    def forget(self) -> Forgotten:
        """Remove every entry that is not in use."""
        self._sweep()
        removed, left = [], []
        for entry in self.entries():
            if why := self._removed(entry):
                left.append((entry, why))
            else:
                removed.append(entry)
        return Forgotten(removed=tuple(removed), left=tuple(left))

    def entries(self) -> tuple[Entry, ...]:
        """Every complete entry, by name."""
        found = []
        for folder in sorted(self.folder.iterdir()):
            with suppress(FileNotFoundError):  # somebody else removed it meanwhile
                status = folder.lstat()
                if stat.S_ISDIR(status.st_mode) and not folder.name.startswith("."):
                    name = slot.about(folder).name
                    found.append(
                        Entry(folder=folder, name=name, bytes=slot.size_bytes(folder), used_at=status.st_mtime)
                    )
        return tuple(found)

    def remove(self, folder: Path) -> str:
        """Remove a folder of the store; what went wrong, "" for nothing."""
        return process.run(self.account, "/bin/rm", "-rf", "--", folder).stdout.strip()

    def _removed(self, entry: Entry) -> str:
        """Remove an entry unless somebody uses it; why not, "" when it is gone."""
        with slot.locked(entry.folder) as ours:
            if not ours or slot.serving(entry.folder, self.account):
                return "in use"
            # By another name first: an entry that is half removed must not be found.
            gone = entry.folder.with_name(f"{GONE}{entry.folder.name}")
            try:
                entry.folder.rename(gone)
            except OSError as error:
                return str(error.strerror)
            return self.remove(gone)

    def _worthless(self, folder: Path) -> str:
        """Why an entry, whose lock we hold, cannot be used; "" when it can. Waits for a server to end."""
        for path in (folder, folder / "data"):
            status = path.lstat()
            if status.st_uid != self.account.uid or status.st_mode != stat.S_IFDIR | PRIVATE:
                return f"{folder}: {path} is not a private folder of {self.account.name}; it is made again"
        if slot.lost(folder):
            return f"{folder}: the machine went down while it was in use; it is made again"
        return ""

    def _sweep(self) -> None:
        """Remove what killed processes left half made or half removed."""
        with locks.exclusive(self.folder / SWEEPING):
            for folder in self.folder.iterdir():
                left = folder.name.startswith(MAKING) and not locks.held(folder / slot.LOCK)
                if folder.name.startswith(GONE) or (left and not slot.serving(folder, self.account)):
                    self.remove(folder)

    def _limit(self) -> int:
        held = sum(slot.size_bytes(folder) for folder in self.folder.iterdir())
        return min(MOST_BYTES, (shutil.disk_usage(self.folder).free + held) // 2)


def opened_store(place: Path | None = None) -> Store:
    """The store, made if missing, in the user's cache or in `place`. Raises OSError, PermissionError when not ours."""
    account = serving(Path("/"))
    folder = (place or cache.folder()) / f"golden-{account.uid}"
    ourselves().make(folder.parent)
    with suppress(FileExistsError):
        folder.mkdir(mode=PRIVATE)
        account.own(folder, PRIVATE)
    status = folder.lstat()
    if status.st_uid != account.uid or status.st_mode != stat.S_IFDIR | PRIVATE:
        raise PermissionError(f"{folder}: not a private folder of {account.name}; remove it")
    return Store(folder=folder, account=account)


def holds_any() -> bool:
    """Whether any copy is kept; nothing is made to find out."""
    account = serving(Path("/"))
    try:
        return any(not one.name.startswith(".") for one in (cache.folder() / f"golden-{account.uid}").iterdir())
    except OSError:
        return False


def key(digest: str, programs: Programs, *, schema_only: bool) -> str:
    """The name of an entry: of the same dump, restored in the same way by the same build of PostgreSQL."""
    return f"{cache.key(programs)}-{digest[:32]}-{'schema' if schema_only else 'full'}-{FORMAT}"
