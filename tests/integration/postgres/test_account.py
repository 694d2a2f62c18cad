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
def test_root_is_served_by_an_account_without_privileges(ground: Path) -> None:
    account = server_account(ground / "not" / "there yet")
    assert account.switched
    assert account.name in ("postgres", "nobody")
    assert account.uid != 0


@root_only
def test_root_acts_for_the_owner_of_the_folder(ground: Path) -> None:
    nobody = pwd.getpwnam("nobody")
    os.chown(ground, nobody.pw_uid, nobody.pw_gid)
    assert server_account(ground / ".kernel").uid == nobody.pw_uid


@root_only
def test_root_does_not_act_for_an_owner_without_a_name(ground: Path) -> None:
    """Initdb looks its account up, as a container's bind mount shows."""
    os.chown(ground, 54321, 54321)
    assert server_account(ground).name in ("postgres", "nobody")


@user_only
def test_an_ordinary_user_is_served_by_itself(ground: Path) -> None:
    assert server_account(ground) == current_account()


@root_only
def test_the_outermost_closed_folder_is_named(ground: Path) -> None:
    outer, inner = ground / "outer", ground / "outer" / "inner"
    inner.mkdir(parents=True)
    outer.chmod(0o700)
    inner.chmod(0o700)
    assert server_account(ground).first_closed_folder(inner / "data") == outer
    outer.chmod(0o711)
    assert server_account(ground).first_closed_folder(inner / "data") == inner
    inner.chmod(0o755)
    assert server_account(ground).first_closed_folder(inner / "data") is None


@root_only
@pytest.mark.parametrize(("mode", "enter", "use"), [(0o700, False, False), (0o755, True, False), (0o777, True, True)])
def test_permission_bits_decide_for_another_account(ground: Path, mode: int, enter: bool, use: bool) -> None:
    ground.chmod(mode)
    account = server_account(ground)
    assert (account.has_permission(ground, ENTER_PERMISSION), account.has_permission(ground, WRITE_PERMISSION)) == (
        enter,
        use,
    )


def test_new_folders_are_open_whatever_the_umask_is(ground: Path) -> None:
    account, before = server_account(ground), os.umask(0o077)
    try:
        account.make_folders(ground / "a" / "b")
    finally:
        os.umask(before)
    assert [(ground / name).stat().st_mode & 0o777 for name in ("a", "a/b")] == [0o755, 0o755]
    assert (ground / "a" / "b").stat().st_uid == account.uid


def test_making_folders_leaves_existing_ones_as_they_are(ground: Path) -> None:
    (ground / "home").mkdir(mode=0o750)
    server_account(ground).make_folders(ground / "home" / "data")
    status = (ground / "home").stat()
    assert (status.st_mode & 0o777, status.st_uid) == (0o750, os.geteuid())
