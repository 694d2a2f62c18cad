"""The files that are new or changed since a branch began, as git sees them."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from kernel.errors import UsageError
from kernel.migrations.git_changes import find_changed_files

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
IDENTITY = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")


def git(folder: Path, *arguments: str) -> None:
    subprocess.run(["git", *IDENTITY, *arguments], cwd=folder, check=True, capture_output=True)


def changed(folder: Path, ref: str = "main") -> set[str]:
    return set(find_changed_files(folder, ref, os.environ).filenames)


@pytest.fixture
def migrations(tmp_path: Path) -> Path:
    """A branch `work` that began at 002 of main; main has gone on since."""
    folder = tmp_path / "repository ü" / "db" / "migrations"
    folder.mkdir(parents=True)
    git(folder.parents[1], "init", "-q", "-b", "main")
    for name in ("001_one.sql", "002_two.sql"):
        (folder / name).write_text("SELECT 1;\n", encoding="utf-8")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "two files")
    git(folder, "branch", "work")
    (folder / "002_two.sql").write_text("SELECT 'of main';\n", encoding="utf-8")
    git(folder, "commit", "-q", "-a", "-m", "main goes on")
    git(folder, "switch", "-q", "work")
    return folder


def test_committed_staged_unstaged_and_untracked_files_count_and_those_of_the_other_branch_do_not(
    migrations: Path,
) -> None:
    assert changed(migrations) == set()
    (migrations / "003_committed.sql").write_text("SELECT 3;\n", encoding="utf-8")
    git(migrations, "add", ".")
    git(migrations, "commit", "-q", "-m", "a file")
    (migrations / "004_staged.sql").write_text("SELECT 4;\n", encoding="utf-8")
    git(migrations, "add", ".")
    (migrations / "005_untracked.sql").write_text("SELECT 5;\n", encoding="utf-8")
    (migrations / "001_one.sql").write_text("SELECT 'edited';\n", encoding="utf-8")
    (migrations / "notes.txt").write_text("no migration", encoding="utf-8")
    (migrations / "revert").mkdir()
    (migrations / "revert/005_untracked.sql").write_text("SELECT 5;\n", encoding="utf-8")
    assert changed(migrations) == {"001_one.sql", "003_committed.sql", "004_staged.sql", "005_untracked.sql"}


def test_deleted_files_and_ignored_ones(migrations: Path) -> None:
    (migrations / "001_one.sql").unlink()
    (migrations / ".gitignore").write_text("*.sql\n", encoding="utf-8")
    (migrations / "003_ignored.sql").write_text("SELECT 3;\n", encoding="utf-8")
    assert changed(migrations) == {"003_ignored.sql"}


def test_the_variables_of_a_hook_do_not_lead_to_its_repository(
    migrations: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    assert find_changed_files(migrations, "main", os.environ).filenames == frozenset()


@pytest.mark.parametrize(
    ("ref", "message"),
    [
        ("origin/nope", "no such branch, tag or commit in .*; fetch it first: git fetch origin nope$"),
        ("--output=x", "--since --output=x: no such branch"),
        ("", "no such branch"),
        ("main:db", "no such branch"),
        ("a\nb", "no such branch"),
    ],
)
def test_a_ref_that_does_not_exist_is_refused(migrations: Path, ref: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        changed(migrations, ref)


def test_a_shallow_clone_is_refused_with_the_command_that_completes_it(migrations: Path, tmp_path: Path) -> None:
    top = migrations.parents[1]
    git(top, "commit", "-q", "--allow-empty", "-m", "of the branch")
    git(tmp_path, "clone", "-q", "--depth", "1", "--no-single-branch", f"file://{top}", "shallow")
    with pytest.raises(UsageError, match="the clone is shallow; fetch its history: git fetch --unshallow"):
        changed(tmp_path / "shallow/db/migrations", "origin/main")
    git(tmp_path / "shallow", "fetch", "-q", "--unshallow")
    assert changed(tmp_path / "shallow/db/migrations", "origin/main") == set()


def test_unrelated_histories_are_refused(migrations: Path) -> None:
    git(migrations, "switch", "-q", "--orphan", "other")
    git(migrations, "commit", "-q", "--allow-empty", "-m", "a new beginning")
    migrations.mkdir(parents=True, exist_ok=True)
    with pytest.raises(UsageError, match="no common ancestor with HEAD; their histories are unrelated"):
        changed(migrations)


def test_outside_a_work_tree_and_before_the_first_commit(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is in no git work tree; lint every file with --all"):
        changed(tmp_path)
    git(tmp_path, "init", "-q")
    with pytest.raises(UsageError, match="has no commit; lint every file with --all"):
        changed(tmp_path)


def test_a_broken_repository_is_refused(tmp_path: Path) -> None:
    (tmp_path / ".git").write_text("gitdir: nowhere\n", encoding="utf-8")
    with pytest.raises(UsageError, match=r"git cannot read the repository .*; install git, or name it in"):
        changed(tmp_path)
