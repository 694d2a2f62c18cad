from __future__ import annotations

import gzip
import re
from typing import TYPE_CHECKING

import psycopg
import pytest

from kernel.rehearsal.dump.identify import identify_dump
from kernel.rehearsal.dump.plain.load import load_plain_dump
from kernel.rehearsal.dump.plain.scan import open_plain_dump

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from kernel.rehearsal.dump.common.model import DumpProgress, RestoreOutcome

pytestmark = pytest.mark.slow  # each makes databases of its own; the quick suite rehearses end to end in tests/cli

RESTRICT = re.compile(rb"^\\(?:un)?restrict .*\n", re.MULTILINE)


def restored(path: Path, url: str, *, jobs: int = 2, schema_only: bool = False) -> RestoreOutcome:
    with open_plain_dump(identify_dump(path)) as index:
        return load_plain_dump(index, url, jobs=jobs, schema_only=schema_only)


def common(output: bytes) -> bytes:
    r"""A dump without the key of \restrict, which is another one each time."""
    return RESTRICT.sub(b"", output)


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--create",),
        ("--clean", "--if-exists"),
        ("--clean",),
        ("--inserts",),
        ("--column-inserts", "--rows-per-insert=7"),
        ("--load-via-partition-root",),
        ("--disable-dollar-quoting", "--quote-all-identifiers"),
        ("--encoding=LATIN1",),
    ],
    ids=" ".join,
)
def test_the_copy_dumps_as_the_original_does(
    dumped: str, database: str, pg_dump: Callable[..., bytes], tmp_path: Path, options: tuple[str, ...]
) -> None:
    path = tmp_path / "dump.sql"
    path.write_bytes(pg_dump(dumped, *options))
    done = restored(path, database)
    assert (done.lost, done.harmless) == ((), ())
    assert common(pg_dump(database)) == common(pg_dump(dumped))


@pytest.mark.parametrize(("compression", "jobs"), [("gzip", 1), ("zstd", 4)])
def test_a_compressed_dump_over_any_number_of_connections_comes_out_the_same(  # noqa: PLR0917 - fixtures
    dumped: str, database: str, pg_dump: Callable[..., bytes], tmp_path: Path, compression: str, jobs: int
) -> None:
    zstandard = pytest.importorskip("zstandard", reason="optional: zstandard unpacks zstd before Python 3.14")
    path = tmp_path / "dump.sql"
    path.write_bytes((gzip.compress if compression == "gzip" else zstandard.compress)(pg_dump(dumped)))
    done = restored(path, database, jobs=jobs)
    assert (done.lost, done.harmless) == ((), ())
    assert common(pg_dump(database)) == common(pg_dump(dumped))


def test_the_schema_alone_is_that_of_a_dump_without_rows(
    dumped: str, database: str, pg_dump: Callable[..., bytes], tmp_path: Path
) -> None:
    path = tmp_path / "dump.sql"
    path.write_bytes(pg_dump(dumped))
    done = restored(path, database, schema_only=True)
    assert (done.lost, done.harmless) == ((), ())
    assert common(pg_dump(database, "--schema-only")) == common(pg_dump(dumped, "--schema-only"))


def test_tables_are_analyzed_and_their_rows_frozen(
    dumped: str, database: str, pg_dump: Callable[..., bytes], tmp_path: Path
) -> None:
    path = tmp_path / "dump.sql"
    path.write_bytes(pg_dump(dumped))
    restored(path, database)
    with psycopg.connect(database) as connection:
        row = connection.execute(
            "SELECT reltuples, relallvisible = relpages, EXISTS (SELECT FROM pg_stats WHERE tablename = 'customer')"
            " FROM pg_class WHERE oid = 'shop.customer'::regclass"
        ).fetchone()
    assert row == (500, True, True)


def test_progress_is_told_by_bytes_up_to_all_of_the_rows(
    dumped: str, database: str, pg_dump: Callable[..., bytes], tmp_path: Path
) -> None:
    path = tmp_path / "dump.sql"
    path.write_bytes(pg_dump(dumped))
    reports: list[DumpProgress] = []
    with open_plain_dump(identify_dump(path)) as index:
        load_plain_dump(index, database, progress=reports.append)
        assert reports[-1].done_bytes == index.contents.data_bytes
    assert [one.done_bytes for one in reports] == sorted(one.done_bytes for one in reports)
    assert {one.total_bytes for one in reports} == {path.stat().st_size}
    assert {"shop.customer", "indexes", "foreign keys", "statistics"} <= {one.activity for one in reports}
