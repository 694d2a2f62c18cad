"""Large objects of a dump: their content, owners, privileges and comments are in the copy, with --schema-only none."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from kernel.rehearsal.dump.archive.contents import read_archive_contents
from kernel.rehearsal.dump.archive.restore import restore_archive
from kernel.rehearsal.dump.common.model import DumpFormat
from kernel.rehearsal.dump.common.roles import create_missing_roles
from kernel.rehearsal.dump.identify import identify_dump
from kernel.rehearsal.dump.plain.load import load_plain_dump
from kernel.rehearsal.dump.plain.scan import open_plain_dump

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from kernel.postgres.cluster import Server
    from kernel.rehearsal.dump.common.model import RestoreOutcome

pytestmark = pytest.mark.slow

# Larger than a page of pg_largeobject and than a statement of pg_dump; empty; of another owner; more than one that are
# alike, which newer versions of pg_dump put into one entry.
OBJECTS = """
CREATE TABLE files AS
  SELECT i AS id, lo_from_bytea(0, decode(repeat('00ff5c27', 9000 * i), 'hex')) AS content FROM generate_series(1, 5) i;
SELECT lo_create(4711), lo_create(4712), lo_from_bytea(4713, '');
ALTER LARGE OBJECT 4711 OWNER TO "lo; owner";
GRANT SELECT ON LARGE OBJECT 4711 TO lo_reader, PUBLIC;
GRANT SELECT, UPDATE ON LARGE OBJECT 4712 TO lo_reader WITH GRANT OPTION;
REVOKE ALL ON LARGE OBJECT 4713 FROM CURRENT_USER;
COMMENT ON LARGE OBJECT 4712 IS 'it''s; large';
"""
STATE = """
SELECT oid, pg_get_userbyid(lomowner), lomacl::text, obj_description(oid, 'pg_largeobject'), md5(lo_get(oid))
FROM pg_largeobject_metadata ORDER BY oid
"""


@pytest.fixture
def original(database: str, administrator: psycopg.Connection) -> Iterator[str]:
    administrator.execute('CREATE ROLE "lo; owner"; CREATE ROLE lo_reader')
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(OBJECTS.encode())
        yield database
        connection.execute("SELECT lo_unlink(oid) FROM pg_largeobject_metadata")
    administrator.execute('DROP ROLE "lo; owner"; DROP ROLE lo_reader')


@pytest.fixture
def copy(server: Server, administrator: psycopg.Connection) -> Iterator[str]:
    administrator.execute("CREATE DATABASE large_copy TEMPLATE template0")
    yield make_conninfo(server.conninfo, dbname="large_copy")
    administrator.execute("DROP DATABASE large_copy WITH (FORCE)")


def restored(path: Path, url: str, server: Server, *, schema_only: bool) -> RestoreOutcome:
    found = identify_dump(path)
    if found.format is DumpFormat.PLAIN:
        with open_plain_dump(found) as index:
            assert {"lo; owner", "lo_reader"} <= set(index.contents.roles)
            return load_plain_dump(index, url, schema_only=schema_only)
    contents = read_archive_contents(found, server.programs)
    assert {"lo; owner", "lo_reader"} <= set(contents.roles)
    create_missing_roles(url, contents.roles)
    return restore_archive(found, url, server.programs, schema_only=schema_only)


def state(url: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(STATE).fetchall()


@pytest.mark.parametrize("schema_only", [False, True])
@pytest.mark.parametrize(
    "options", ["--format=plain", "--inserts", "--format=custom", "--format=directory", "--format=tar"]
)
def test_large_objects_come_with_owners_privileges_and_comments_or_not_at_all(  # noqa: PLR0917 - fixtures
    original: str, copy: str, server: Server, tmp_path: Path, options: str, schema_only: bool
) -> None:
    path = tmp_path / "dump"
    subprocess.run([server.programs.bin / "pg_dump", options, f"--file={path}", f"--dbname={original}"], check=True)
    done = restored(path, copy, server, schema_only=schema_only)
    assert done.lost == ()
    assert [sentence for sentence in done.harmless if "LARGE OBJECT" in sentence] == []
    assert state(copy) == ([] if schema_only else state(original))
    assert len(state(original)) == 8
