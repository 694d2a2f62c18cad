"""As whom a server of our own runs, and which folders that account can reach.

PostgreSQL refuses to run as root. Root therefore acts for the owner of the folder that the data goes to, or, where
that is root as well, as `postgres` or `nobody`. No account is ever created, and no existing folder is opened up.
"""

from __future__ import annotations

import os
import pwd
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kernel.errors import ServerFailed

if TYPE_CHECKING:
    from pathlib import Path


ENTER_PERMISSION = os.X_OK
WRITE_PERMISSION = os.X_OK | os.W_OK


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """An account of the operating system; `switched` when it is not the one that this process runs as."""

    name: str
    uid: int
    gid: int
    switched: bool

    def take_ownership(self, folder: Path, mode: int) -> None:
        """Give a folder that we have just made to this account, with these permissions whatever our umask is."""
        # By descriptor: in a folder of other people the name may stand for something else a moment later.
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            os.fchmod(descriptor, mode)
            if self.switched:
                os.fchown(descriptor, self.uid, self.gid)
        finally:
            os.close(descriptor)

    def make_folders(self, path: Path) -> None:
        """Make what is missing of `path`: folders of this account that everybody may enter. Raises OSError."""
        if not path.is_dir():
            self.make_folders(path.parent)
            path.mkdir(exist_ok=True)
            self.take_ownership(path, 0o755)

    def has_permission(self, path: Path, wanted: int) -> bool:
        """Whether this account has the permissions `wanted` (ENTER, USE) on a folder that exists.

        For another account only the permission bits count: access lists are not read, and it joins no second group.
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

        Folders that do not exist yet are open: whoever makes them will see to it.
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


def server_account(place: Path) -> Account:
    """The account for a server whose data lies in `place`, an absolute path that need not exist yet.

    Raises ServerFailed for root on a system that has none of the accounts a server could run as.
    """
    if os.geteuid() != 0:
        return current_account()
    existing = next(folder for folder in (place, *place.parents) if folder.exists())
    owner = existing.stat().st_uid
    # initdb looks its account up by number, so an owner without a name (a container's bind mount) cannot serve.
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
    """A descriptor of a private file, made if missing. Raises OSError.

    Root works in folders of other people: it follows no link of theirs, and leaves them files that they can open.
    """
    descriptor = os.open(path, flags | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    if os.geteuid() == 0:
        owner = path.parent.stat()
        os.fchown(descriptor, owner.st_uid, owner.st_gid)
    return descriptor


def _account_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return ""
