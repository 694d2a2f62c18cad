from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from kernel.errors import ProgramsMissing, RestoreFailed, Unprepared
from kernel.postgres.programs import find_programs
from kernel.postgres.throwaway import throwaway_server
from kernel.rehearsal.dump import production
from kernel.rehearsal.dump.archive.contents import read_archive_contents
from kernel.rehearsal.dump.archive.restore import restore_archive
from kernel.rehearsal.dump.production import (
    EXPORT_APPLICATION_NAME,
    export_production,
    find_missing_privileges,
    open_production,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kernel.postgres.cluster import Server
    from kernel.rehearsal.dump.common.model import DumpProgress

pytestmark = pytest.mark.slow

PRODUCTION = """
CREATE SCHEMA shop;
CREATE TABLE shop.orders AS SELECT i AS id, md5(i::text) AS note FROM generate_series(1, 20000) i;
CREATE TABLE shop."strange; name" (id int GENERATED ALWAYS AS IDENTITY);
CREATE SEQUENCE numbers;
CREATE TABLE events (at date) PARTITION BY RANGE (at);
CREATE TABLE events_2026 PARTITION OF events FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
CREATE MATERIALIZED VIEW shop.totals AS SELECT count(*) FROM shop.orders;
"""
MAY_READ = """
GRANT USAGE ON SCHEMA shop TO reader;
GRANT SELECT ON ALL TABLES IN SCHEMA shop, public TO reader;
GRANT SELECT ON ALL SEQUENCES IN SCHEMA shop, public TO reader;
"""
WRITES = """
SELECT tup_inserted, tup_updated, tup_deleted, temp_files, tup_returned > %s, xact_commit
FROM pg_stat_database WHERE datname = current_database()
"""


@pytest.fixture
def production_url(database: str, administrator: psycopg.Connection) -> Iterator[str]:
    """The conninfo of a database for the role `reader`, who may do nothing but log in."""
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(PRODUCTION.encode())
        flush_statistics(connection)
        administrator.execute("CREATE ROLE reader LOGIN PASSWORD 'hush hush'")
        yield make_conninfo(database, user="reader", password="hush hush")  # noqa: S106 - it is looked for below
        connection.execute("DROP OWNED BY reader")
    administrator.execute("DROP ROLE reader")


def allow(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(MAY_READ.encode())
        flush_statistics(connection)


def flush_statistics(connection: psycopg.Connection[Any]) -> None:
    """Report what the session has done now, where the server can: otherwise it does so within a second."""
    if connection.info.server_version >= 150000:
        connection.execute("SELECT pg_stat_force_next_flush()")
        connection.execute("SELECT")


@pytest.mark.parametrize("schema_only", [False, True])
def test_a_role_with_select_alone_suffices_and_writes_nothing(
    production_url: str, database: str, server: Server, tmp_path: Path, schema_only: bool
) -> None:
    allow(database)
    with psycopg.connect(database, autocommit=True) as connection:
        before = connection.execute(WRITES, (-1,)).fetchone()
        returned = connection.execute("SELECT tup_returned FROM pg_stat_database").fetchall()
        dump = export_production(production_url, tmp_path / "dump", server.programs, schema_only=schema_only)
        connection.execute("SELECT pg_stat_clear_snapshot()")
        after = connection.execute(WRITES, (max(count for (count,) in returned),)).fetchone()
    assert before
    assert after
    assert after[:4] == before[:4], "inserted, updated, deleted, temporary files"
    assert after[4:] != before[4:], "what it read has been counted"
    contents = read_archive_contents(dump, server.programs)
    assert contents.server_version == server.programs.version
    assert (contents.data_bytes > 0) is not schema_only


def test_the_dump_of_production_restores_to_the_same_rows(
    production_url: str, database: str, server: Server, administrator: psycopg.Connection, tmp_path: Path
) -> None:
    allow(database)
    reports: list[DumpProgress] = []
    dump = export_production(production_url, tmp_path / "dump", server.programs, progress=reports.append)
    administrator.execute("CREATE DATABASE copied")
    try:
        copy = make_conninfo(server.conninfo, dbname="copied")
        assert restore_archive(dump, copy, server.programs).lost == ()
        query = "SELECT count(*), sum(hashtext(note)) FROM shop.orders"
        with psycopg.connect(copy) as one, psycopg.connect(database) as other:
            assert one.execute(query).fetchone() == other.execute(query).fetchone()
    finally:
        administrator.execute("DROP DATABASE copied WITH (FORCE)")
    assert all(one.activity == "dumping production" for one in reports)
    assert (tmp_path / "dump").stat().st_mode & 0o077 == 0, "no other account may read it"


def test_the_sessions_of_pg_dump_cannot_write_and_no_command_line_holds_the_password(
    production_url: str, database: str, server: Server, tmp_path: Path
) -> None:
    if not Path("/proc/self/cmdline").exists():
        pytest.skip("this PostgreSQL runs where processes do not show their command lines")
    allow(database)
    lines: set[str] = set()
    names: set[str] = set()

    def look(_: DumpProgress) -> None:
        for process in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                line = process.read_text()
            except OSError:
                continue  # it has ended
            if "pg_dump" in line:
                lines.add(line)
        rows = connection.execute("SELECT application_name FROM pg_stat_activity WHERE usename = 'reader'").fetchall()
        names.update(name for (name,) in rows)

    with psycopg.connect(database, autocommit=True) as connection:
        export_production(production_url, tmp_path / "dump", server.programs, progress=look)
    assert lines
    assert names == {EXPORT_APPLICATION_NAME}
    assert "hush" not in "".join(lines)


def test_everything_that_pg_dump_may_not_read_is_told_at_once_with_what_mends_it(
    production_url: str, database: str, server: Server, tmp_path: Path
) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("ALTER TABLE events_2026 ENABLE ROW LEVEL SECURITY; SELECT lo_from_bytea(11, 'x')")
        connection.execute("REVOKE ALL ON SCHEMA public FROM PUBLIC")
        with pytest.raises(Unprepared) as refused:
            export_production(production_url, tmp_path / "dump", server.programs)
        remedies = [problem.message.rpartition(": ")[2] for problem in refused.value.problems]
        assert remedies == [
            'GRANT pg_read_all_data TO "reader"',
            'ALTER ROLE "reader" BYPASSRLS',
            'GRANT SELECT ON LARGE OBJECT 11 TO "reader"',
        ]
        assert not (tmp_path / "dump").exists()
        for remedy in remedies:
            connection.execute(remedy.encode())
    export_production(production_url, tmp_path / "dump", server.programs)


def test_the_grants_of_a_single_schema_mend_what_is_missing_there(production_url: str, database: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader; GRANT SELECT ON numbers TO reader")
        with open_production(production_url) as (session, found):
            remedies = [one.message.rpartition(": ")[2] for one in find_missing_privileges(session, found)]
        assert remedies == [
            'GRANT USAGE ON SCHEMA "shop" TO "reader"',
            'GRANT SELECT ON ALL TABLES IN SCHEMA "shop" TO "reader"',
            'GRANT SELECT ON ALL SEQUENCES IN SCHEMA "shop" TO "reader"',
        ]
        for remedy in remedies:
            connection.execute(remedy.encode())
    with open_production(production_url) as (session, found):
        assert find_missing_privileges(session, found) == ()


def test_a_session_on_production_refuses_to_write(production_url: str) -> None:
    with open_production(production_url) as (session, _), pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        session.execute("CREATE TEMP TABLE t ()")


def test_settings_of_the_database_are_told(production_url: str, database: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        name = connection.info.dbname
        connection.execute(f"ALTER DATABASE {name} SET timezone TO 'Europe/Berlin'".encode())
        connection.execute(f"ALTER DATABASE {name} SET work_mem TO '9MB'".encode())
    with open_production(production_url) as (_, found):
        assert {"TimeZone": "Europe/Berlin", "work_mem": "9MB"}.items() <= dict(found.settings).items()


def test_a_table_that_another_session_locks_is_not_waited_for_long(
    production_url: str, database: str, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    allow(database)
    monkeypatch.setattr(production, "LOCK_WAIT_SECONDS", 1)
    with psycopg.connect(database) as other:
        other.execute("LOCK TABLE shop.orders IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(RestoreFailed, match=r"pg_dump .* says: ") as failed:
            export_production(production_url, tmp_path / "dump", server.programs)
    assert failed.value.hint
    assert "another session holds a lock" in failed.value.hint
    assert not (tmp_path / "dump").exists()


def test_a_server_newer_than_the_programs_is_dumped_by_others_that_are_there(tmp_path: Path) -> None:
    try:
        older, newer = find_programs(None, major=15), find_programs(None, major=17)
    except ProgramsMissing:
        pytest.skip("needs PostgreSQL 15 and 17")
    with throwaway_server(newer) as started:
        dump = export_production(started.conninfo, tmp_path / "dump", older)
        assert read_archive_contents(dump, older).server_version == newer.version
