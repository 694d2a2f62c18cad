"""As whom a server runs, and what that account can reach."""

from __future__ import annotations

import os
import pwd
from typing import TYPE_CHECKING

import pytest

from kernel.postgres.account import ENTER_PERMISSION, WRITE_PERMISSION, current_account, server_account

if TYPE_CHECKING:
    from pathlib import Path

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root acts for another account")
user_only = pytest.mark.skipif(os.geteuid() == 0, reason="root never serves as itself")


@root_only
def test_root_is_served_by_an_account_without_privileges(open_folder: Path) -> None:
    account = server_account(open_folder / "not" / "there yet")
    assert account.switched
    assert account.name in ("postgres", "nobody")
    assert account.uid != 0


@root_only
def test_root_acts_for_the_owner_of_the_folder(open_folder: Path) -> None:
    nobody = pwd.getpwnam("nobody")
    os.chown(open_folder, nobody.pw_uid, nobody.pw_gid)
    assert server_account(open_folder / ".kernel").uid == nobody.pw_uid


@root_only
def test_root_does_not_act_for_an_owner_without_a_name(open_folder: Path) -> None:
    """Initdb looks its account up, as a container's bind mount shows."""
    os.chown(open_folder, 54321, 54321)
    assert server_account(open_folder).name in ("postgres", "nobody")


@user_only
def test_an_ordinary_user_is_served_by_itself(open_folder: Path) -> None:
    assert server_account(open_folder) == current_account()


@root_only
def test_the_outermost_closed_folder_is_named(open_folder: Path) -> None:
    outer, inner = open_folder / "outer", open_folder / "outer" / "inner"
    inner.mkdir(parents=True)
    outer.chmod(0o700)
    inner.chmod(0o700)
    assert server_account(open_folder).first_closed_folder(inner / "data") == outer
    outer.chmod(0o711)
    assert server_account(open_folder).first_closed_folder(inner / "data") == inner
    inner.chmod(0o755)
    assert server_account(open_folder).first_closed_folder(inner / "data") is None


@root_only
@pytest.mark.parametrize(("mode", "enter", "use"), [(0o700, False, False), (0o755, True, False), (0o777, True, True)])
def test_permission_bits_decide_for_another_account(open_folder: Path, mode: int, enter: bool, use: bool) -> None:
    open_folder.chmod(mode)
    account = server_account(open_folder)
    assert (
        account.has_permission(open_folder, ENTER_PERMISSION),
        account.has_permission(open_folder, WRITE_PERMISSION),
    ) == (
        enter,
        use,
    )


def test_new_folders_are_open_whatever_the_umask_is(open_folder: Path) -> None:
    account, before = server_account(open_folder), os.umask(0o077)
    try:
        account.make_folders(open_folder / "a" / "b")
    finally:
        os.umask(before)
    assert [(open_folder / name).stat().st_mode & 0o777 for name in ("a", "a/b")] == [0o755, 0o755]
    assert (open_folder / "a" / "b").stat().st_uid == account.uid


def test_making_folders_leaves_existing_ones_as_they_are(open_folder: Path) -> None:
    (open_folder / "home").mkdir(mode=0o750)
    server_account(open_folder).make_folders(open_folder / "home" / "data")
    status = (open_folder / "home").stat()
    assert (status.st_mode & 0o777, status.st_uid) == (0o750, os.geteuid())
