"""The checksum: what sha256sum prints for an ordinary file, and the same for its twin from a Windows checkout."""

from __future__ import annotations

import codecs
import hashlib
import io
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.migrations.migration import HashingReader, accepted_checksums, file_checksum

if TYPE_CHECKING:
    from pathlib import Path

SCRIPTS = st.lists(st.sampled_from([b"SELECT 1;", b"\r", b"\n", b"\r\n", b"\xc3\xa4", codecs.BOM_UTF8, b"\xef\xbb"]))
CHUNKS = st.lists(st.integers(min_value=1, max_value=5))


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def digest(data: bytes, sizes: list[int]) -> str:
    """The Reader's digest of `data` read in pieces of these sizes, and then in one."""
    reader = HashingReader(io.BytesIO(data).read)
    for size in sizes:
        reader.read(size)
    while reader.read(1 << 20):
        pass
    return reader.checksum()


@given(SCRIPTS, CHUNKS)
def test_mark_and_line_ends_do_not_count_in_whatever_pieces_they_are_read(
    pieces: list[bytes], sizes: list[int]
) -> None:
    script = b"".join(pieces)
    assert digest(script, sizes) == sha256(script.removeprefix(codecs.BOM_UTF8).replace(b"\r\n", b"\n"))


@given(st.binary().filter(lambda data: b"\r" not in data and not data.startswith(codecs.BOM_UTF8)), CHUNKS)
def test_an_ordinary_file_has_the_checksum_of_its_bytes(data: bytes, sizes: list[int]) -> None:
    assert digest(data, sizes) == sha256(data)


@given(SCRIPTS, CHUNKS)
def test_reading_returns_the_bytes_as_they_are(pieces: list[bytes], sizes: list[int]) -> None:
    script = b"".join(pieces)
    reader = HashingReader(io.BytesIO(script).read)
    assert b"".join([reader.read(size) for size in sizes] + [reader.read(1 << 20)]) == script


def test_a_file_has_the_checksum_of_its_text(tmp_path: Path) -> None:
    path = tmp_path / "001_a.sql"
    path.write_bytes(b"SELECT 1;\n")
    assert file_checksum(path) == "b4e0497804e46e0a0b0b8c31975b062152d551bac49c3c2e80932567b4085dcd"


def test_a_file_longer_than_one_read_is_hashed_whole(tmp_path: Path) -> None:
    path = tmp_path / "001_a.sql"
    line = b"-- forty bytes to the end of the line.\r\n"
    path.write_bytes(codecs.BOM_UTF8 + line * 60_000)
    assert file_checksum(path) == sha256(line.replace(b"\r\n", b"\n") * 60_000)


@pytest.mark.parametrize("text", [b"SELECT 1;\nSELECT 2;\n", b"SELECT 1;\nSELECT 2;", b"", b"\n", b"SELECT '\r';\r"])
def test_every_twin_of_a_file_accepts_the_bytes_of_every_other(tmp_path: Path, text: bytes) -> None:
    twins = [mark + lines for mark in (b"", codecs.BOM_UTF8) for lines in (text, text.replace(b"\n", b"\r\n"))]
    path = tmp_path / "001_a.sql"
    for twin in twins:
        path.write_bytes(twin)
        assert accepted_checksums(path) >= {sha256(other) for other in twins}


def test_another_text_is_not_accepted(tmp_path: Path) -> None:
    path = tmp_path / "001_a.sql"
    path.write_bytes(b"SELECT 1;\n")
    assert accepted_checksums(path).isdisjoint({sha256(b"SELECT 1; \n"), sha256(b"SELECT 1;"), sha256(b"SELECT 1;\r")})
