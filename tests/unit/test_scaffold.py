from __future__ import annotations

import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from kernel.errors import UsageError
from kernel.migrations.scaffold import create_files, renumber_migration, scaffold_migration, snake_case

if TYPE_CHECKING:
    from pathlib import Path

ENVIRON = {"PATH": os.environ["PATH"]}


def put(directory: Path, *names: str) -> None:
    for name in names:
        (directory / name).parent.mkdir(exist_ok=True)
        (directory / name).write_text("SELECT 1;\n")


def names(directory: Path) -> list[str]:
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file())


@pytest.fixture
def on_the_remote(tmp_path: Path) -> Path:
    """The directory `migrations` of a repository whose origin/main has 020_theirs.sql, as the last fetch left it."""
    identity = {f"GIT_{who}_{what}": "a@b" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")} | {
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_CONFIG_SYSTEM": "/dev/null",
    }

    def git(*arguments: str) -> None:
        subprocess.run(["git", *arguments], cwd=tmp_path, env=ENVIRON | identity, check=True, capture_output=True)

    migrations = tmp_path / "migrations"
    put(migrations, "020_theirs.sql")
    git("init", "-q")
    git("add", ".")
    git("commit", "-q", "-m", "theirs")
    git("update-ref", "refs/remotes/origin/main", "HEAD")
    (migrations / "020_theirs.sql").unlink()
    return migrations


def test_a_new_file_has_the_head_of_the_specification_and_shows_the_practice(tmp_path: Path) -> None:
    put(tmp_path, "015_before.sql")
    made = scaffold_migration(
        tmp_path, "Add user preferences", environ=ENVIRON, description="Add preferences column to tenants table"
    )
    assert made.paths == (tmp_path / "016_add_user_preferences.sql",)
    assert (made.name, made.renamed) == ("add_user_preferences", True)
    text = made.paths[0].read_text()
    assert text.startswith(
        "-- Migration: 016 - Add user preferences\n-- Description: Add preferences column to tenants table\n\n"
    )
    assert "ADD COLUMN IF NOT EXISTS" in text
    assert all(line.startswith("--") for line in text.splitlines() if line)


def test_the_description_defaults_to_the_title(tmp_path: Path) -> None:
    made = scaffold_migration(tmp_path, "add_users", environ=ENVIRON)
    assert made.paths[0].read_text().startswith("-- Migration: 001 - Add users\n-- Description: Add users\n\n")
    assert not made.renamed


def test_a_file_without_transaction_says_so_in_its_first_comment_block(tmp_path: Path) -> None:
    text = scaffold_migration(tmp_path, "index_users", environ=ENVIRON, no_transaction=True).paths[0].read_text()
    assert "-- migrate: no-transaction" in text.split("\n\n")[0].splitlines()
    assert "CREATE INDEX CONCURRENTLY IF NOT EXISTS" in text


@pytest.mark.parametrize("no_transaction", [False, True])
def test_the_revert_file_has_the_same_name_and_can_run_in_a_transaction(tmp_path: Path, no_transaction: bool) -> None:
    made = scaffold_migration(tmp_path, "add_users", environ=ENVIRON, revert=True, no_transaction=no_transaction)
    assert made.paths == (tmp_path / "001_add_users.sql", tmp_path / "revert" / "001_add_users.sql")
    text = made.paths[1].read_text()
    assert text.startswith("-- Revert: 001 - Add users\n")
    assert "IF EXISTS" in text
    assert "CONCURRENTLY" not in text


@pytest.mark.parametrize(
    ("present", "version"),
    [
        ([], "001"),
        (["001_a.sql", "008_b.sql"], "009"),
        (["999_a.sql"], "1000"),
        (["1000_a.sql", "999_b.sql"], "1001"),
        (["016-misnamed.sql", "2_b.sql"], "017"),
        (["001_a.sql", "050_notes.md", "draft.sql"], "002"),
    ],
)
def test_the_next_number_follows_the_highest(tmp_path: Path, present: list[str], version: str) -> None:
    put(tmp_path, *present)
    assert scaffold_migration(tmp_path, "x", environ=ENVIRON).paths[0].name == f"{version}_x.sql"


def test_a_number_taken_on_the_remote_default_branch_is_not_chosen(on_the_remote: Path) -> None:
    assert scaffold_migration(on_the_remote, "ours", environ=ENVIRON).paths[0].name == "021_ours.sql"


def test_the_git_variables_of_a_hook_lead_to_no_other_repository(on_the_remote: Path) -> None:
    environ = ENVIRON | {"GIT_DIR": "/nonexistent", "GIT_WORK_TREE": "/", "GIT_PREFIX": "x"}
    assert scaffold_migration(on_the_remote, "ours", environ=environ).paths[0].name == "021_ours.sql"


def test_without_git_the_local_files_decide(on_the_remote: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    assert scaffold_migration(on_the_remote, "ours", environ={"PATH": str(empty)}).paths[0].name == "001_ours.sql"


def test_an_orphaned_revert_file_is_not_overwritten(tmp_path: Path) -> None:
    put(tmp_path, "revert/001_x.sql")
    made = scaffold_migration(tmp_path, "x", environ=ENVIRON, revert=True)
    assert names(tmp_path) == ["002_x.sql", "revert/001_x.sql", "revert/002_x.sql"]
    assert made.paths[0].name == "002_x.sql"
    assert (tmp_path / "revert/001_x.sql").read_text() == "SELECT 1;\n"


def test_several_at_once_get_a_number_each(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda name: scaffold_migration(tmp_path, name, environ=ENVIRON), "abcdefgh"))
    assert sorted(one.paths[0].name[:3] for one in made) == [f"{number:03}" for number in range(1, 9)]


def test_either_all_files_are_created_or_none(tmp_path: Path) -> None:
    put(tmp_path, "there.sql")
    with pytest.raises(FileExistsError):
        create_files({tmp_path / "first.sql": b"1", tmp_path / "there.sql": b"2"})
    assert names(tmp_path) == ["there.sql"]
    assert (tmp_path / "there.sql").read_text() == "SELECT 1;\n"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("add_user_preferences", "add_user_preferences"),
        ("Add user preferences", "add_user_preferences"),
        ("add-user-preferences", "add_user_preferences"),
        ("AddUserPreferences", "add_user_preferences"),
        ("addUserIDs", "add_user_ids"),
        ("HTTPServerLog", "http_server_log"),
        ("Add user IDs", "add_user_ids"),
        ("  add  users!  ", "add_users"),
        ("add_users.sql", "add_users"),
        ("2fa tokens", "2fa_tokens"),
    ],
)
def test_a_name_becomes_snake_case(name: str, expected: str) -> None:
    assert snake_case(name) == expected


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("", "say what the migration does"),
        ("  ", "say what the migration does"),
        ("!!!", "say what the migration does"),
        (".sql", "say what the migration does"),
        ("--help", "begin it with a letter"),
        ("-x", "begin it with a letter"),
        ("añadir", "write it with a-z"),
        ("add/users", "path separator"),
        ("..\\users", "path separator"),
        ("016_add_users", "leave the number off: it is chosen for you"),
        ("16 add users", "leave the number off"),
        ("016", "leave the number off"),
        ("016add", "leave the number off"),
        ("add\nusers", "one line"),
        ("add\0users", "one line"),
        ("x" * 248, "shorten it"),
    ],
)
def test_a_name_that_cannot_be_meant_is_refused_and_nothing_created(tmp_path: Path, name: str, remedy: str) -> None:
    with pytest.raises(UsageError, match=remedy):
        scaffold_migration(tmp_path, name, environ=ENVIRON, revert=True)
    assert names(tmp_path) == []


def test_the_longest_possible_name_is_accepted(tmp_path: Path) -> None:
    assert len(scaffold_migration(tmp_path, "x" * 247, environ=ENVIRON).paths[0].name) == 255


@pytest.mark.parametrize("description", ["a\nDROP TABLE users;", "a\rb", "a\u2028b", "a\0b", "\udcff"])
def test_a_description_cannot_leave_its_comment(tmp_path: Path, description: str) -> None:
    with pytest.raises(UsageError, match="write it in one line"):
        scaffold_migration(tmp_path, "x", environ=ENVIRON, description=description)
    assert names(tmp_path) == []


def test_a_missing_directory_is_refused_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"No such file or directory\); create it, or set KERNEL_MIGRATIONS_DIR"):
        scaffold_migration(tmp_path / "absent", "x", environ=ENVIRON)


def test_a_file_in_place_of_the_revert_directory_is_refused(tmp_path: Path) -> None:
    put(tmp_path, "revert")
    with pytest.raises(UsageError, match=r"revert: cannot be written \(File exists\)"):
        scaffold_migration(tmp_path, "x", environ=ENVIRON, revert=True)
    assert names(tmp_path) == ["revert"]


def test_renumbering_moves_both_files_to_the_next_free_number_and_adapts_their_heads(tmp_path: Path) -> None:
    made = scaffold_migration(tmp_path, "add_users", environ=ENVIRON, revert=True)
    put(tmp_path, "001_other.sql", "007_other.sql")
    before = [path.read_text() for path in made.paths]
    moved = renumber_migration(tmp_path, "001_add_users.sql", environ=ENVIRON)
    assert moved.old_paths == made.paths
    assert moved.new_paths == (tmp_path / "008_add_users.sql", tmp_path / "revert/008_add_users.sql")
    assert [path.read_text() for path in moved.new_paths] == [text.replace("001", "008") for text in before]
    assert names(tmp_path) == ["001_other.sql", "007_other.sql", "008_add_users.sql", "revert/008_add_users.sql"]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"\xef\xbb\xbf-- Migration: 016 - x\r\nSELECT 1;\r\n", b"\xef\xbb\xbf-- Migration: 020 - x\r\nSELECT 1;\r\n"),
        (b"\r\n-- by hand\r\n-- Migration: 16\r\n", b"\r\n-- by hand\r\n-- Migration: 020\r\n"),
        (b"-- Migration: 0161 - x\n", b"-- Migration: 0161 - x\n"),
        (b"-- Migration: 017 - x\n", b"-- Migration: 017 - x\n"),
        (b"SELECT '\n-- Migration: 016\n';", b"SELECT '\n-- Migration: 016\n';"),
        (b"\xff\xfe", b"\xff\xfe"),
        (b"", b""),
    ],
)
def test_renumbering_changes_the_number_in_the_head_and_no_other_byte(
    tmp_path: Path, content: bytes, expected: bytes
) -> None:
    (tmp_path / "016_x.sql").write_bytes(content)
    moved = renumber_migration(tmp_path, "016_x.sql", environ=ENVIRON, to=20)
    assert moved.new_paths == (tmp_path / "020_x.sql",)
    assert moved.new_paths[0].read_bytes() == expected


def test_renumbering_counts_the_remote(on_the_remote: Path) -> None:
    put(on_the_remote, "005_x.sql")
    with pytest.raises(UsageError, match="--to 020: taken"):
        renumber_migration(on_the_remote, "005_x.sql", environ=ENVIRON, to=20)
    assert renumber_migration(on_the_remote, "005_x.sql", environ=ENVIRON).new_paths[0].name == "021_x.sql"


@pytest.mark.parametrize(
    ("filename", "to", "remedy"),
    [
        ("016_x.sql", 17, "--to 017: taken"),
        ("016_x.sql", 16, "--to 016: taken"),
        ("016_x.sql", 0, "not a number from 1"),
        ("016_x.sql", 30, r"030_x\.sql: cannot be moved \(File exists\)"),
        ("018_x.sql", None, "018_x.sql: not in"),
        ("../016_x.sql", None, "write it as db.status shows it"),
        ("x.sql", None, "write it as db.status shows it"),
    ],
)
def test_a_move_that_cannot_be_meant_is_refused_and_nothing_moved(
    tmp_path: Path, filename: str, to: int | None, remedy: str
) -> None:
    put(tmp_path, "016_x.sql", "017_y.sql", "revert/016_x.sql", "revert/030_x.sql")
    before = names(tmp_path)
    with pytest.raises(UsageError, match=remedy):
        renumber_migration(tmp_path, filename, environ=ENVIRON, to=to)
    assert names(tmp_path) == before
