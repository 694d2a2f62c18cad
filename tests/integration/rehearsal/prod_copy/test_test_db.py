"""A rehearsal overwrites a TEST_DB that it created or that --yes allows, and production never."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from kernel.db.connection import open_session
from kernel.errors import DatabaseRefused, DatabaseUnreachable, LockBusy, RestoreFailed, UsageError
from kernel.rehearsal.prod_copy import DatabaseLocale, ProdCopy, open_copy
from kernel.rehearsal.prod_copy.copy import MAIN_CLONE_NAME
from kernel.rehearsal.prod_copy.identity import read_identity
from tests.integration.rehearsal.prod_copy.conftest import rows

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator

    from kernel.postgres.cluster import Server
    from tests.integration.rehearsal.prod_copy.conftest import Production

pytestmark = pytest.mark.slow

COUNT = "SELECT count(*) FROM orders"

# Rehearses in TEST_DB until it is killed.
USE = """
import sys
import psycopg
from kernel.rehearsal.prod_copy import CopyRequest, CopyTarget, open_copy

def restore(url):
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE TABLE orders AS SELECT i AS id FROM generate_series(1, 1000) AS i")
    if sys.argv[2] == "restoring":
        wait()
    return ()

def wait():
    print("there", flush=True)
    sys.stdin.read()

request = CopyRequest(digest="ab" * 32, name="prod.dump", target=CopyTarget(test_db=sys.argv[1]))
with open_copy(request, restore=restore) as copy, copy.clone("rehearsal"), copy.clone("traffic"):
    wait()
"""


@pytest.fixture(autouse=True)
def _short_grace_period(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kernel.rehearsal.prod_copy.databases._DISCONNECT_GRACE_SECONDS", 0.2)


@pytest.fixture(autouse=True)
def _nothing_stays(server: Server, database: str) -> Iterator[None]:
    yield
    for (name,) in rows(server.conninfo, f"SELECT datname FROM pg_database WHERE datname ~ '^{named(database)}_'"):
        rows(server.conninfo, f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture
def production_db(server: Server, database: str) -> str:
    """The conninfo of another database on the same server, with a row in it."""
    name = f"{named(database)}_production"
    rows(server.conninfo, f"CREATE DATABASE {name}")
    url = make_conninfo(server.conninfo, dbname=name)
    rows(url, "CREATE TABLE precious AS SELECT 1 AS id")
    return url


def named(url: str) -> str:
    return str(conninfo_to_dict(url)["dbname"])


def there(server: Server, database: str) -> list[str]:
    """The suffixes of the databases next to TEST_DB."""
    found = rows(server.conninfo, "SELECT datname FROM pg_database ORDER BY 1")
    return [name.removeprefix(named(database)) for (name,) in found if name.startswith(f"{named(database)}_")]


def rehearse(production: Production, database: str, **options: Any) -> ProdCopy:
    """A rehearsal that deletes a row."""
    request = production.request(test_db=database, **options)
    with open_copy(request, restore=production.restore) as copy:
        with copy.clone(MAIN_CLONE_NAME) as clone:
            assert named(clone.url) == named(database)
            rows(clone.url, "DELETE FROM orders WHERE id = 1")
            assert rows(copy.url, COUNT) == [(1000,)]
        return copy


@contextmanager
def role(server: Server, name: str, *options: str) -> Iterator[str]:
    rows(server.conninfo, f"CREATE ROLE {name} LOGIN {' '.join(options)}")
    try:
        yield name
    finally:
        rows(server.conninfo, f"REASSIGN OWNED BY {name} TO postgres; DROP OWNED BY {name}; DROP ROLE {name}")


def test_an_empty_database_becomes_the_clone_that_stays(server: Server, database: str, production: Production) -> None:
    rehearse(production, database)
    assert rows(database, COUNT) == [(999,)]
    assert there(server, database) == []
    rehearse(production, database)  # it is ours now, whatever it holds
    assert production.restores == 2


@pytest.mark.parametrize("encoding", ["", "UTF8", "LATIN1", "SQL_ASCII"])
def test_the_encoding_of_the_dump_is_kept_whatever_the_servers_locale(
    server: Server, database: str, production: Production, encoding: str
) -> None:
    rehearse(production, database, locale=DatabaseLocale(encoding=encoding))
    shown = f"SELECT pg_encoding_to_char(encoding) FROM pg_database WHERE datname = '{named(database)}'"
    assert rows(server.conninfo, shown) == [(encoding or "UTF8",)]


def test_a_locale_that_the_server_does_not_have_is_named(server: Server, database: str, production: Production) -> None:
    with pytest.raises(RestoreFailed, match=r'locale name: "xx_YY\.UTF-8"'):
        rehearse(production, database, locale=DatabaseLocale(collate="xx_YY.UTF-8"))
    assert there(server, database) == []


def test_a_database_that_is_not_there_is_made(server: Server, database: str, production: Production) -> None:
    rows(server.conninfo, f"DROP DATABASE {named(database)}")
    rehearse(production, database)
    assert rows(database, COUNT) == [(999,)]


def test_a_kept_template_is_used_again_until_the_dump_is_another(
    server: Server, database: str, production: Production
) -> None:
    assert not rehearse(production, database, keep=True).restored.reused
    assert there(server, database) == ["_golden"]
    again = rehearse(production, database, keep=True)
    assert (again.restored.reused, again.restored.warnings) == (True, ("the extension zombodb is missing",))
    assert not rehearse(production, database, digest="cd" * 32).restored.reused
    assert there(server, database) == []


@pytest.mark.parametrize(
    ("statement", "held"),
    [
        ("CREATE TABLE precious (i int)", "table precious"),
        ("CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'", r"function f\(\)"),
        ("CREATE TYPE mood AS ENUM ('good')", "type mood"),
        ("CREATE SCHEMA app", "schema app"),
        ("SELECT lo_create(7)", "large object 7"),
        (
            "CREATE TABLE a (i int); CREATE TABLE b (i serial); CREATE VIEW c AS SELECT 1",
            "table a, table b, view c and 1 more",
        ),
    ],
)
def test_a_database_that_holds_anything_is_overwritten_only_with_yes(
    database: str, production: Production, statement: str, held: str
) -> None:
    rows(database, statement)
    with pytest.raises(UsageError, match=rf"would be overwritten and holds {held}.*--yes"):
        rehearse(production, database)
    assert production.restores == 0


def test_yes_overwrites_a_database_that_holds_tables(database: str, production: Production) -> None:
    rows(database, "CREATE TABLE precious (i int)")
    rehearse(production, database, allow_overwrite=True)
    assert rows(database, "SELECT to_regclass('precious')") == [(None,)]


def test_a_database_with_extensions_alone_counts_as_empty(database: str, production: Production) -> None:
    rows(database, "CREATE EXTENSION pg_trgm")
    rehearse(production, database)
    assert production.restores == 1


def test_production_is_refused_by_another_url_and_with_yes(
    server: Server, database: str, production_db: str, production: Production
) -> None:
    protected = {"PROD_DB": production_db}
    alias = make_conninfo(production_db, application_name="alias", connect_timeout="7")
    with pytest.raises(DatabaseRefused, match="TEST_DB is the database that PROD_DB names"):
        rehearse(production, alias, protected=protected, allow_overwrite=True)
    assert rows(production_db, "SELECT id FROM precious") == [(1,)]
    rehearse(production, database, protected=protected)  # another database of the same server
    assert there(server, database) == ["_production"]


def test_production_is_known_where_the_server_does_not_show_its_identifier(
    server: Server, database: str, production_db: str, production: Production
) -> None:
    rows(production_db, "REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC")
    with role(server, f"{named(database)}_owner", "CREATEDB") as owner:
        rows(server.conninfo, f"ALTER DATABASE {named(production_db)} OWNER TO {owner}")
        protected = {"DATABASE_URL": production_db}
        hidden = make_conninfo(production_db, user=owner)
        with open_session(hidden) as session:
            assert read_identity(session).system_identifier is None
        with pytest.raises(DatabaseRefused, match="TEST_DB is the database that DATABASE_URL names"):
            rehearse(production, hidden, protected=protected, allow_overwrite=True)


def test_production_that_cannot_be_reached_is_a_warning(database: str, production: Production) -> None:
    elsewhere = make_conninfo(database, host="/nonexistent", password="hunter2")  # noqa: S106 - to look for it
    rehearse(production, database, protected={"DATABASE_URL": elsewhere})
    assert production.printed[0].startswith("warning: DATABASE_URL could not be compared with TEST_DB: ")
    assert "hunter2" not in "".join(production.printed)


def test_connected_sessions_are_named_and_not_terminated(database: str, production: Production) -> None:
    with psycopg.connect(database, application_name="psql") as other:
        with pytest.raises(DatabaseRefused, match=rf"pid {other.info.backend_pid} \(postgres, psql\)"):
            rehearse(production, database)
        assert other.execute("SELECT 1").fetchone() == (1,)
    assert production.restores == 0


def test_a_role_without_createdb_gets_the_remedy(server: Server, database: str, production: Production) -> None:
    with role(server, f"{named(database)}_weak") as weak:
        rows(server.conninfo, f"ALTER DATABASE {named(database)} OWNER TO {weak}")
        with pytest.raises(DatabaseRefused, match=f"ALTER ROLE {weak} CREATEDB, or leave TEST_DB empty"):
            rehearse(production, make_conninfo(database, user=weak))


def test_a_database_of_another_owner_is_refused_before_anything_is_made(
    server: Server, database: str, production: Production
) -> None:
    with role(server, f"{named(database)}_other", "CREATEDB") as other:
        with pytest.raises(DatabaseRefused, match=f"{other} does not own TEST_DB"):
            rehearse(production, make_conninfo(database, user=other))
        assert production.restores == 0


def test_an_ordinary_role_that_may_make_databases_suffices(
    server: Server, database: str, production: Production
) -> None:
    with role(server, f"{named(database)}_maker", "CREATEDB") as maker:
        rows(server.conninfo, f"ALTER DATABASE {named(database)} OWNER TO {maker}")
        url = make_conninfo(database, user=maker)
        rehearse(production, url)
        assert rows(url, COUNT) == [(999,)]
        rows(url, "DROP TABLE orders")


def test_names_that_others_have_taken_are_refused_even_with_yes(
    server: Server, database: str, production: Production
) -> None:
    rows(server.conninfo, f"CREATE DATABASE {named(database)}_traffic")
    with (
        open_copy(production.request(test_db=database, allow_overwrite=True), restore=production.restore) as copy,
        pytest.raises(DatabaseRefused, match=r"the name of the clone .*_traffic is taken"),
    ):
        copy.clone("traffic").__enter__()
    rows(server.conninfo, f"CREATE DATABASE {named(database)}_golden")
    with pytest.raises(DatabaseRefused, match=r"the name of the template database .*_golden is taken"):
        rehearse(production, database, allow_overwrite=True)
    assert there(server, database) == ["_golden", "_traffic"]


@pytest.mark.parametrize("name", ["postgres", "template1"])
def test_the_servers_own_databases_are_refused(server: Server, production: Production, name: str) -> None:
    with pytest.raises(DatabaseRefused, match=f"TEST_DB is {name}, which the server itself needs"):
        rehearse(production, make_conninfo(server.conninfo, dbname=name), allow_overwrite=True)


def test_two_rehearsals_do_not_share_test_db(database: str, production: Production) -> None:
    request = production.request(test_db=database)
    with (
        open_copy(request, restore=production.restore),
        pytest.raises(LockBusy, match="another rehearsal uses TEST_DB"),
    ):
        rehearse(production, database)


def test_a_restore_that_fails_leaves_the_database_as_it_was(
    server: Server, database: str, production: Production
) -> None:
    def fail(_: object) -> None:
        raise LookupError

    production.also = fail
    rows(database, "CREATE TABLE precious AS SELECT 1 AS id")
    with pytest.raises(LookupError):
        rehearse(production, database, allow_overwrite=True)
    assert rows(database, "SELECT id FROM precious") == [(1,)]
    assert there(server, database) == []


def test_an_unreachable_server_is_reported_without_the_password(production: Production) -> None:
    with pytest.raises(DatabaseUnreachable) as caught:
        rehearse(production, "host=/nonexistent dbname=test password=hunter2")
    assert "hunter2" not in f"{caught.value}{caught.value.hint}"
    assert "leave TEST_DB empty" in str(caught.value.hint)


@pytest.mark.parametrize("name", ['a"b; DROP', "ü" * 31])
def test_names_are_taken_as_they_are(server: Server, production: Production, name: str) -> None:
    url = make_conninfo(server.conninfo, dbname=name)
    with (
        open_copy(production.request(test_db=url), restore=production.restore) as copy,
        copy.clone(MAIN_CLONE_NAME) as clone,
        copy.clone("traffic") as other,
    ):
        assert rows(clone.url, "SELECT current_database()") == [(name,)]
        assert rows(other.url, COUNT) == [(1000,)]
    left = [found for (found,) in rows(server.conninfo, "SELECT datname FROM pg_database")]
    assert not [found for found in left if found.startswith(name[:20]) and found != name]
    with psycopg.connect(server.conninfo, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE {}").format(sql.Identifier(name)))


def test_a_copy_of_production_that_cannot_be_dropped_is_named_with_the_reason(
    server: Server, database: str, production: Production
) -> None:
    template = f"{named(database)}_golden"
    with open_copy(production.request(test_db=database), restore=production.restore):
        reader = psycopg.connect(make_conninfo(server.conninfo, dbname=template), application_name="psql")
    with reader:
        assert there(server, database) == ["_golden"]
        (line,) = production.printed
        assert line.startswith(f"warning: {template} is a copy of production and is left on the server of TEST_DB")
        assert f"pid {reader.info.backend_pid} (postgres, psql)" in line
        assert f'DROP DATABASE "{template}"' in line


def test_a_copy_of_production_on_a_server_that_went_away_is_named(database: str, production: Production) -> None:
    def go_away(*_: object, **__: object) -> None:
        raise DatabaseUnreachable("connection refused")

    with (
        pytest.MonkeyPatch.context() as patched,
        open_copy(production.request(test_db=database), restore=production.restore),
    ):
        patched.setattr("kernel.rehearsal.prod_copy.databases.open_session", go_away)
    (line,) = production.printed
    assert f"{named(database)}_golden is a copy of production" in line
    assert "connection refused" in line


def test_a_kept_copy_of_production_is_no_reason_to_warn(database: str, production: Production) -> None:
    rehearse(production, database, keep=True)
    assert production.printed == []


def test_a_clone_that_cannot_be_dropped_is_named_with_the_reason(
    server: Server, database: str, production: Production
) -> None:
    with open_copy(production.request(test_db=database), restore=production.restore) as copy:
        with copy.clone("traffic") as clone:
            reader = psycopg.connect(clone.url, application_name="psql")
        with reader:
            assert there(server, database) == ["_golden", "_traffic"]
            (line,) = production.printed
            assert line.startswith(
                f"warning: {clone.name} is a copy of production and is left on the server of TEST_DB"
            )
            assert f"pid {reader.info.backend_pid} (postgres, psql)" in line


def test_a_clone_whose_making_fails_half_way_is_dropped(
    server: Server, database: str, production: Production, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise psycopg.OperationalError("lost")

    with open_copy(production.request(test_db=database), restore=production.restore) as copy:
        monkeypatch.setattr("kernel.rehearsal.prod_copy.copy.copy_settings_and_privileges", fail)
        with pytest.raises(DatabaseRefused, match="lost"):
            copy.clone("traffic").__enter__()
        assert there(server, database) == ["_golden"]


@pytest.mark.parametrize("moment", ["restoring", "using"])
def test_what_a_killed_rehearsal_leaves_the_next_one_drops(
    server: Server,
    database: str,
    production: Production,
    begin: Callable[..., subprocess.Popen[str]],
    moment: str,
) -> None:
    child = begin(USE, database, moment)
    assert child.stdout
    assert child.stdout.readline() == "there\n", child.communicate()
    child.kill()
    child.wait()
    assert there(server, database) == (["_golden"] if moment == "restoring" else ["_golden", "_traffic"])
    copy = rehearse(production, database)
    assert copy.restored.reused is (moment == "using")
    assert there(server, database) == []


def test_a_session_of_another_role_is_named_without_what_the_server_hides(
    server: Server, database: str, production: Production
) -> None:
    with role(server, "limited", "CREATEDB") as limited:
        rows(server.conninfo, f"ALTER DATABASE {named(database)} OWNER TO {limited}")
        url = make_conninfo(database, user=limited)
        with psycopg.connect(database, application_name="psql") as other:
            named_so = rf"connected to it: pid {other.info.backend_pid} \(postgres, psql\); end them"
            with pytest.raises(DatabaseRefused, match=named_so):
                rehearse(production, url)
        rows(server.conninfo, f"ALTER DATABASE {named(database)} OWNER TO postgres")


def test_a_prepared_transaction_in_test_db_is_named(database: str, production: Production) -> None:
    with psycopg.connect(database) as other:
        other.execute("CREATE TABLE t ()")
        other.execute("PREPARE TRANSACTION 'it''s one'")
    try:
        with pytest.raises(
            DatabaseRefused, match=r"connected to it: prepared transaction 'it''s one' \(postgres\); end"
        ):
            rehearse(production, database, allow_overwrite=True)
    finally:
        rows(database, "ROLLBACK PREPARED 'it''s one'")
