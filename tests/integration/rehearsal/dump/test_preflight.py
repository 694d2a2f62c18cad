from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from kernel.errors import DatabaseRefused, ProgramsMissing
from kernel.postgres.programs import find_programs
from kernel.postgres.throwaway import throwaway_server
from kernel.rehearsal.dump.common.model import Collation, Dump, DumpContents, DumpFormat
from kernel.rehearsal.dump.common.roles import create_missing_roles
from kernel.rehearsal.dump.preflight import (
    check_target_server,
    describe_differences,
    estimate_needed_bytes,
    inspect_target_server,
    unavailable_locales,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kernel.postgres.cluster import Server

DUMP = Dump(path=Path("production"), format=DumpFormat.CUSTOM, size_bytes=1_000_000)
ROOM = 1 << 40


def test_nothing_is_missing_for_a_dump_of_the_server_itself(database: str, server: Server) -> None:
    contents = DumpContents(
        server_version=server.programs.version,
        encoding="UTF8",
        extensions=("plpgsql", "citext"),
        roles=("postgres", "pg_monitor"),
        collations=(Collation(locale="C.UTF-8"),),
    )
    target = inspect_target_server(database, contents, is_throwaway=True)
    assert check_target_server(contents, DUMP, target, ROOM) == ()
    assert describe_differences(contents, target) == ()


def test_everything_that_is_missing_is_reported_at_once_with_its_remedy(database: str, server: Server) -> None:
    contents = DumpContents(
        server_version=server.programs.version,
        extensions=("vector", "citext", "no_such_thing"),
        collations=(Collation(locale="xx_YY.UTF-8"),),
        data_bytes=10**12,
    )
    target = inspect_target_server(database, contents, is_throwaway=True)
    major = server.programs.major
    messages = [problem.message for problem in check_target_server(contents, DUMP, target, 10**9)]
    assert [message.partition(":")[0] for message in messages] == [
        "extension vector",
        "extension no_such_thing",
        "locale xx_YY.UTF-8",
        "disk space",
    ]
    assert f"apt-get install postgresql-{major}-pgvector), or set KERNEL_PG_BINDIR" in messages[0]
    assert f"apt-get install postgresql-{major}-no-such-thing)" in messages[1]
    assert "--schema-only" in messages[3]


def test_the_remedy_on_a_server_of_the_user_is_not_other_programs(database: str) -> None:
    contents = DumpContents(server_version="99.1", extensions=("vector",))
    target = inspect_target_server(database, contents, is_throwaway=False)
    messages = (*(problem.message for problem in check_target_server(contents, DUMP, target, ROOM)),)
    assert "KERNEL_PG_BINDIR" not in "".join((*messages, *describe_differences(contents, target)))
    assert f"on the server of {target.name}" in messages[0]
    assert "TEST_DB on PostgreSQL 99" in describe_differences(contents, target)[0]


@pytest.mark.parametrize(
    ("version", "effect"), [("9.6.1", "locks and rewrites can differ"), ("99.1", "reported as lost")]
)
def test_another_major_version_is_noted_and_restored_all_the_same(database: str, version: str, effect: str) -> None:
    contents = DumpContents(server_version=version, tablespaces=("fast",))
    target = inspect_target_server(database, contents, is_throwaway=True)
    assert check_target_server(contents, DUMP, target, ROOM) == ()
    first, second = describe_differences(contents, target)
    assert effect in first
    assert second == "tablespaces fast: everything is in the default one here"


def test_disk_space_is_needed_for_the_copy_and_its_clones_and_little_without_rows(database: str) -> None:
    contents = DumpContents(data_bytes=10**9)
    target = inspect_target_server(database, contents, is_throwaway=True)
    needed = estimate_needed_bytes(contents, DUMP)
    assert needed > 3 * contents.data_bytes
    assert check_target_server(contents, DUMP, target, needed) == ()
    (problem,) = check_target_server(contents, DUMP, target, needed - 1)
    assert problem.message.startswith("disk space: ")
    assert check_target_server(contents, DUMP, target, 10**8, schema_only=True) == ()


def test_another_encoding_is_a_problem_only_where_it_cannot_hold_all_of_it(database: str) -> None:
    contents = DumpContents(encoding="UTF8")
    target = inspect_target_server(database, contents, is_throwaway=True)
    assert check_target_server(replace(contents, encoding="LATIN1"), DUMP, target, ROOM) == ()
    (problem,) = check_target_server(contents, DUMP, replace(target, encoding="LATIN1"), ROOM)
    assert problem.message.endswith("create it with ENCODING 'UTF8' TEMPLATE template0")


@pytest.fixture
def powerless(database: str, administrator: psycopg.Connection) -> Iterator[str]:
    administrator.execute("CREATE ROLE powerless LOGIN")
    yield make_conninfo(database, user="powerless")
    administrator.execute("DROP ROLE powerless")


def test_missing_roles_are_a_problem_only_where_they_may_not_be_created(database: str, powerless: str) -> None:
    contents = DumpContents(roles=("postgres", "no; such", "pg_of_the_future"))
    target = inspect_target_server(database, contents, is_throwaway=True)
    assert check_target_server(contents, DUMP, target, ROOM) == ()
    (problem,) = check_target_server(
        contents, DUMP, inspect_target_server(powerless, contents, is_throwaway=False), ROOM
    )
    assert problem.message.endswith(': CREATE ROLE "no; such" NOLOGIN;')
    with pytest.raises(DatabaseRefused, match='CREATE ROLE "no; such" NOLOGIN;'):
        create_missing_roles(powerless, contents.roles)


def test_inspecting_the_server_leaves_nothing_there(database: str, powerless: str) -> None:
    contents = DumpContents(collations=(Collation(locale="C"), Collation(locale="und", provider="icu")))
    for url in (database, powerless):
        inspect_target_server(url, contents, is_throwaway=True)
    with psycopg.connect(database) as connection:
        rows = connection.execute("SELECT collname FROM pg_collation WHERE collname = 'tried'").fetchall()
    assert rows == []


def test_locales_that_this_machine_lacks_are_known_by_any_spelling() -> None:
    wanted = ("C", "C.UTF-8", "C.utf8", "xx_YY.UTF-8", "../../etc/x.UTF-8")
    collations = [*(Collation(locale=name) for name in wanted), Collation(locale="xx", provider="icu")]
    assert unavailable_locales(collations) == ("xx_YY.UTF-8", "../../etc/x.UTF-8")


def test_a_build_without_icu_is_distinguished_from_an_unknown_locale() -> None:
    try:
        without = find_programs(None, major=17)
    except ProgramsMissing:
        pytest.skip("needs PostgreSQL 17, whose wheel is built without ICU")
    wanted = DumpContents(collations=(Collation(locale="und-x-icu", provider="icu"), Collation(locale="C.UTF-8")))
    with throwaway_server(without) as started:
        target = inspect_target_server(started.conninfo, wanted, is_throwaway=True)
        with psycopg.connect(started.conninfo, autocommit=True) as connection:
            try:
                connection.execute("CREATE COLLATION made (provider = icu, locale = 'und')")
            except psycopg.errors.FeatureNotSupported:
                assert target.missing_collations == wanted.collations[:1]
            else:
                pytest.skip("this PostgreSQL is built with ICU")
