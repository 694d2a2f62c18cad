from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from kernel.errors import DatabaseRefused, ProgramsMissing
from kernel.postgres.programs import find_programs
from kernel.postgres.throwaway import THROWAWAY_SETTINGS, open_watched_cluster, throwaway_server
from kernel.rehearsal.dump.identify import Collation, Dump, DumpContents, DumpFormat
from kernel.rehearsal.dump.preflight import (
    check_target_server,
    describe_differences,
    estimate_needed_bytes,
    inspect_target_server,
    provide_locales,
)
from kernel.rehearsal.dump.roles import create_missing_roles

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
    target = inspect_target_server(database, contents, ours=True)
    assert check_target_server(contents, DUMP, target, ROOM) == ()
    assert describe_differences(contents, target) == ()


def test_everything_that_is_missing_is_told_at_once_with_its_remedy(database: str, server: Server) -> None:
    contents = DumpContents(
        server_version=server.programs.version,
        extensions=("vector", "citext", "no_such_thing"),
        collations=(Collation(locale="xx_YY.UTF-8"),),
        data_bytes=10**12,
    )
    target = inspect_target_server(database, contents, ours=True)
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


def test_a_server_of_somebody_else_is_not_told_to_use_other_programs(database: str) -> None:
    contents = DumpContents(server_version="99.1", extensions=("vector",))
    target = inspect_target_server(database, contents, ours=False)
    told = (*(problem.message for problem in check_target_server(contents, DUMP, target, ROOM)),)
    assert "KERNEL_PG_BINDIR" not in "".join((*told, *describe_differences(contents, target)))
    assert f"on the server of {target.name}" in told[0]
    assert "TEST_DB on PostgreSQL 99" in describe_differences(contents, target)[0]


@pytest.mark.parametrize(("version", "effect"), [("9.6.1", "locks and rewrites can differ"), ("99.1", "told as lost")])
def test_another_major_version_is_noted_and_restored_all_the_same(database: str, version: str, effect: str) -> None:
    contents = DumpContents(server_version=version, tablespaces=("fast",))
    target = inspect_target_server(database, contents, ours=True)
    assert check_target_server(contents, DUMP, target, ROOM) == ()
    first, second = describe_differences(contents, target)
    assert effect in first
    assert second == "tablespaces fast: everything is in the default one here"


def test_room_is_asked_for_the_copy_and_its_clones_and_little_without_rows(database: str) -> None:
    contents = DumpContents(data_bytes=10**9)
    target = inspect_target_server(database, contents, ours=True)
    needed = estimate_needed_bytes(contents, DUMP)
    assert needed > 3 * contents.data_bytes
    assert check_target_server(contents, DUMP, target, needed) == ()
    (problem,) = check_target_server(contents, DUMP, target, needed - 1)
    assert problem.message.startswith("disk space: ")
    assert check_target_server(contents, DUMP, target, 10**8, schema_only=True) == ()


def test_another_encoding_is_a_problem_only_where_it_cannot_hold_all_of_it(database: str) -> None:
    contents = DumpContents(encoding="UTF8")
    target = inspect_target_server(database, contents, ours=True)
    assert check_target_server(replace(contents, encoding="LATIN1"), DUMP, target, ROOM) == ()
    (problem,) = check_target_server(contents, DUMP, replace(target, encoding="LATIN1"), ROOM)
    assert problem.message.endswith("create it with ENCODING 'UTF8' TEMPLATE template0")


@pytest.fixture
def powerless(database: str, administrator: psycopg.Connection) -> Iterator[str]:
    administrator.execute("CREATE ROLE powerless LOGIN")
    yield make_conninfo(database, user="powerless")
    administrator.execute("DROP ROLE powerless")


def test_missing_roles_are_a_problem_only_where_they_may_not_be_made(database: str, powerless: str) -> None:
    contents = DumpContents(roles=("postgres", "no; such", "pg_of_the_future"))
    target = inspect_target_server(database, contents, ours=True)
    assert check_target_server(contents, DUMP, target, ROOM) == ()
    (problem,) = check_target_server(contents, DUMP, inspect_target_server(powerless, contents, ours=False), ROOM)
    assert problem.message.endswith(': CREATE ROLE "no; such" NOLOGIN;')
    with pytest.raises(DatabaseRefused, match='CREATE ROLE "no; such" NOLOGIN;'):
        create_missing_roles(powerless, contents.roles)


def test_asking_leaves_nothing_behind(database: str, powerless: str) -> None:
    contents = DumpContents(collations=(Collation(locale="C"), Collation(locale="und", provider="icu")))
    for url in (database, powerless):
        inspect_target_server(url, contents, ours=True)
    with psycopg.connect(database) as connection:
        rows = connection.execute("SELECT collname FROM pg_collation WHERE collname = 'tried'").fetchall()
    assert rows == []


def test_a_hostile_name_of_a_locale_is_no_path() -> None:
    made = provide_locales([Collation(locale="../../etc/x.UTF-8"), Collation(locale="en_US.UTF-8/../..")])
    assert made.environ == ()
    assert len(made.problems) == 2


@pytest.mark.slow
def test_a_locale_that_the_system_lacks_is_made_for_our_servers_alone() -> None:
    wanted = Collation(locale="sv_SE.UTF-8")
    made = provide_locales([wanted, Collation(locale="C.UTF-8")])
    if made.problems:
        pytest.skip(f"no PostgreSQL with locales: {made.problems[0].message}")
    with open_watched_cluster(find_programs(None), environ=dict(made.environ)) as guard:
        started = guard.serve(THROWAWAY_SETTINGS)
        contents = DumpContents(collations=(wanted,))
        assert inspect_target_server(started.conninfo, contents, ours=True).missing_collations == ()
        with psycopg.connect(started.conninfo, autocommit=True) as connection:
            connection.execute("CREATE COLLATION swedish (provider = libc, locale = 'sv_SE.UTF-8')")
            row = connection.execute(
                "SELECT string_agg(x, '' ORDER BY x COLLATE swedish) FROM unnest(ARRAY['ö', 'z', 'ä', 'a']) AS x"
            ).fetchone()
    assert row == ("azäö",)


def test_a_build_without_icu_is_told_from_an_unknown_locale() -> None:
    try:
        without = find_programs(None, major=17)
    except ProgramsMissing:
        pytest.skip("needs PostgreSQL 17, whose wheel is built without ICU")
    wanted = DumpContents(collations=(Collation(locale="und-x-icu", provider="icu"), Collation(locale="C.UTF-8")))
    with throwaway_server(without) as started:
        target = inspect_target_server(started.conninfo, wanted, ours=True)
        with psycopg.connect(started.conninfo, autocommit=True) as connection:
            try:
                connection.execute("CREATE COLLATION made (provider = icu, locale = 'und')")
            except psycopg.errors.FeatureNotSupported:
                assert target.missing_collations == wanted.collations[:1]
            else:
                pytest.skip("this PostgreSQL is built with ICU")
