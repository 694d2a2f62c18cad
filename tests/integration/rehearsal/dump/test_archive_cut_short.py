from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from kernel.errors import DumpUnreadable, ProgramsMissing
from kernel.postgres.programs import find_programs
from kernel.postgres.throwaway import throwaway_server
from kernel.rehearsal.dump.archive.complete import check_complete
from kernel.rehearsal.dump.archive.contents import read_archive_contents
from kernel.rehearsal.dump.archive.restore import restore_archive
from kernel.rehearsal.dump.identify import identify_dump

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from kernel.postgres.cluster import Server

pytestmark = pytest.mark.slow  # each makes databases of its own; the quick suite rehearses end to end in tests/cli

ROWS = 5_000
# Where a file is cut, as its share: in the table of contents, in the rows, before the last bytes.
SHARES = (0.002, 0.3, 0.7, 0.999)


@pytest.fixture(scope="module")
def source(server: Server) -> Iterator[str]:
    """The conninfo of a database with rows enough for several blocks of whatever compresses them."""
    with psycopg.connect(server.conninfo, autocommit=True) as administrator:
        administrator.execute("CREATE DATABASE cut_short")
        conninfo = make_conninfo(server.conninfo, dbname="cut_short")
        with psycopg.connect(conninfo, autocommit=True) as connection:
            connection.execute(f"CREATE TABLE t AS SELECT i, md5(i::text) FROM generate_series(1, {ROWS}) i")
            connection.execute("CREATE TABLE empty (a int)")
            connection.execute("SELECT lo_from_bytea(1, '')")
        yield conninfo
        administrator.execute("DROP DATABASE cut_short")


def dumped(bin_folder: Path, conninfo: str, target: Path, *options: str) -> Path:
    subprocess.run([bin_folder / "pg_dump", *options, f"--file={target}", f"--dbname={conninfo}"], check=True)
    return target


def cut(path: Path, share: float) -> None:
    """Leave the file without its end, at least without its last byte."""
    content = path.read_bytes()
    path.write_bytes(content[: min(int(len(content) * share), len(content) - 1)])


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize(("compress", "jobs"), [("6", 1), ("0", 2)])
def test_a_custom_archive_cut_short_is_refused(  # noqa: PLR0917 - fixtures
    source: str, server: Server, database: str, tmp_path: Path, compress: str, jobs: int, share: float
) -> None:
    path = dumped(server.programs.bin, source, tmp_path / "archive", "--format=custom", f"--compress={compress}")
    cut(path, share)
    with pytest.raises(DumpUnreadable, match=r"cut short|end of file"):
        restore_archive(identify_dump(path), database, server.programs, jobs=jobs)


@pytest.mark.parametrize("share", SHARES)
def test_a_tar_cut_short_is_refused_before_pg_restore_sees_it(
    source: str, server: Server, tmp_path: Path, share: float
) -> None:
    path = dumped(server.programs.bin, source, tmp_path / "archive", "--format=tar")
    # Behind the last file there are only zeros, without which nothing is missing.
    path.write_bytes(path.read_bytes().rstrip(b"\0"))
    cut(path, share)
    with pytest.raises(DumpUnreadable, match="cut short"):
        read_archive_contents(identify_dump(path), server.programs)


@pytest.mark.parametrize("share", [0.0, *SHARES])
@pytest.mark.parametrize("compress", ["0", "6"])
def test_rows_cut_short_in_a_directory_are_refused_and_never_left_out(  # noqa: PLR0917 - fixtures
    source: str, server: Server, database: str, tmp_path: Path, compress: str, share: float
) -> None:
    path = dumped(server.programs.bin, source, tmp_path / "archive", "--format=directory", f"--compress={compress}")
    cut(max(path.glob("*.dat*"), key=lambda part: part.stat().st_size), share)
    with pytest.raises(DumpUnreadable, match="cut short"):
        restore_archive(identify_dump(path), database, server.programs)


@pytest.mark.parametrize("options", [(), ("--inserts",)], ids=["copy", "inserts"])
def test_a_complete_directory_is_accepted(
    source: str, server: Server, tmp_path: Path, options: tuple[str, ...]
) -> None:
    for compress in ("0", "6"):
        path = dumped(server.programs.bin, source, tmp_path / compress, "-Fd", f"--compress={compress}", *options)
        check_complete(identify_dump(path))


@pytest.mark.parametrize("compress", ["lz4", "zstd"])
def test_lz4_and_zstd_files_cut_short_are_refused(tmp_path: Path, compress: str) -> None:
    try:
        newer = find_programs(None, major=17)
    except ProgramsMissing:
        pytest.skip("needs PostgreSQL 17, whose pg_dump writes lz4 and zstd")
    with throwaway_server(newer) as started:
        with psycopg.connect(started.conninfo, autocommit=True) as connection:
            connection.execute(f"CREATE TABLE t AS SELECT i, md5(i::text) FROM generate_series(1, {4 * ROWS}) i")
            connection.execute("SELECT lo_from_bytea(1, '')")
        path = dumped(newer.bin, started.conninfo, tmp_path / "whole", "-Fd", f"--compress={compress}")
    check_complete(identify_dump(path))
    for share in (0.0, *SHARES):
        broken = tmp_path / f"cut-{share}"
        shutil.copytree(path, broken)
        cut(max(broken.glob("*.dat*"), key=lambda part: part.stat().st_size), share)
        with pytest.raises(DumpUnreadable, match="cut short"):
            check_complete(identify_dump(broken))


def test_a_file_that_is_missing_is_named(source: str, server: Server, database: str, tmp_path: Path) -> None:
    path = dumped(server.programs.bin, source, tmp_path / "archive", "--format=directory")
    gone = max(path.glob("*.dat*"), key=lambda part: part.stat().st_size)
    gone.unlink()
    with pytest.raises(DumpUnreadable, match=gone.name.removesuffix(".gz")):
        restore_archive(identify_dump(path), database, server.programs)


def test_a_link_in_a_directory_is_not_followed(source: str, server: Server, database: str, tmp_path: Path) -> None:
    path = dumped(server.programs.bin, source, tmp_path / "archive", "--format=directory")
    rows = max(path.glob("*.dat*"), key=lambda part: part.stat().st_size)
    rows.rename(tmp_path / "elsewhere")
    rows.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DumpUnreadable, match=rf"{rows.name}: not a file"):
        restore_archive(identify_dump(path), database, server.programs)
