"""A table's rows in parts for several connections: every row in exactly one, and none cut."""

from __future__ import annotations

import os
import tempfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.rehearsal.dump.plain.contents import RowBlock
from kernel.rehearsal.dump.plain.rows import SPLIT_MIN_BYTES, is_dominant_table, split_block
from kernel.rehearsal.dump.plain.text import DumpText

ROW = st.binary(min_size=0, max_size=12).map(lambda row: row.replace(b"\n", b"\\\n").replace(b"\\\\", b""))


def parts(data: bytes, hands: int) -> list[bytes]:
    ahead = b"COPY t FROM stdin;\n"
    with tempfile.TemporaryFile(buffering=0) as file:
        file.write(ahead + data + b"\\.\n")
        text = DumpText(descriptor=file.fileno(), name="dump", size_bytes=os.fstat(file.fileno()).st_size)
        block = RowBlock(b"t", 0, len(ahead), len(ahead), len(data), 0)
        return [text.read(piece.offset, piece.length) for piece in split_block(text, block, hands)]


@given(st.lists(ROW, min_size=1, max_size=60), st.integers(2, 8))
def test_the_parts_joined_are_the_rows_and_each_ends_with_one(rows: list[bytes], hands: int) -> None:
    data = b"".join(row + b"\n" for row in rows)
    found = parts(data, hands)
    assert b"".join(found) == data
    assert 1 <= len(found) <= hands
    for part in found:
        assert part.endswith(b"\n")
    for part in found[:-1]:
        assert not part.endswith(b"\\\n"), "a line end behind a backslash is inside of a row"


def test_many_rows_are_shared_about_evenly() -> None:
    found = parts(b"".join(b"%d\trow\n" % number for number in range(10_000)), 4)
    assert len(found) == 4
    assert max(map(len, found)) - min(map(len, found)) < 100


@pytest.mark.parametrize(
    ("length", "total", "hands", "shared"),
    [
        (SPLIT_MIN_BYTES, SPLIT_MIN_BYTES, 2, True),
        (SPLIT_MIN_BYTES, SPLIT_MIN_BYTES, 1, False),
        (SPLIT_MIN_BYTES - 1, SPLIT_MIN_BYTES, 2, False),
        (SPLIT_MIN_BYTES, 2 * SPLIT_MIN_BYTES, 2, False),
        (SPLIT_MIN_BYTES, 2 * SPLIT_MIN_BYTES, 4, True),
    ],
)
def test_only_a_table_that_everybody_would_wait_for_is_shared(
    length: int, total: int, hands: int, shared: bool
) -> None:
    assert is_dominant_table([RowBlock(b"t", 0, 10, 10, length, 0)], total, hands) is shared
