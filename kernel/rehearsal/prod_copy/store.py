"""The store of copies: data folders of local servers, kept so that the next rehearsal of a dump only clones.

An entry gets its name when it is complete; an incomplete one has another name and is removed if the restore fails. The
process that creates or uses an entry holds its lock, a file in it, until the process ends. The store holds production's
rows: it belongs to the account that the servers run as, is closed to other accounts, and files that this account could
have changed are handled as that account.
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
from kernel.postgres.file_lock import file_lock, is_file_locked, remove_unlocked_file
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
    from collections.abc import Callable, Iterator

    from kernel.postgres.account import Account
    from kernel.postgres.programs import Programs


ENTRY_FORMAT = 1  # raised when this version cannot use the entries of earlier versions
MAX_STORE_BYTES = 20_000_000_000
INCOMPLETE_PREFIX, REMOVED_PREFIX = ".making-", ".gone-"
STORE_LOCK_FILE = ".lock"  # keeps the search for abandoned folders away from a folder that is not locked yet
PRIVATE_MODE = 0o700


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreEntry:
    """A copy in the store: the `name` of its dump, and its last use in seconds of the system's clock."""

    folder: Path
    name: str
    size_bytes: int
    used_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RemovedEntries:
    """The entries that were removed, and (entry, reason) for those that were not."""

    removed: tuple[StoreEntry, ...]
    not_removed: tuple[tuple[StoreEntry, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyStore:
    """The store in `folder`, which belongs to `account`."""

    folder: Path
    account: Account

    def entry_folder(self, key: str) -> Path:
        return self.folder / key

    @contextmanager
    def claim_entry(
        self, key: str, print_line: Callable[[str], None], *, to_keep: bool
    ) -> Iterator[tuple[Path | None, str]]:
        """Yield the folder of a complete entry, locked for the block; else None and the reason, "" without an entry.

        With `to_keep` the block may create the entry: it waits while another process does that, or uses the entry, and
        prints a line. An entry that is damaged is removed. Raises OSError.
        """
        folder = self.entry_folder(key)

        def before_wait() -> None:
            print_line("waiting for another rehearsal of the same dump, to use the copy that it keeps")

        with ExitStack() as stack:
            if to_keep:
                keeping = self._keeping_lock(key)
                stack.enter_context(file_lock(keeping, before_wait=before_wait))
            held = stack.enter_context(lock_entry(folder, wait=to_keep, before_wait=before_wait))
            if not folder.exists():
                yield None, ""
            elif not held or server_is_running(folder, self.account):
                yield None, f"{folder}: in use by another rehearsal, so this one makes a copy of its own"
            elif reason := self._unusable_reason(folder):
                self.remove_folder(folder)
                yield None, reason
            else:
                yield folder, ""

    @contextmanager
    def new_entry_folder(self) -> Iterator[Path]:
        """A new locked folder for an incomplete entry; it is removed after the block unless it was renamed."""
        self._remove_abandoned()
        with ExitStack() as stack:
            with file_lock(self.folder / STORE_LOCK_FILE):
                folder = Path(tempfile.mkdtemp(prefix=INCOMPLETE_PREFIX, dir=self.folder))
                stack.callback(self.remove_folder, folder)
                self.account.take_ownership(folder, PRIVATE_MODE)
                stack.enter_context(file_lock(folder / LOCK_FILE, wait=False))
            yield folder

    def fits(self, folder: Path) -> bool:
        """Whether a folder is within the store's limits: 20 GB, and half of the disk space that is free without it."""
        return folder_size_bytes(folder) <= self._limit_bytes()

    def trim(self) -> None:
        """Remove the least recently used entries until the rest is within the limits. Entries in use stay."""
        entries = self.entries()
        excess = sum(entry.size_bytes for entry in entries) - self._limit_bytes()
        for entry in sorted(entries, key=lambda entry: entry.used_at):
            if excess <= 0:
                return
            if not self._remove_entry(entry):
                excess -= entry.size_bytes

    def remove_unused(self) -> RemovedEntries:
        """Remove every entry that is not in use. Raises OSError."""
        self._remove_abandoned()
        reasons = [(entry, self._remove_entry(entry)) for entry in self.entries()]
        return RemovedEntries(
            removed=tuple(entry for entry, reason in reasons if not reason),
            not_removed=tuple((entry, reason) for entry, reason in reasons if reason),
        )

    def entries(self) -> tuple[StoreEntry, ...]:
        """Every complete entry, by name."""
        found = []
        for folder in sorted(self.folder.iterdir()):
            with suppress(FileNotFoundError):  # another process removed it meanwhile
                status = folder.lstat()
                if stat.S_ISDIR(status.st_mode) and not folder.name.startswith("."):
                    name, size_bytes = read_entry_info(folder).name, folder_size_bytes(folder)
                    found.append(StoreEntry(folder=folder, name=name, size_bytes=size_bytes, used_at=status.st_mtime))
        return tuple(found)

    def remove_folder(self, folder: Path) -> str:
        """Remove a folder of the store; return the error message, or ""."""
        return run_as_account(self.account, "/bin/rm", "-rf", "--", folder).stdout.strip()

    def _keeping_lock(self, key: str) -> Path:
        """The file that a process locks to create the entry, or to wait for it."""
        return self.folder / f".{key}{STORE_LOCK_FILE}"

    def _remove_entry(self, entry: StoreEntry) -> str:
        """Remove an entry that is not in use; return the reason why it could not be removed, or ""."""
        with lock_entry(entry.folder) as held:
            if not held or server_is_running(entry.folder, self.account):
                return "in use"
            # Rename it first: an entry that is half removed must not be found.
            renamed = entry.folder.with_name(f"{REMOVED_PREFIX}{entry.folder.name}")
            try:
                entry.folder.rename(renamed)
            except OSError as error:
                return str(error.strerror)
            remove_unlocked_file(self._keeping_lock(entry.folder.name))
            return self.remove_folder(renamed)

    def _unusable_reason(self, folder: Path) -> str:
        """Why a locked entry cannot be used, or ""."""
        for path in (folder, folder / "data"):
            if not _is_private_folder(path, self.account):
                return f"{folder}: {path} is not a private folder of {self.account.name}; it is restored again"
        if was_in_use_at_crash(folder):
            return f"{folder}: the machine went down while it was in use; it is restored again"
        return ""

    def _remove_abandoned(self) -> None:
        """Remove the incomplete and half removed folders of killed processes, and locks of entries that are gone."""
        with file_lock(self.folder / STORE_LOCK_FILE):
            for lock in self.folder.glob(f".?*{STORE_LOCK_FILE}"):
                if not self.entry_folder(lock.name[1 : -len(STORE_LOCK_FILE)]).exists():
                    remove_unlocked_file(lock)
            for folder in self.folder.iterdir():
                abandoned = folder.name.startswith(INCOMPLETE_PREFIX) and not is_file_locked(folder / LOCK_FILE)
                if folder.name.startswith(REMOVED_PREFIX) or (
                    abandoned and not server_is_running(folder, self.account)
                ):
                    self.remove_folder(folder)

    def _limit_bytes(self) -> int:
        used = sum(folder_size_bytes(folder) for folder in self.folder.iterdir())
        return min(MAX_STORE_BYTES, (shutil.disk_usage(self.folder).free + used) // 2)


def open_store(parent: Path | None = None) -> CopyStore:
    """The store in the user's cache or in `parent`, created if missing.

    Raises OSError; PermissionError when its folder is not private to the account of the servers.
    """
    account = server_account(Path("/"))
    folder = _store_folder(parent, account)
    current_account().make_folders(folder.parent)
    with suppress(FileExistsError):
        folder.mkdir(mode=PRIVATE_MODE)
        account.take_ownership(folder, PRIVATE_MODE)
    if not _is_private_folder(folder, account):
        raise PermissionError(f"{folder}: not a private folder of {account.name}; remove it")
    return CopyStore(folder=folder, account=account)


def store_has_entries() -> bool:
    """Whether the user's cache holds any copy; creates nothing."""
    try:
        return any(not path.name.startswith(".") for path in _store_folder(None, server_account(Path("/"))).iterdir())
    except OSError:
        return False


def entry_key(digest: str, programs: Programs, *, variant: str) -> str:
    """The name of an entry: one for each dump, variant of its copy, and build of PostgreSQL."""
    return f"{programs_cache_key(programs)}-{digest[:32]}-{variant}-{ENTRY_FORMAT}"


def _store_folder(parent: Path | None, account: Account) -> Path:
    return (parent or cache_folder()) / f"golden-{account.uid}"


def _is_private_folder(path: Path, account: Account) -> bool:
    status = path.lstat()
    return status.st_uid == account.uid and status.st_mode == stat.S_IFDIR | PRIVATE_MODE
