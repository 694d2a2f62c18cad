"""How large the rows of an archive are, unpacked."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

import pytest

from kernel.rehearsal.dump.archive.contents import uncompressed_bytes

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("rows", [b"", b"\\.\n\n\n", b"1\t2\n" * 10_000], ids=["none", "few", "many"])
def test_the_uncompressed_size_of_gzip_is_exact(tmp_path: Path, rows: bytes) -> None:
    packed = tmp_path / "3519.dat.gz"
    packed.write_bytes(gzip.compress(rows))
    assert uncompressed_bytes(packed) == len(rows)
