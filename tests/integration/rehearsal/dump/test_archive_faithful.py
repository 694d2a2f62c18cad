from __future__ import annotations

import re
from typing import TYPE_CHECKING

import psycopg
import pytest

from kernel.rehearsal.dump.archive.contents import read_archive_contents
from kernel.rehearsal.dump.archive.restore import restore_archive
from kernel.rehearsal.dump.identify import identify_dump

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from kernel.postgres.cluster import Server
    from kernel.rehearsal.dump.common.model import DumpProgress, RestoreOutcome

pytestmark = pytest.mark.slow  # each makes databases of its own; the quick suite rehearses end to end in tests/cli

RESTRICT = re.compile(rb"^\\(?:un)?restrict .*\n", re.MULTILINE)
# Its owner is in the archive's list only, not in its schema's SQL: a copy's large objects belong to who restores.
LARGE_OBJECT = re.compile(
    rb"^(?:ALTER LARGE OBJECT 4711 OWNER TO|-- Name: (?:LARGE OBJECT )?4711; Type: (?:BLOB|COMMENT);).*\n", re.MULTILINE
)
FORMATS = ("custom", "directory", "tar")


def restored(path: Path, url: str, server: Server, *, jobs: int = 2, schema_only: bool = False) -> RestoreOutcome:
    return restore_archive(identify_dump(path), url, server.programs, jobs=jobs, schema_only=schema_only)


def unexpected(done: RestoreOutcome) -> list[str]:
    """What was harmless, but for the age of pg_restore, which is not the archive's fault."""
    return [sentence for sentence in done.harmless if not sentence.startswith("pg_restore ")]


def common(output: bytes) -> bytes:
    r"""A dump without what differs in every one: the key of \restrict; and without whose the large object is."""
    return LARGE_OBJECT.sub(b"", RESTRICT.sub(b"", output))


@pytest.mark.parametrize(("kind", "jobs"), [("custom", 1), ("custom", 3), ("directory", 2), ("tar", 2)])
def test_the_copy_of_an_archive_dumps_as_the_original_does(  # noqa: PLR0917 - fixtures
    archives: dict[str, Path],
    dumped: str,
    database: str,
    server: Server,
    pg_dump: Callable[..., bytes],
    kind: str,
    jobs: int,
) -> None:
    done = restored(archives[kind], database, server, jobs=jobs)
    assert (done.lost, unexpected(done)) == ((), [])
    assert common(pg_dump(database)) == common(pg_dump(dumped))


def test_the_schema_alone_has_no_rows_and_no_losses(
    archives: dict[str, Path], dumped: str, database: str, server: Server, pg_dump: Callable[..., bytes]
) -> None:
    done = restored(archives["custom"], database, server, schema_only=True)
    assert (done.lost, unexpected(done)) == ((), [])
    assert common(pg_dump(database, "--schema-only")) == common(pg_dump(dumped, "--schema-only"))
    with psycopg.connect(database) as connection:
        assert connection.execute("SELECT count(*) FROM shop.customer").fetchone() == (0,)


def test_nothing_of_the_load_stays_behind_and_tables_are_analyzed(
    archives: dict[str, Path], database: str, server: Server
) -> None:
    restored(archives["directory"], database, server)
    with psycopg.connect(database) as connection:
        roles = connection.execute("SELECT rolname FROM pg_roles WHERE rolname LIKE 'aibos%'").fetchall()
        estimate = connection.execute("SELECT reltuples FROM pg_class WHERE oid = 'shop.customer'::regclass").fetchone()
    assert (roles, estimate) == ([], (500,))


@pytest.mark.parametrize("kind", FORMATS)
def test_contents_name_what_the_archive_needs(
    archives: dict[str, Path], server: Server, administrator: psycopg.Connection, kind: str
) -> None:
    contents = read_archive_contents(identify_dump(archives[kind]), server.programs)
    row = administrator.execute("SELECT datcollate FROM pg_database WHERE datname = 'dumped'").fetchone()
    assert (contents.server_version, contents.database, contents.encoding) == (
        server.programs.version,
        "dumped",
        "UTF8",
    )
    assert (contents.lc_collate,) == row
    assert contents.extensions == ("citext",)
    assert {"dump_alice", "dump_bob"} <= set(contents.roles)
    assert contents.data_bytes > 0


def test_progress_only_grows_and_never_passes_its_end(archives: dict[str, Path], database: str, server: Server) -> None:
    reports: list[DumpProgress] = []
    restore_archive(identify_dump(archives["directory"]), database, server.programs, progress=reports.append)
    done = [one.done_bytes for one in reports]
    assert done == sorted(done)
    assert done[-1] <= reports[-1].total_bytes
    assert reports[-1].activity == "statistics"
