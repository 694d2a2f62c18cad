"""The operating system account that a local server runs as, and the folders that the account can enter.

PostgreSQL refuses to run as root. For root, a server therefore runs as the owner of the folder of its data or, if that
is root too, as `postgres` or `nobody`. No account is created, and the permissions of existing folders are not changed.
"""

from __future__ import annotations

import os
import pwd
import stat
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kernel.errors import ServerFailed

if TYPE_CHECKING:
    from pathlib import Path


ENTER_PERMISSION = os.X_OK
WRITE_PERMISSION = os.X_OK | os.W_OK
PRIVATE_MODE = 0o700


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """An account of the operating system; `switched` when it is not the one that this process runs as."""

    name: str
    uid: int
    gid: int
    switched: bool

    def take_ownership(self, folder: Path, mode: int) -> None:
        """Set owner and permissions of a folder that this process has just created, regardless of the umask."""
        # By descriptor: in a folder of another user, the name may refer to another file a moment later.
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            os.fchmod(descriptor, mode)
            if self.switched:
                os.fchown(descriptor, self.uid, self.gid)
        finally:
            os.close(descriptor)

    def make_folders(self, path: Path) -> None:
        """Create the missing folders of `path`, owned by this account, which all accounts may enter. Raises OSError."""
        if not path.is_dir():
            self.make_folders(path.parent)
            path.mkdir(exist_ok=True)
            self.take_ownership(path, 0o755)

    def make_private_folder(self, path: Path) -> None:
        """Create `path`, which only this account may enter, if it is missing.

        Raises ServerFailed when another account owns it or may enter it: in a folder where all may write, such as
        /tmp, it could have been put there. Raises OSError.
        """
        with suppress(FileExistsError):
            path.mkdir(mode=PRIVATE_MODE)
            self.take_ownership(path, PRIVATE_MODE)
        status = path.lstat()
        if status.st_uid != self.uid or status.st_mode != stat.S_IFDIR | PRIVATE_MODE:
            raise ServerFailed(f"{path}: not a private folder of {self.name}; remove it")

    def has_permission(self, path: Path, wanted: int) -> bool:
        """Whether this account has `wanted` (ENTER_PERMISSION or WRITE_PERMISSION) on an existing folder.

        For another account only the permission bits count: access lists and supplementary groups are ignored.
        """
        if not self.switched:
            return os.access(path, wanted)
        status = path.stat()
        bits = status.st_mode
        if status.st_uid == self.uid:
            bits >>= 6
        elif status.st_gid == self.gid:
            bits >>= 3
        return bits & wanted == wanted

    def first_closed_folder(self, path: Path) -> Path | None:
        """The outermost folder on the way to `path`, or `path` itself, that this account may not enter, else None.

        Folders that do not exist yet count as open: make_folders creates them with the necessary permissions.
        """
        for folder in reversed((path, *path.parents)):
            if not folder.exists():
                return None
            if not self.has_permission(folder, ENTER_PERMISSION):
                return folder
        return None


def current_account() -> Account:
    """The account that this process runs as."""
    return Account(name=_account_name(os.geteuid()), uid=os.geteuid(), gid=os.getegid(), switched=False)


def server_account(folder: Path) -> Account:
    """Return the account for a server whose data is in `folder`, an absolute path that need not exist yet.

    Raises ServerFailed for root on a system without an account that a server can run as.
    """
    if os.geteuid() != 0:
        return current_account()
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    owner = existing.stat().st_uid
    # initdb needs the name of its account, so an owner without one (of a container's bind mount) cannot run it.
    for candidate in (_account_name(owner) if owner else "", "postgres", "nobody"):
        try:
            entry = pwd.getpwnam(candidate)
        except KeyError:
            continue
        return Account(name=candidate, uid=entry.pw_uid, gid=entry.pw_gid, switched=True)
    raise ServerFailed(
        "PostgreSQL refuses to run as root, and there is neither an account postgres nor nobody; "
        "run this as an ordinary user, or set DATABASE_URL",
    )


def open_private_file(path: Path, flags: int) -> int:
    """Open a private file, created if missing, and return its descriptor. Raises OSError.

    Root works in folders of other users: it follows none of their links, and gives the file to the folder's owner.
    """
    descriptor = os.open(path, flags | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    if os.geteuid() == 0:
        owner = path.parent.stat()
        os.fchown(descriptor, owner.st_uid, owner.st_gid)
    return descriptor


def write_private_file(path: Path, text: str, *, append: bool = False, sync: bool = False) -> None:
    """Write a private file, with `sync` so that it survives a crash. Raises OSError."""
    descriptor = open_private_file(path, os.O_WRONLY | (os.O_APPEND if append else os.O_TRUNC))
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        if sync:
            file.flush()
            os.fsync(descriptor)


def _account_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return ""
