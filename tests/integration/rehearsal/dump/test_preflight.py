from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from kernel.errors import DatabaseRefused, ProgramsMissing
from kernel.rehearsal.dump import locale, preflight, roles
from kernel.rehearsal.dump.dump import Collation, Contents, Dump, Format
from kernel.server import programs, throwaway

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kernel.server.cluster import Server

DUMP = Dump(path=Path("production"), format=Format.CUSTOM, size_bytes=1_000_000)
ROOM = 1 << 40


def test_nothing_is_missing_for_a_dump_of_the_server_itself(database: str, server: Server) -> None:
    contents = Contents(
        server_version=server.programs.version,
        encoding="UTF8",
        extensions=("plpgsql", "citext"),
        roles=("postgres", "pg_monitor"),
        collations=(Collation(locale="C.UTF-8"),),
    )
    target = preflight.facts(database, contents, ours=True)
    assert preflight.check(contents, DUMP, target, ROOM) == ()
    assert preflight.notes(contents, target) == ()


def test_everything_that_is_missing_is_told_at_once_with_its_remedy(database: str, server: Server) -> None:
    contents = Contents(
        server_version=server.programs.version,
        extensions=("vector", "citext", "no_such_thing"),
        collations=(Collation(locale="xx_YY.UTF-8"),),
        data_bytes=10**12,
    )
    target = preflight.facts(database, contents, ours=True)
    major = server.programs.major
    messages = [problem.message for problem in preflight.check(contents, DUMP, target, 10**9)]
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
    contents = Contents(server_version="99.1", extensions=("vector",))
    target = preflight.facts(database, contents, ours=False)
    told = (*(problem.message for problem in preflight.check(contents, DUMP, target, ROOM)),)
    assert "KERNEL_PG_BINDIR" not in "".join((*told, *preflight.notes(contents, target)))
    assert f"on the server of {target.name}" in told[0]
    assert "TEST_DB on PostgreSQL 99" in preflight.notes(contents, target)[0]


@pytest.mark.parametrize(("version", "effect"), [("9.6.1", "locks and rewrites can differ"), ("99.1", "told as lost")])
def test_another_major_version_is_noted_and_restored_all_the_same(database: str, version: str, effect: str) -> None:
    contents = Contents(server_version=version, tablespaces=("fast",))
    target = preflight.facts(database, contents, ours=True)
    assert preflight.check(contents, DUMP, target, ROOM) == ()
    first, second = preflight.notes(contents, target)
    assert effect in first
    assert second == "tablespaces fast: everything is in the default one here"


def test_room_is_asked_for_the_copy_and_its_clones_and_little_without_rows(database: str) -> None:
    contents = Contents(data_bytes=10**9)
    target = preflight.facts(database, contents, ours=True)
    needed = preflight.needed_bytes(contents, DUMP)
    assert needed > 3 * contents.data_bytes
    assert preflight.check(contents, DUMP, target, needed) == ()
    (problem,) = preflight.check(contents, DUMP, target, needed - 1)
    assert problem.message.startswith("disk space: ")
    assert preflight.check(contents, DUMP, target, 10**8, schema_only=True) == ()


def test_another_encoding_is_a_problem_only_where_it_cannot_hold_all_of_it(database: str) -> None:
    contents = Contents(encoding="UTF8")
    target = preflight.facts(database, contents, ours=True)
    assert preflight.check(replace(contents, encoding="LATIN1"), DUMP, target, ROOM) == ()
    (problem,) = preflight.check(contents, DUMP, replace(target, encoding="LATIN1"), ROOM)
    assert problem.message.endswith("create it with ENCODING 'UTF8' TEMPLATE template0")


@pytest.fixture
def powerless(database: str, administrator: psycopg.Connection) -> Iterator[str]:
    administrator.execute("CREATE ROLE powerless LOGIN")
    yield make_conninfo(database, user="powerless")
    administrator.execute("DROP ROLE powerless")


def test_missing_roles_are_a_problem_only_where_they_may_not_be_made(database: str, powerless: str) -> None:
    contents = Contents(roles=("postgres", "no; such", "pg_of_the_future"))
    target = preflight.facts(database, contents, ours=True)
    assert preflight.check(contents, DUMP, target, ROOM) == ()
    (problem,) = preflight.check(contents, DUMP, preflight.facts(powerless, contents, ours=False), ROOM)
    assert problem.message.endswith(': CREATE ROLE "no; such" NOLOGIN;')
    with pytest.raises(DatabaseRefused, match='CREATE ROLE "no; such" NOLOGIN;'):
        roles.create(powerless, contents.roles)


def test_asking_leaves_nothing_behind(database: str, powerless: str) -> None:
    contents = Contents(collations=(Collation(locale="C"), Collation(locale="und", provider="icu")))
    for url in (database, powerless):
        preflight.facts(url, contents, ours=True)
    with psycopg.connect(database) as connection:
        rows = connection.execute("SELECT collname FROM pg_collation WHERE collname = 'tried'").fetchall()
    assert rows == []


def test_a_hostile_name_of_a_locale_is_no_path() -> None:
    made = locale.private([Collation(locale="../../etc/x.UTF-8"), Collation(locale="en_US.UTF-8/../..")])
    assert made.environ == ()
    assert len(made.problems) == 2


@pytest.mark.slow
def test_a_locale_that_the_system_lacks_is_made_for_our_servers_alone() -> None:
    wanted = Collation(locale="sv_SE.UTF-8")
    made = locale.private([wanted, Collation(locale="C.UTF-8")])
    if made.problems:
        pytest.skip(f"no PostgreSQL with locales: {made.problems[0].message}")
    with throwaway.guarded(programs.find(None), environ=dict(made.environ)) as guard:
        started = guard.serve(throwaway.SETTINGS)
        contents = Contents(collations=(wanted,))
        assert preflight.facts(started.conninfo, contents, ours=True).lacking == ()
        with psycopg.connect(started.conninfo, autocommit=True) as connection:
            connection.execute("CREATE COLLATION swedish (provider = libc, locale = 'sv_SE.UTF-8')")
            row = connection.execute(
                "SELECT string_agg(x, '' ORDER BY x COLLATE swedish) FROM unnest(ARRAY['ö', 'z', 'ä', 'a']) AS x"
            ).fetchone()
    assert row == ("azäö",)


def test_a_build_without_icu_is_told_from_an_unknown_locale() -> None:
    try:
        without = programs.find(None, major=17)
    except ProgramsMissing:
        pytest.skip("needs PostgreSQL 17, whose wheel is built without ICU")
    wanted = Contents(collations=(Collation(locale="und-x-icu", provider="icu"), Collation(locale="C.UTF-8")))
    with throwaway.server(without) as started:
        target = preflight.facts(started.conninfo, wanted, ours=True)
        with psycopg.connect(started.conninfo, autocommit=True) as connection:
            try:
                connection.execute("CREATE COLLATION made (provider = icu, locale = 'und')")
            except psycopg.errors.FeatureNotSupported:
                assert target.lacking == wanted.collations[:1]
            else:
                pytest.skip("this PostgreSQL is built with ICU")
