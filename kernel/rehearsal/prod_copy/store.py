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

from kernel.postgres.account import current_account, server_account
from kernel.postgres.cache import cache_folder, programs_cache_key
from kernel.postgres.file_lock import exclusive_file_lock, inheritable_file_lock, is_file_locked
from kernel.postgres.process import run_as_account
from kernel.rehearsal.prod_copy.store_entry import (
    LOCK_FILE,
    folder_size_bytes,
    lock_entry,
    read_entry_info,
    server_is_running,
    was_in_use_at_crash,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kernel.postgres.account import Account
    from kernel.postgres.programs import Programs


ENTRY_FORMAT = 1  # of an entry: raised when what an older version left here can no longer be used
MAX_STORE_BYTES = 20_000_000_000
INCOMPLETE_PREFIX, REMOVED_PREFIX = ".making-", ".gone-"
STORE_LOCK_FILE = ".lock"  # of the store: nobody makes a folder while somebody looks for those that nobody has
PRIVATE_MODE = 0o700


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreEntry:
    """A golden copy in the store, its size on disk, and when it was used last, in seconds of the system's clock."""

    folder: Path
    name: str
    size_bytes: int
    used_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RemovedEntries:
    """What `forget` removed, and what it could not, with the reason: in use, or what the system said."""

    removed: tuple[StoreEntry, ...]
    not_removed: tuple[tuple[StoreEntry, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyStore:
    """The store in `folder`, all of it of `account`."""

    folder: Path
    account: Account

    def entry_folder(self, key: str) -> Path:
        return self.folder / key

    @contextmanager
    def claim_entry(self, key: str) -> Iterator[tuple[Path | None, str]]:
        """An entry that is complete and ours alone for the block; else None, and why, "" when there is none.

        An entry that a crash of the machine made worthless is removed. Raises OSError.
        """
        folder = self.entry_folder(key)
        with lock_entry(folder) as ours:
            if not folder.exists():
                yield None, ""
            elif not ours or server_is_running(folder, self.account):
                yield None, f"{folder}: in use by another rehearsal, so this one makes a copy of its own"
            elif why := self._unusable_reason(folder):
                self.remove_folder(folder)
                yield None, why
            else:
                yield folder, ""

    @contextmanager
    def new_entry_folder(self) -> Iterator[Path]:
        """A new folder for an entry in the making, ours alone; gone after the block unless it was renamed."""
        self._remove_leftovers()
        with ExitStack() as stack:
            with exclusive_file_lock(self.folder / STORE_LOCK_FILE):
                folder = Path(tempfile.mkdtemp(prefix=INCOMPLETE_PREFIX, dir=self.folder))
                stack.callback(self.remove_folder, folder)
                self.account.take_ownership(folder, PRIVATE_MODE)
                stack.enter_context(inheritable_file_lock(folder / LOCK_FILE))
            yield folder

    def fits(self, folder: Path) -> bool:
        """Whether an entry of this size can be kept at all: MOST_BYTES, and half of what would be free without us."""
        return folder_size_bytes(folder) <= self._limit_bytes()

    def trim(self) -> None:
        """Remove what was not used for longest, until the rest is within the limits. What is in use stays."""
        entries = self.entries()
        excess = sum(entry.size_bytes for entry in entries) - self._limit_bytes()
        for entry in sorted(entries, key=lambda one: one.used_at):
            if excess <= 0:
                return
            if not self._remove_entry(entry):
                excess -= entry.size_bytes

    def remove_unused(self) -> RemovedEntries:
        """Remove every entry that is not in use."""
        self._remove_leftovers()
        removed, left = [], []
        for entry in self.entries():
            if why := self._remove_entry(entry):
                left.append((entry, why))
            else:
                removed.append(entry)
        return RemovedEntries(removed=tuple(removed), not_removed=tuple(left))

    def entries(self) -> tuple[StoreEntry, ...]:
        """Every complete entry, by name."""
        found = []
        for folder in sorted(self.folder.iterdir()):
            with suppress(FileNotFoundError):  # somebody else removed it meanwhile
                status = folder.lstat()
                if stat.S_ISDIR(status.st_mode) and not folder.name.startswith("."):
                    name = read_entry_info(folder).name
                    found.append(
                        StoreEntry(
                            folder=folder, name=name, size_bytes=folder_size_bytes(folder), used_at=status.st_mtime
                        )
                    )
        return tuple(found)

    def remove_folder(self, folder: Path) -> str:
        """Remove a folder of the store; what went wrong, "" for nothing."""
        return run_as_account(self.account, "/bin/rm", "-rf", "--", folder).stdout.strip()

    def _remove_entry(self, entry: StoreEntry) -> str:
        """Remove an entry unless somebody uses it; why not, "" when it is gone."""
        with lock_entry(entry.folder) as ours:
            if not ours or server_is_running(entry.folder, self.account):
                return "in use"
            # By another name first: an entry that is half removed must not be found.
            gone = entry.folder.with_name(f"{REMOVED_PREFIX}{entry.folder.name}")
            try:
                entry.folder.rename(gone)
            except OSError as error:
                return str(error.strerror)
            return self.remove_folder(gone)

    def _unusable_reason(self, folder: Path) -> str:
        """Why an entry, whose lock we hold, cannot be used; "" when it can. Waits for a server to end."""
        for path in (folder, folder / "data"):
            status = path.lstat()
            if status.st_uid != self.account.uid or status.st_mode != stat.S_IFDIR | PRIVATE_MODE:
                return f"{folder}: {path} is not a private folder of {self.account.name}; it is made again"
        if was_in_use_at_crash(folder):
            return f"{folder}: the machine went down while it was in use; it is made again"
        return ""

    def _remove_leftovers(self) -> None:
        """Remove what killed processes left half made or half removed."""
        with exclusive_file_lock(self.folder / STORE_LOCK_FILE):
            for folder in self.folder.iterdir():
                left = folder.name.startswith(INCOMPLETE_PREFIX) and not is_file_locked(folder / LOCK_FILE)
                if folder.name.startswith(REMOVED_PREFIX) or (left and not server_is_running(folder, self.account)):
                    self.remove_folder(folder)

    def _limit_bytes(self) -> int:
        held = sum(folder_size_bytes(folder) for folder in self.folder.iterdir())
        return min(MAX_STORE_BYTES, (shutil.disk_usage(self.folder).free + held) // 2)


def open_store(place: Path | None = None) -> CopyStore:
    """The store, made if missing, in the user's cache or in `place`. Raises OSError, PermissionError when not ours."""
    account = server_account(Path("/"))
    folder = (place or cache_folder()) / f"golden-{account.uid}"
    current_account().make_folders(folder.parent)
    with suppress(FileExistsError):
        folder.mkdir(mode=PRIVATE_MODE)
        account.take_ownership(folder, PRIVATE_MODE)
    status = folder.lstat()
    if status.st_uid != account.uid or status.st_mode != stat.S_IFDIR | PRIVATE_MODE:
        raise PermissionError(f"{folder}: not a private folder of {account.name}; remove it")
    return CopyStore(folder=folder, account=account)


def store_has_entries() -> bool:
    """Whether any copy is kept; nothing is made to find out."""
    account = server_account(Path("/"))
    try:
        return any(not one.name.startswith(".") for one in (cache_folder() / f"golden-{account.uid}").iterdir())
    except OSError:
        return False


def entry_key(digest: str, programs: Programs, *, schema_only: bool) -> str:
    """The name of an entry: of the same dump, restored in the same way by the same build of PostgreSQL."""
    return f"{programs_cache_key(programs)}-{digest[:32]}-{'schema' if schema_only else 'full'}-{ENTRY_FORMAT}"
