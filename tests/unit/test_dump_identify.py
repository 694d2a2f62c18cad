from __future__ import annotations

import gzip
import io
import itertools
import tarfile
from pathlib import Path

import pytest

from kernel.errors import DumpUnreadable
from kernel.rehearsal.dump.common.model import Dump, DumpFormat
from kernel.rehearsal.dump.identify import digest_dump, identify_dump

zstandard = pytest.importorskip("zstandard", reason="optional: zstandard unpacks zstd before Python 3.14")

PLAIN = b"--\n-- PostgreSQL database dump\n--\n\nSET x = 1;\n"


def tar(*names: str) -> bytes:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as file:
        for name in names:
            file.addfile(tarfile.TarInfo(name))
    return archive.getvalue()


@pytest.mark.parametrize(
    ("content", "kind", "compression"),
    [
        (PLAIN, DumpFormat.PLAIN, ""),
        (b"PGDMP\1\x0e\0\4\0", DumpFormat.CUSTOM, ""),
        (tar("toc.dat", "1.dat"), DumpFormat.TAR, ""),
        (gzip.compress(PLAIN), DumpFormat.PLAIN, "gzip"),
        (zstandard.compress(PLAIN), DumpFormat.PLAIN, "zstd"),
    ],
    ids=["plain", "custom", "tar", "gzip", "zstd"],
)
def test_dumps_are_known_by_their_first_bytes_whatever_they_are_called(
    tmp_path: Path, content: bytes, kind: DumpFormat, compression: str
) -> None:
    path = tmp_path / "misleading.txt"
    path.write_bytes(content)
    found = identify_dump(path)
    assert (found.format, found.compression, found.size_bytes) == (kind, compression, len(content))


def test_a_folder_with_a_table_of_contents_is_an_archive(tmp_path: Path) -> None:
    (tmp_path / "toc.dat").write_bytes(b"PGDMP")
    (tmp_path / "1.dat.gz").write_bytes(b"rows")
    assert identify_dump(tmp_path) == Dump(path=tmp_path, format=DumpFormat.DIRECTORY, size_bytes=9)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "empty; dump the database again"),
        (b"BZh91AY", "bunzip2"),
        (b"\xfd7zXZ\0\0", "unxz"),
        (b"\x04\x22\x4d\x18", "unlz4"),
        (b"PK\x03\x04", "unzip"),
        (b"SQLite format 3\0", "an SQLite database"),
        (PLAIN.decode().encode("utf-16"), "UTF-16, as PowerShell's > writes it"),
        (b"--\n-- PostgreSQL database cluster dump\n--\n", "written by pg_dumpall"),
        (b"-- MySQL dump 10.13", "a dump of MySQL"),
        (b"\x7fELF\0\0", "NUL bytes"),
        (tar("backup_label", "PG_VERSION"), "a base backup"),
        (tar("dump/", "dump/toc.dat"), "unpack it first"),
        (tar("letter.txt"), "a tar file without toc.dat"),
        (gzip.compress(b"PGDMP\1"), "gunzip --keep"),
        (zstandard.compress(tar("toc.dat")), "unzstd --keep"),
        (gzip.compress(b"SQLite format 3\0"), "gzip of something that is an SQLite database"),
        (gzip.compress(b""), "empty"),
    ],
    ids=itertools.count(1),  # not the bytes, among which gzip has the time of day
)
def test_anything_else_is_called_by_its_name_and_answered_with_a_remedy(
    tmp_path: Path, content: bytes, sentence: str
) -> None:
    path = tmp_path / "dump.sql"
    path.write_bytes(content)
    with pytest.raises(DumpUnreadable) as caught:
        identify_dump(path)
    assert sentence in str(caught.value)
    assert str(caught.value).startswith(f"{path}: ")


def test_the_folder_of_a_server_is_no_dump(tmp_path: Path) -> None:
    (tmp_path / "PG_VERSION").write_text("15\n")
    with pytest.raises(DumpUnreadable, match="the data of a server"):
        identify_dump(tmp_path)


def test_a_path_to_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DumpUnreadable, match="no such file"):
        identify_dump(tmp_path / "absent.sql")


def test_the_digest_of_a_file_is_that_of_its_bytes(tmp_path: Path) -> None:
    path = tmp_path / "dump.sql"
    path.write_bytes(b"abc")
    # FIPS 180-2, appendix B.1
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert digest_dump(Dump(path=path, format=DumpFormat.PLAIN)) == expected


def test_the_digest_of_a_folder_tells_names_and_bytes_apart(tmp_path: Path) -> None:
    digests = set()
    for number, files in enumerate(({"a": "x", "b": "y"}, {"a": "y", "b": "x"}, {"ab": "xy"}, {"a": "xb", "c": "y"})):
        folder = tmp_path / str(number)
        folder.mkdir()
        for name, content in files.items():
            (folder / name).write_text(content)
        digests.add(digest_dump(Dump(path=folder, format=DumpFormat.DIRECTORY)))
    assert len(digests) == 4


def test_a_relative_path_is_known_from_everywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "prod.dump").write_bytes(b"PGDMP\x01\x0f\x00")
    monkeypatch.chdir(tmp_path)
    assert identify_dump(Path("prod.dump")).path == tmp_path / "prod.dump"
