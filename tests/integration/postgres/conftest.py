"""Places and people for servers of our own: a folder that everybody can reach, and whoever starts a server there."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kernel.postgres import programs
from kernel.postgres.account import Account, current_account
from kernel.postgres.cache import reachable_programs
from kernel.postgres.development import stop_development_server
from kernel.postgres.programs import find_programs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kernel.postgres.programs import Programs

PROJECT = Path(__file__).resolve().parents[3]
ROOT = os.geteuid() == 0

root_only = pytest.mark.skipif(not ROOT, reason="only root can act for another account")


@dataclass(kw_only=True)
class Person:
    """Somebody who runs small Python programs that use the server package; `checkout` is a folder of theirs."""

    account: Account
    python: str
    code: Path
    checkout: Path
    bindir: Path
    children: list[subprocess.Popen[str]] = field(default_factory=list)

    def begin(self, script: str, *arguments: object, **environ: str) -> subprocess.Popen[str]:
        """Start a program; it ends at the latest with the test."""
        child = subprocess.Popen(
            [self.python, "-c", script, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd="/",
            env={"PATH": os.defpath, "PYTHONPATH": str(self.code), "HOME": "/nonexistent", **environ},
            start_new_session=True,
            user=self.account.uid if self.account.switched else None,
            group=self.account.gid if self.account.switched else None,
            extra_groups=[] if self.account.switched else None,
        )
        self.children.append(child)
        return child

    def close(self) -> None:
        for child in self.children:
            child.kill()
            child.communicate()


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that everybody can reach, with a blank and an umlaut in its path; TMPDIR may be private."""
    folder = Path(tempfile.mkdtemp(prefix="aibos test ü ", dir="/tmp"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def found() -> Programs:
    return find_programs(None)


@pytest.fixture(params=["ourselves", pytest.param("nobody", marks=root_only)])
def person(request: pytest.FixtureRequest, open_folder: Path, found: Programs) -> Iterator[Person]:
    """Ourselves, root perhaps, and an ordinary user without a home."""
    someone = _nobody(open_folder, found) if request.param == "nobody" else _ourselves(open_folder, found)
    yield someone
    someone.close()
    stop_development_server(someone.checkout)


@pytest.fixture
def me(open_folder: Path, found: Programs) -> Iterator[Person]:
    someone = _ourselves(open_folder, found)
    yield someone
    someone.close()
    stop_development_server(someone.checkout)


@pytest.fixture
def wheel(monkeypatch: pytest.MonkeyPatch) -> Programs:
    """The programs of the wheel, on a system where no other PostgreSQL is found."""
    with monkeypatch.context() as bare:
        bare.setattr(programs, "INSTALLED_PATTERNS", ())
        bare.setenv("PATH", "")
        return find_programs(None)


def _ourselves(open_folder: Path, found: Programs) -> Person:
    checkout = open_folder / "my checkout"
    checkout.mkdir()
    return Person(account=current_account(), python=sys.executable, code=PROJECT, checkout=checkout, bindir=found.bin)


def _nobody(open_folder: Path, found: Programs) -> Person:
    entry = pwd.getpwnam("nobody")
    account = Account(name="nobody", uid=entry.pw_uid, gid=entry.pw_gid, switched=True)
    usable = (sys.executable, "/usr/bin/python3")
    python = next(
        (path for path in usable if account.first_closed_folder(Path(path).resolve()) is None and _new(path)), None
    )
    if python is None:
        pytest.skip("no Python 3.11 that an ordinary user can run")
    shutil.copytree(PROJECT / "kernel", open_folder / "code" / "kernel", ignore=shutil.ignore_patterns("__pycache__"))
    checkout = open_folder / "nobody's checkout"
    checkout.mkdir()
    account.take_ownership(checkout, 0o700)
    bindir = reachable_programs(found, account).bin
    return Person(account=account, python=python, code=open_folder / "code", checkout=checkout, bindir=bindir)


def _new(python: str) -> bool:
    check = "import sys; sys.exit(sys.version_info < (3, 11))"
    return Path(python).exists() and subprocess.run([python, "-c", check], check=False).returncode == 0
