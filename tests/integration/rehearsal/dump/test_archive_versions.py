"""Dumps of every major version in every format, into the local PostgreSQL and into one of their own version."""

from __future__ import annotations

import subprocess
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from kernel.errors import Unprepared
from kernel.postgres.programs import find_programs
from kernel.postgres.throwaway import throwaway_server
from kernel.rehearsal.dump.archive.contents import read_archive_contents
from kernel.rehearsal.dump.archive.restore import restore_archive
from kernel.rehearsal.dump.common.model import DumpFormat
from kernel.rehearsal.dump.common.roles import create_missing_roles
from kernel.rehearsal.dump.identify import identify_dump
from kernel.rehearsal.dump.plain.load import load_plain_dump
from kernel.rehearsal.dump.plain.scan import open_plain_dump
from kernel.rehearsal.dump.preflight import check_target_server, inspect_target_server
from tests.integration.rehearsal.dump import majors

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kernel.postgres.programs import Programs
    from kernel.rehearsal.dump.common.model import DumpContents, RestoreOutcome

pytestmark = pytest.mark.slow

EVERYTHING = Path(__file__).with_name("everything.sql")
KINDS = {
    "custom": ("--format=custom",),
    "directory": ("--format=directory",),
    "tar": ("--format=tar",),
    "plain": ("--format=plain",),
    "plain with create": ("--format=plain", "--create"),
    "schema only": ("--format=custom", "--schema-only"),
}
ROWS = """
SELECT (SELECT count(*) FROM shop.customer), (SELECT sum(twice) FROM shop.customer), (SELECT count(*) FROM part_b1),
    (SELECT count(*) FROM "we""ird"."T able; "), (SELECT convert_from(lo_get(4711), 'UTF8')),
    (SELECT last_value FROM sq)
"""
NOTHING_LOST_BY = ("pg_restore ", "SET transaction_timeout")


@pytest.fixture(scope="module", params=majors.ALL)
def major(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture(scope="module")
def its(major: int) -> Programs:
    return majors.programs_of(major)


@pytest.fixture
def _libraries(its: Programs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LD_LIBRARY_PATH", str(its.bin.parent / "lib"))


@pytest.fixture(scope="module")
def dumps(its: Programs, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Path], tuple[object, ...]]:
    """A dump of every kind by the major version's own pg_dump, and what ROWS yields of the original."""
    folder = tmp_path_factory.mktemp(f"dumps-{its.major}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LD_LIBRARY_PATH", str(its.bin.parent / "lib"))
        with throwaway_server(its) as started:
            with psycopg.connect(started.conninfo, autocommit=True) as administrator:
                administrator.execute("CREATE ROLE dump_alice; CREATE ROLE dump_bob")
                administrator.execute("CREATE DATABASE dumped")
            conninfo = make_conninfo(started.conninfo, dbname="dumped")
            with psycopg.connect(conninfo, autocommit=True) as connection:
                connection.execute(EVERYTHING.read_bytes())
                rows = connection.execute(ROWS).fetchone()
            for kind, options in KINDS.items():
                command = [str(its.bin / "pg_dump"), *options, f"--file={folder / kind}", f"--dbname={conninfo}"]
                subprocess.run(command, check=True)
    assert rows
    return {kind: folder / kind for kind in KINDS}, rows


@cache
def local() -> Programs:
    return find_programs(None)


@pytest.fixture
def copy(its: Programs, request: pytest.FixtureRequest) -> Iterator[tuple[str, Programs]]:
    """The conninfo of a fresh database, on the local PostgreSQL or one of the dump's version, and its programs."""
    if request.param == "own":
        request.getfixturevalue("_libraries")
    chosen = its if request.param == "own" else local()
    with throwaway_server(chosen) as started:
        with psycopg.connect(started.conninfo, autocommit=True) as administrator:
            administrator.execute("CREATE DATABASE copy TEMPLATE template0")
        yield make_conninfo(started.conninfo, dbname="copy"), chosen


def restored(path: Path, url: str, chosen: Programs) -> tuple[DumpContents, RestoreOutcome]:
    found = identify_dump(path)
    if found.format is DumpFormat.PLAIN:
        with open_plain_dump(found) as index:
            create_missing_roles(url, index.contents.roles)
            return index.contents, load_plain_dump(index, url)
    contents = read_archive_contents(found, chosen)
    create_missing_roles(url, contents.roles)
    return contents, restore_archive(found, url, chosen)


@pytest.mark.parametrize("copy", ["local", "own"], indirect=True)
@pytest.mark.parametrize("kind", KINDS)
def test_a_dump_of_any_version_and_format_is_restored_whole_or_refused_with_a_remedy(
    major: int, dumps: tuple[dict[str, Path], tuple[object, ...]], copy: tuple[str, Programs], kind: str
) -> None:
    paths, rows = dumps
    url, chosen = copy
    try:
        contents, done = restored(paths[kind], url, chosen)
    except Unprepared as error:
        refused = str(error)
    else:
        refused = ""
    if refused:
        assert major > chosen.major
        assert "set KERNEL_PG_BINDIR" in refused
        return
    assert contents.server_major == major
    assert (
        check_target_server(
            contents, identify_dump(paths[kind]), inspect_target_server(url, contents, is_throwaway=True), 1 << 40
        )
        == ()
    )
    assert done.lost == ()
    assert [sentence for sentence in done.harmless if not sentence.startswith(NOTHING_LOST_BY)] == []
    with psycopg.connect(url) as connection:
        if kind == "schema only":
            assert connection.execute("SELECT count(*) FROM shop.customer").fetchone() == (0,)
        else:
            assert connection.execute(ROWS).fetchone() == rows
