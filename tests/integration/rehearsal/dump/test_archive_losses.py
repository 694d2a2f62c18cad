from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import psycopg
import pytest

from kernel.rehearsal.dump.archive.contents import read_archive_contents
from kernel.rehearsal.dump.archive.restore import restore_archive
from kernel.rehearsal.dump.common.roles import create_missing_roles
from kernel.rehearsal.dump.identify import identify_dump
from kernel.rehearsal.dump.preflight import inspect_target_server

if TYPE_CHECKING:
    from pathlib import Path

    from kernel.postgres.cluster import Server

pytestmark = pytest.mark.slow


def dumped(database: str, server: Server, path: Path, script: str) -> Path:
    """An archive of `database` after `script`, which leaves the database as it was."""
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(script.encode())
        subprocess.run([server.programs.bin / "pg_dump", "-Fc", f"--file={path}", f"--dbname={database}"], check=True)
        connection.execute("DROP SCHEMA app CASCADE")
    return path


def test_rows_that_do_not_fit_are_lost_with_their_table_and_number_and_without_their_values(
    database: str, server: Server, tmp_path: Path
) -> None:
    path = dumped(
        database,
        server,
        tmp_path / "archive",
        "CREATE SCHEMA app; CREATE TABLE app.t (a text); INSERT INTO app.t VALUES ('1'), ('hush')",
    )
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA app; CREATE TABLE app.t (a int); GRANT ALL ON SCHEMA app TO PUBLIC")
        connection.execute("GRANT ALL ON app.t TO PUBLIC")
    done = restore_archive(identify_dump(path), database, server.programs)
    messages = [problem.message for problem in done.lost]
    assert messages == [
        'CREATE TABLE app.t ( a text ): relation "t" already exists',
        "app.t: its rows could not be loaded: invalid input syntax for type integer (row 2)",
    ]


def test_a_missing_role_is_made_bare_and_owns_what_it_owned(
    database: str, server: Server, administrator: psycopg.Connection, tmp_path: Path
) -> None:
    administrator.execute('CREATE ROLE "the; ""owner"""')
    path = dumped(
        database,
        server,
        tmp_path / "archive",
        'CREATE SCHEMA app; CREATE TABLE app.t (); ALTER TABLE app.t OWNER TO "the; ""owner"""',
    )
    administrator.execute('DROP ROLE "the; ""owner"""')
    try:
        contents = read_archive_contents(identify_dump(path), server.programs)
        assert inspect_target_server(database, contents, is_throwaway=True).missing_roles == ('the; "owner"',)
        assert create_missing_roles(database, contents.roles) == ('the; "owner"',)
        done = restore_archive(identify_dump(path), database, server.programs)
        assert done.lost == ()
        with psycopg.connect(database) as connection:
            row = connection.execute(
                "SELECT rolname, rolcanlogin, rolsuper FROM pg_class JOIN pg_roles r ON r.oid = relowner"
                " WHERE pg_class.oid = 'app.t'::regclass"
            ).fetchone()
        assert row == ('the; "owner"', False, False)
    finally:
        with psycopg.connect(database, autocommit=True) as connection:
            connection.execute("DROP SCHEMA IF EXISTS app CASCADE")
        administrator.execute('DROP ROLE IF EXISTS "the; ""owner"""')


def test_an_owner_that_nobody_made_is_harmless(
    database: str, server: Server, administrator: psycopg.Connection, tmp_path: Path
) -> None:
    administrator.execute("CREATE ROLE gone_owner")
    script = "CREATE SCHEMA app; CREATE TABLE app.t (); ALTER TABLE app.t OWNER TO gone_owner"
    path = dumped(database, server, tmp_path / "archive", script)
    administrator.execute("DROP ROLE gone_owner")
    done = restore_archive(identify_dump(path), database, server.programs)
    assert done.lost == ()
    assert 'ALTER TABLE app.t OWNER TO gone_owner: role "gone_owner" does not exist (42704)' in done.harmless


@pytest.mark.parametrize("jobs", [1, 2])
def test_no_password_of_a_subscription_is_told(database: str, server: Server, tmp_path: Path, jobs: int) -> None:
    path = dumped(
        database,
        server,
        tmp_path / "archive",
        "CREATE SCHEMA app; CREATE SUBSCRIPTION s CONNECTION 'password=hush' PUBLICATION p WITH (connect = false)",
    )
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("ALTER SUBSCRIPTION s SET (slot_name = NONE)")
        connection.execute("DROP SUBSCRIPTION s")
    done = restore_archive(identify_dump(path), database, server.programs, jobs=jobs)
    assert done.lost == ()
    assert "CREATE SUBSCRIPTION s: left out, a copy does not reach other servers" in done.harmless
    assert "hush" not in str(done)
