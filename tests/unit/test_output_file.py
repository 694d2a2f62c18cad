"""The file of a report: checked before a rehearsal, written atomically after it."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import pytest

from kernel.errors import UsageError
from kernel.report.output_file import check_report_writable, write_report


def test_checking_a_writable_path_leaves_no_file(tmp_path: Path) -> None:
    (tmp_path / "old.html").write_text("old")
    check_report_writable(tmp_path / "old.html")
    check_report_writable(tmp_path / "new.html")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"old.html": "old"}


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "absent" / "report.html"
    with pytest.raises(UsageError, match=r"--report .*absent/report.html: its folder does not exist; make it first"):
        check_report_writable(path)


def test_a_page_without_jinja2_is_refused_with_the_command_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(UsageError, match=r"pip install 'aibos-kernel-migrations\[rehearsal\]'"):
        check_report_writable(tmp_path / "report.html")


def test_a_file_in_place_of_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="cannot be written"):
        check_report_writable(tmp_path / "file" / "report.html")


@pytest.mark.parametrize("kind", ["folder", "pipe", "link to a pipe"])
def test_a_path_that_is_not_a_regular_file_is_refused_and_not_replaced(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "report.html"
    path.mkdir() if kind == "folder" else os.mkfifo(path)
    if kind.startswith("link"):
        path = tmp_path / "link.html"
        path.symlink_to(tmp_path / "report.html")
    before = [(one.name, one.lstat().st_mode) for one in tmp_path.iterdir()]
    for use in (check_report_writable, lambda path: write_report(path, "text")):
        with pytest.raises(UsageError, match="cannot be written: it is no ordinary file; name another place"):
            use(path)
    assert [(one.name, one.lstat().st_mode) for one in tmp_path.iterdir()] == before


def test_a_device_is_refused_and_stays_a_device() -> None:
    with pytest.raises(UsageError, match="--report /dev/null: cannot be written: it is no ordinary file"):
        write_report(Path("/dev/null"), "text")
    assert Path("/dev/null").is_char_device()


@pytest.mark.skipif(os.geteuid() == 0, reason="root never lacks a permission")
def test_a_folder_without_permission_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(UsageError, match="cannot be written: Permission denied; name another place"):
        check_report_writable(tmp_path / "report.html")


def test_a_report_replaces_the_old_one_atomically(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text("old and longer")
    with path.open() as reader:
        write_report(path, "new ü")
        assert reader.read() == "old and longer"
    assert path.read_bytes() == "new ü".encode()
    assert list(tmp_path.iterdir()) == [path]


def test_a_symbolic_link_is_kept(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    link = tmp_path / "report.html"
    link.symlink_to(tmp_path / "real" / "report.html")
    write_report(link, "text")
    assert link.is_symlink()
    assert (tmp_path / "real" / "report.html").read_text() == "text"


def test_permissions_follow_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_report(tmp_path / "report.html", "")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "report.html").stat().st_mode) == 0o640


def test_a_failed_write_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(UnicodeEncodeError):
        write_report(tmp_path / "report.html", "half \ud800")
    assert not list(tmp_path.iterdir())
