"""A cache on disk for copies of the programs and templates of new data; both are created again when missing."""

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
from kernel.postgres.file_lock import file_lock

if TYPE_CHECKING:
    from collections.abc import Callable

    from kernel.postgres.account import Account
    from kernel.postgres.programs import Programs


CACHE_NAME = "aibos-kernel"

# The folders of a PostgreSQL installation; other folders next to bin are not part of it, and not copied.
PROGRAM_FOLDERS = ("bin", "lib", "lib64", "share")

WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH


def cache_folder() -> Path:
    """Return the folder of the cache: in /var/cache for root, else in XDG_CACHE_HOME, else in ~/.cache."""
    if os.geteuid() == 0:
        return Path("/var/cache") / CACHE_NAME
    configured = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG base directory specification: a relative path is invalid and is ignored.
    return (Path(configured) if configured.startswith("/") else Path("~/.cache").expanduser()) / CACHE_NAME


def programs_cache_key(programs: Programs) -> str:
    """Return a folder name for one build of PostgreSQL in one place; another build there gets another name."""
    built = (programs.bin / "postgres").stat().st_mtime_ns
    digest = hashlib.sha256(f"{programs.bin.resolve()}\0{programs.version}\0{built}".encode(errors="surrogateescape"))
    return f"{programs.major}-{digest.hexdigest()[:12]}"


def cached_folder(name: str, owner: Account, make: Callable[[Path], None]) -> Path:
    """Return the folder `name` of the cache, owned by the account `owner`; `make(path)` creates it when it is missing.

    `make` fills a temporary folder next to the final one, renamed when it is complete; of concurrent processes one
    creates it while the others wait. Raises OSError when the cache cannot be written, PermissionError when another
    account owns the folder or can write to it.
    """
    final = cache_folder() / name
    current_account().make_folders(final.parent)
    if not final.exists():
        with file_lock(final.with_name(f"{final.name}.lock")):
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
        raise PermissionError(f"{final}: another account could have written it; remove it")
    return final


def reachable_programs(programs: Programs, account: Account) -> Programs:
    """Return the programs in a folder that `account` can enter: in place, or a copy in the cache.

    Raises ProgramsMissing when they can be neither run in place nor copied.
    """
    closed = account.first_closed_folder(programs.bin.resolve())
    if closed is None:
        return programs
    root = programs.bin.resolve().parent

    def copy(target: Path) -> None:
        for part in PROGRAM_FOLDERS:
            if (root / part).is_dir():
                shutil.copytree(root / part, target / part, symlinks=True)
        for entry in (target, *target.rglob("*")):
            if not entry.is_symlink():
                entry.chmod(0o755 if entry.is_dir() or os.access(entry, os.X_OK) else 0o644)

    reason = "are no complete PostgreSQL to copy"
    if programs.bin.resolve().name == "bin" and (root / "share").is_dir():
        try:
            tree = cached_folder(f"programs/{programs_cache_key(programs)}", current_account(), copy)
            return replace(programs, bin=tree / "bin")
        except OSError as error:
            reason = f"cannot be copied ({error})"
    raise ProgramsMissing(
        f"{programs.bin}: closed to the account {account.name} by {closed}, and {reason}; "
        "set KERNEL_PG_BINDIR to programs that every account may run"
    )
