"""A directory of files becomes the migrations in it, or an account of everything that is wrong with it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from kernel.errors import FilesInvalid
from kernel.migrations.migration import discover_migrations, require_migrations

if TYPE_CHECKING:
    from pathlib import Path


def put(directory: Path, *names: str) -> None:
    for name in names:
        (directory / name).write_text(f"SELECT '{name}';\n")


def test_migrations_come_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    put(tmp_path, "1000_d.sql", "999_c.sql", "001_a.sql", "008_b.sql")
    found = discover_migrations(tmp_path)
    assert [one.filename for one in found] == ["001_a.sql", "008_b.sql", "999_c.sql", "1000_d.sql"]
    assert [one.number for one in found] == [1, 8, 999, 1000]


def test_everything_but_sql_files_is_left_alone(tmp_path: Path) -> None:
    put(tmp_path, "001_a.sql", "README.md", "001_a.sql.orig", "001_a.sql~", ".#002_b.sql", "SCHEMA")
    (tmp_path / "revert").mkdir()
    (tmp_path / "old.sql").mkdir()
    assert [one.filename for one in discover_migrations(tmp_path)] == ["001_a.sql"]


def test_every_misnamed_and_duplicate_file_is_reported_at_once(tmp_path: Path) -> None:
    put(tmp_path, "001_a.sql", "0001_b.sql", "1_c.sql", "016-d.sql", "notes.SQL")
    with pytest.raises(FilesInvalid) as refused:
        discover_migrations(tmp_path)
    assert {problem.file for problem in refused.value.problems} == {"001_a.sql", "1_c.sql", "016-d.sql", "notes.SQL"}


def test_a_duplicate_version_names_both_files_and_the_way_out(tmp_path: Path) -> None:
    put(tmp_path, "016_mine.sql", "016_theirs.sql")
    message = "016_theirs.sql: the version of 016_mine.sql too; move one of them: inv db.renumber 016_theirs.sql"
    with pytest.raises(FilesInvalid, match=message):
        discover_migrations(tmp_path)


def test_a_file_that_cannot_be_read_is_reported(tmp_path: Path) -> None:
    (tmp_path / "001_a.sql").symlink_to(tmp_path / "gone.sql")
    with pytest.raises(FilesInvalid, match=r"^001_a\.sql: cannot be read: No such file or directory$"):
        discover_migrations(tmp_path)


def test_a_name_that_is_no_utf8_is_reported(tmp_path: Path) -> None:
    try:
        (tmp_path / os.fsdecode(b"001_\xe4.sql")).touch()
    except OSError:
        pytest.skip("the file system takes UTF-8 names only")
    with pytest.raises(FilesInvalid, match="letters other than a to z"):
        discover_migrations(tmp_path)


def test_a_directory_that_is_not_there_says_what_to_set(tmp_path: Path) -> None:
    with pytest.raises(FilesInvalid, match=r"no such directory: .*gone; create it or set KERNEL_MIGRATIONS_DIR$"):
        discover_migrations(tmp_path / "gone")


def test_a_file_in_the_directorys_place_is_reported(tmp_path: Path) -> None:
    (tmp_path / "migrations").touch()
    with pytest.raises(FilesInvalid, match=r"migrations: cannot be read: Not a directory$"):
        discover_migrations(tmp_path / "migrations")


def test_an_empty_directory_is_more_likely_a_wrong_one(tmp_path: Path) -> None:
    assert discover_migrations(tmp_path) == ()
    with pytest.raises(FilesInvalid, match="no migration files; set KERNEL_MIGRATIONS_DIR"):
        require_migrations(tmp_path)


def test_the_revert_file_has_the_same_version_and_its_own_checksum(tmp_path: Path) -> None:
    put(tmp_path, "016_a.sql")
    (one,) = discover_migrations(tmp_path)
    with pytest.raises(FileNotFoundError):
        one.read_revert()
    (tmp_path / "revert").mkdir()
    put(tmp_path / "revert", "016_a.sql")
    (tmp_path / "revert" / "016_a.sql").write_text("DROP TABLE a;\n")
    revert = one.read_revert()
    assert (revert.version, revert.filename) == ("016", "revert/016_a.sql")
    assert revert.checksum != one.checksum


def test_a_recorded_checksum_is_accepted_in_capitals_and_from_windows(tmp_path: Path) -> None:
    put(tmp_path, "016_a.sql")
    (one,) = discover_migrations(tmp_path)
    assert one.accepts(one.checksum)
    assert one.accepts(one.checksum.upper())
    assert not one.accepts("0" * 64)
    (tmp_path / "016_a.sql").write_bytes(b"SELECT '016_a.sql';\r\n")
    (again,) = discover_migrations(tmp_path)
    assert again.checksum == one.checksum


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "001_pipe.sql")
    with pytest.raises(FilesInvalid, match=r"001_pipe\.sql: not a regular file"):
        discover_migrations(tmp_path)


def test_a_link_to_a_pipe_is_refused_like_the_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "001_link.sql").symlink_to(tmp_path / "pipe")
    with pytest.raises(FilesInvalid, match=r"001_link\.sql: not a regular file"):
        discover_migrations(tmp_path)


def test_a_link_stands_for_what_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    put(tmp_path / "old", "kept.sql")
    (tmp_path / "001_a.sql").symlink_to(tmp_path / "old" / "kept.sql")
    (tmp_path / "002_b.sql").symlink_to(tmp_path / "old")
    assert [one.filename for one in discover_migrations(tmp_path)] == ["001_a.sql"]
