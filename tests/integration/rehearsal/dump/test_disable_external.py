from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from kernel.errors import DatabaseRefused
from kernel.rehearsal.dump.disable_external import disable_external_access

if TYPE_CHECKING:
    from collections.abc import Iterator


ARMED = """
CREATE EXTENSION postgres_fdw;
CREATE EXTENSION dblink;
CREATE EXTENSION file_fdw;
CREATE SERVER "a; server" FOREIGN DATA WRAPPER postgres_fdw OPTIONS ({options});
CREATE USER MAPPING FOR PUBLIC SERVER "a; server" OPTIONS (user 'postgres', password 'hush');
CREATE FOREIGN TABLE far (datname name) SERVER "a; server"
    OPTIONS (schema_name 'pg_catalog', table_name 'pg_database');
CREATE SERVER files FOREIGN DATA WRAPPER file_fdw;
CREATE FOREIGN TABLE hosts (line text) SERVER files OPTIONS (filename '/etc/passwd');
CREATE SUBSCRIPTION s CONNECTION 'host=far password=hush' PUBLICATION p WITH (connect = false);
CREATE SCHEMA cron;
CREATE TABLE cron.job (jobid int, active boolean);
INSERT INTO cron.job VALUES (1, true), (2, false), (3, true);
ALTER EXTENSION dblink ADD TABLE cron.job;
"""
DBLINK = "SELECT * FROM dblink('a; server', 'SELECT 1') AS t(a int)"


@pytest.fixture
def armed(database: str) -> Iterator[psycopg.Connection]:
    """A connection to a database whose foreign server is its own, and answers."""
    with psycopg.connect(database, autocommit=True) as connection:
        info = connection.info
        options = f"host '{info.host}', port '{info.port}', dbname '{info.dbname}'"
        connection.execute(ARMED.format(options=options).encode())
        yield connection
        if connection.execute("SELECT 1 FROM pg_subscription WHERE subname = 's'").fetchone():
            connection.execute("ALTER SUBSCRIPTION s DISABLE")
            connection.execute("ALTER SUBSCRIPTION s SET (slot_name = NONE)")
            connection.execute("DROP SUBSCRIPTION s")


def test_what_reached_out_before_does_not_any_more(armed: psycopg.Connection, database: str) -> None:
    reaching = ("TABLE far", "TABLE hosts", DBLINK)
    for query in reaching:
        assert armed.execute(query.encode()).fetchone()
    sentences = disable_external_access(database)
    for query in reaching:
        with pytest.raises(psycopg.Error):
            armed.execute(query.encode())
    assert sentences == (
        "foreign tables of dblink_fdw, file_fdw, postgres_fdw cannot be read or written",
        "foreign servers have no address any more: a; server, files",
        "user mappings have no users and passwords any more: PUBLIC on a; server",
        "subscriptions are disabled and have no address any more: s",
        "jobs of pg_cron are switched off: 2",
        "extensions with which a superuser still reaches out: dblink",
    )


def test_no_password_stays_in_the_copy(armed: psycopg.Connection, database: str) -> None:
    disable_external_access(database)
    for query in ("SELECT umoptions FROM pg_user_mappings", "SELECT subconninfo FROM pg_subscription"):
        rows = armed.execute(query.encode()).fetchall()
        assert rows
        assert "hush" not in str(rows)


def test_doing_it_again_changes_nothing(armed: psycopg.Connection, database: str) -> None:
    disable_external_access(database)
    assert disable_external_access(database) == ("extensions with which a superuser still reaches out: dblink",)
    assert armed.execute("SELECT count(*) FROM cron.job WHERE active").fetchone() == (0,)


def test_a_migration_can_still_drop_what_is_disarmed(armed: psycopg.Connection, database: str) -> None:
    disable_external_access(database)
    armed.execute("DROP SUBSCRIPTION s")
    armed.execute("""ALTER USER MAPPING FOR PUBLIC SERVER "a; server" OPTIONS (SET password 'other')""")
    armed.execute("DROP EXTENSION postgres_fdw CASCADE")


def test_event_triggers_of_the_copy_do_not_fire_and_stay_as_they_are(armed: psycopg.Connection, database: str) -> None:
    armed.execute("CREATE TABLE fired (tag text)")
    armed.execute(
        "CREATE FUNCTION fire() RETURNS event_trigger LANGUAGE plpgsql AS"
        " $$ BEGIN INSERT INTO public.fired VALUES (tg_tag); END $$"
    )
    states = {"origin": "ENABLE", "always": "ENABLE ALWAYS", "replica": "ENABLE REPLICA", "off": "DISABLE"}
    for name in states:
        armed.execute(f"CREATE EVENT TRIGGER {name} ON ddl_command_start EXECUTE FUNCTION fire()".encode())
    for name, state in states.items():
        armed.execute(f"ALTER EVENT TRIGGER {name} {state}".encode())
    query = "SELECT evtname, evtenabled FROM pg_event_trigger ORDER BY 1"
    before = armed.execute(query).fetchall()
    disable_external_access(database)
    assert armed.execute("SELECT tag FROM fired").fetchall() == []
    assert armed.execute(query).fetchall() == before
    armed.execute("CREATE TABLE fires_again ()")
    assert armed.execute("SELECT tag FROM fired").fetchall() == [("CREATE TABLE",)] * 2


def test_a_table_of_jobs_that_no_extension_owns_is_left_alone(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA cron; CREATE TABLE cron.job AS SELECT true AS active")
        assert disable_external_access(database) == ()
        assert connection.execute("SELECT active FROM cron.job").fetchone() == (True,)


def test_an_ordinary_role_cannot_and_changes_nothing(
    armed: psycopg.Connection, database: str, administrator: psycopg.Connection
) -> None:
    administrator.execute("CREATE ROLE ordinary LOGIN")
    try:
        with pytest.raises(DatabaseRefused):
            disable_external_access(make_conninfo(database, user="ordinary"))
    finally:
        administrator.execute("DROP ROLE ordinary")
    assert armed.execute("TABLE far").fetchone()
