"""Things worth making once: copies of programs, templates of fresh data. Losing the cache only costs time."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from kernel.errors import ProgramsMissing
from kernel.postgres.account import current_account
from kernel.postgres.file_lock import exclusive_file_lock

if TYPE_CHECKING:
    from collections.abc import Callable

    from kernel.postgres.account import Account
    from kernel.postgres.programs import Programs


CACHE_NAME = "aibos-kernel"

# What an installed PostgreSQL consists of; whatever else lies beside its bin is not ours to copy.
PROGRAM_FOLDERS = ("bin", "lib", "lib64", "share")

WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH


def cache_folder() -> Path:
    """Where the cache lies: /var/cache for root, else XDG_CACHE_HOME, else ~/.cache."""
    if os.geteuid() == 0:
        return Path("/var/cache") / CACHE_NAME
    given = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG base directory specification: a relative path is invalid and is ignored.
    return (Path(given) if given.startswith("/") else Path("~/.cache").expanduser()) / CACHE_NAME


def programs_cache_key(programs: Programs) -> str:
    """A folder name for one build of PostgreSQL in one place; another build there gets another name."""
    built = (programs.bin / "postgres").stat().st_mtime_ns
    digest = hashlib.sha256(f"{programs.bin.resolve()}\0{programs.version}\0{built}".encode(errors="surrogateescape"))
    return f"{programs.major}-{digest.hexdigest()[:12]}"


def cached_folder(name: str, owner: Account, make: Callable[[Path], None]) -> Path:
    """The folder `name` of the cache, which belongs to the account `owner`; missing, it is made by `make(path)`.

    `make` fills a path beside the final one, which is renamed when it is complete; of several processes one makes it
    and the others wait. Raises OSError when the cache cannot be written, PermissionError when it is not ours.
    """
    final = cache_folder() / name
    current_account().make_folders(final.parent)
    if not final.exists():
        with exclusive_file_lock(final.with_name(f"{final.name}.lock")):
            if not final.exists():
                making = final.with_name(f"{final.name}.making")
                shutil.rmtree(making, ignore_errors=True)  # left by a process that was killed
                try:
                    make(making)
                    making.rename(final)
                finally:
                    shutil.rmtree(making, ignore_errors=True)
    status = final.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != owner.uid or status.st_mode & WRITABLE_BY_OTHERS:
        raise PermissionError(f"{final}: somebody else could have written it; remove it")
    return final


def reachable_programs(programs: Programs, account: Account) -> Programs:
    """The same programs where `account` can run them: in place, or copied out of a private home.

    Raises ProgramsMissing when they can be neither reached nor copied.
    """
    closed = account.first_closed_folder(programs.bin.resolve())
    if closed is None:
        return programs
    root = programs.bin.resolve().parent
    if programs.bin.resolve().name != "bin" or not (root / "share").is_dir():
        raise ProgramsMissing(
            f"{programs.bin}: closed to the account {account.name} by {closed}, and no complete PostgreSQL to copy; "
            "set KERNEL_PG_BINDIR to programs that everybody may run",
        )

    def copy(target: Path) -> None:
        for part in PROGRAM_FOLDERS:
            if (root / part).is_dir():
                shutil.copytree(root / part, target / part, symlinks=True)
        for entry in (target, *target.rglob("*")):
            if not entry.is_symlink():
                entry.chmod(0o755 if entry.is_dir() or os.access(entry, os.X_OK) else 0o644)

    try:
        tree = cached_folder(f"programs/{programs_cache_key(programs)}", current_account(), copy)
    except OSError as error:
        raise ProgramsMissing(
            f"{programs.bin}: closed to the account {account.name} by {closed}, and cannot be copied ({error}); "
            "set KERNEL_PG_BINDIR to programs that everybody may run",
        ) from error
    return replace(programs, bin=tree / "bin")
