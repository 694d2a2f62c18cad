"""Templates and clones of kernel.testing on a server that holds databases of others too."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from kernel.errors import DatabaseRefused, FilesInvalid, MigrationFailed, SettingsError, UsageError
from kernel.testing import databases as module
from kernel.testing.databases import open_test_databases
from kernel.testing.registry import open_registry
from kernel.testing.server import URL_VARIABLE, database_url

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kernel.config.settings import Settings
    from kernel.postgres.cluster import Server
    from kernel.testing.databases import TestDatabases

pytestmark = pytest.mark.slow

OTHERS = "SELECT datname FROM pg_database WHERE datname LIKE 'kernel\\_test\\_%' AND datname NOT LIKE '%registry%'"


@pytest.fixture
def databases(settings: Settings) -> Iterator[TestDatabases]:
    with open_test_databases(settings) as opened:
        yield opened


def names(administrator: psycopg.Connection) -> set[str]:
    return {name for (name,) in administrator.execute(OTHERS)}


def value(url: str, query: str) -> Any:
    with psycopg.connect(url) as connection:
        row = connection.execute(query.encode()).fetchone()
        return row and row[0]


def test_each_clone_has_the_files_up_to_its_version_and_is_gone_at_the_end(
    settings: Settings, administrator: psycopg.Connection
) -> None:
    columns = "SELECT count(*) FROM information_schema.columns WHERE table_name = 'users'"
    before = names(administrator)
    with open_test_databases(settings) as databases:
        for version, expected in ((None, 3), ("001", 2), ("0", 0), (None, 3), (None, 3)):
            clone = databases.clone(version)
            assert value(clone.url, columns) == expected
            databases.drop(clone)
        clone = databases.clone("1")
        databases.migrate(clone, "002")
        assert value(clone.url, columns) == 3
        databases.drop(clone)
    templates = names(administrator) - before
    assert len(templates) == 3


def test_repeatable_files_are_in_the_template_with_all_files_and_a_change_gives_another(settings: Settings) -> None:
    view = settings.migrations_dir / "repeatable" / "first_user.sql"
    view.parent.mkdir()
    for number in (1, 2):
        view.write_text(f"CREATE OR REPLACE VIEW first_user AS SELECT {number} AS number, * FROM users;\n")
        with open_test_databases(settings) as databases:
            assert value(databases.clone("001").url, "SELECT to_regclass('first_user')") is None
            clone = databases.clone()
            assert value(clone.url, "SELECT pg_get_viewdef('first_user'::regclass)").split()[1] == str(number)
            databases.drop(clone)


def test_a_session_in_a_clone_does_not_stop_its_removal(
    databases: TestDatabases, administrator: psycopg.Connection
) -> None:
    clone = databases.clone()
    connection = psycopg.connect(clone.url)
    connection.execute("SELECT FROM users")
    databases.drop(clone)
    databases.clones.close()
    assert clone.name not in names(administrator)
    connection.close()


def test_a_template_is_built_once_and_stays_and_changed_files_get_another(
    settings: Settings, administrator: psycopg.Connection
) -> None:
    before = names(administrator)
    query = "SELECT oid FROM pg_database WHERE datname = ANY(%s)"
    made = []
    for _ in range(2):
        with open_test_databases(settings) as databases:
            databases.drop(databases.clone())
        made.append(administrator.execute(query, [sorted(names(administrator) - before)]).fetchall())
    assert len(made[0]) == 1
    assert made[0] == made[1]
    (settings.migrations_dir / "003_create_terms.sql").write_text("CREATE TABLE terms (id int);\n")
    with open_test_databases(settings) as databases:
        databases.drop(databases.clone())
    assert len(names(administrator) - before) == 2


def test_no_session_enters_a_template(
    databases: TestDatabases, server: Server, administrator: psycopg.Connection
) -> None:
    before = names(administrator)
    clone = databases.clone()
    (template,) = names(administrator) - before - {clone.name}
    with pytest.raises(psycopg.OperationalError, match="not currently accepting connections"):
        psycopg.connect(make_conninfo(server.conninfo, dbname=template))


def test_the_databases_of_a_process_that_ended_are_dropped_by_the_next(
    settings: Settings, administrator: psycopg.Connection
) -> None:
    killed = ExitStack()
    databases = killed.enter_context(open_test_databases(settings))
    left = {databases.clone().name for _ in range(2)}
    for session in (databases.registry.session, databases.clones.creating, databases.clones.dropping):
        session.connection.close()
    with open_test_databases(settings) as living:
        assert not left & names(administrator)
        used = living.clone()
        with open_test_databases(settings):
            assert used.name in names(administrator)
    killed.pop_all()


def test_databases_that_tests_did_not_make_are_never_dropped(
    settings: Settings, administrator: psycopg.Connection
) -> None:
    with open_test_databases(settings) as databases:
        replaced = databases.clone()
        databases.registry.connection.execute("UPDATE databases SET lease = 0 WHERE name = %s", (replaced.name,))
    for name in ("kernel_test_0123456789abcdef", replaced.name):
        administrator.execute(f"DROP DATABASE IF EXISTS {name}".encode())
        administrator.execute(f"CREATE DATABASE {name}".encode())
    administrator.execute(f"COMMENT ON DATABASE {replaced.name} IS 'mine'".encode())
    with open_test_databases(settings) as databases:
        databases.drop(databases.clone())
    assert {"kernel_test_0123456789abcdef", replaced.name} <= names(administrator)
    for name in ("kernel_test_0123456789abcdef", replaced.name):
        administrator.execute(f"DROP DATABASE {name}".encode())


def test_the_last_five_databases_of_failed_tests_are_kept_until_their_tests_run_again(
    settings: Settings, administrator: psycopg.Connection
) -> None:
    failed = []
    with open_test_databases(settings) as databases:
        for number in range(7):
            failed.append(databases.clone())
            databases.keep(failed[-1], f"test_{number}")
    with open_test_databases(settings) as databases:
        kept = {clone.name for clone in failed} & names(administrator)
        assert kept == {clone.name for clone in failed[2:]}
        databases.drop_kept("test_4")
        assert failed[4].name not in names(administrator)
        databases.registry.connection.execute(
            "UPDATE databases SET used_at = used_at - interval '25 hours' WHERE name = %s", (failed[5].name,)
        )
    with open_test_databases(settings) as databases:
        assert failed[5].name not in names(administrator)
        assert failed[6].name in names(administrator)
        for number in range(7):
            databases.drop_kept(f"test_{number}")


def test_a_template_that_cannot_be_built_leaves_nothing_and_is_not_tried_for_every_test(
    settings: Settings, administrator: psycopg.Connection
) -> None:
    before = names(administrator)
    (settings.migrations_dir / "003_fail.sql").write_text("SELECT 1 / 0;\n")
    with open_test_databases(settings) as databases:
        for _ in range(2):
            with pytest.raises(MigrationFailed, match="division by zero") as failure:
                databases.clone()
        with pytest.raises(MigrationFailed) as again:
            databases.clone()
        assert again.value is failure.value
        databases.drop(databases.clone("002"))
    assert len(names(administrator) - before) == 1


def test_unused_templates_are_removed_but_none_that_a_process_uses(
    settings: Settings, administrator: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "KEPT_TEMPLATES", 1)
    with open_test_databases(settings) as using, open_test_databases(settings) as databases:
        using.drop(using.clone("001"))
        used = names(administrator)
        for version in ("002", "0"):
            databases.drop(databases.clone(version))
        with open_test_databases(settings) as third:
            (settings.migrations_dir / "002_add_mail.sql").write_text("SELECT 1;\n")
        with open_test_databases(settings) as third:
            third.drop(third.clone())
        assert used & names(administrator)


def test_a_clone_has_the_settings_and_privileges_that_files_give_their_database(settings: Settings) -> None:
    (settings.migrations_dir / "003_settings.sql").write_text(
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET application_name = ''theirs''', current_database());\n"
        "EXECUTE format('REVOKE CONNECT ON DATABASE %I FROM PUBLIC', current_database()); END $$;\n"
    )
    with open_test_databases(settings) as databases:
        clone = databases.clone()
        url = make_conninfo(clone.url)
        assert value(url, "SELECT current_setting('application_name')") == "theirs"
        assert (
            value(
                url,
                "SELECT count(*) FROM pg_database, aclexplode(datacl) WHERE grantee = 0"
                " AND privilege_type = 'CONNECT' AND datname = current_database()",
            )
            == 0
        )
        databases.drop(clone)


def test_a_version_without_a_file_is_refused(databases: TestDatabases) -> None:
    for version in ("003", "x"):
        with pytest.raises(UsageError, match=version):
            databases.clone(version)


def test_a_role_that_may_not_create_databases_is_named_with_the_remedy(
    settings: Settings, server: Server, administrator: psycopg.Connection
) -> None:
    administrator.execute("CREATE ROLE no_creator LOGIN")
    limited = replace(settings, test_database_url=server.url.replace("user=postgres", "user=no_creator"))
    with pytest.raises(DatabaseRefused, match="ALTER ROLE no_creator CREATEDB"), open_test_databases(limited):
        pass
    administrator.execute("DROP ROLE no_creator")


def test_a_database_of_the_name_of_the_registry_is_not_taken_over(
    settings: Settings, server: Server, administrator: psycopg.Connection
) -> None:
    administrator.execute("CREATE ROLE registrar LOGIN CREATEDB")
    administrator.execute("CREATE DATABASE kernel_test_registry_registrar OWNER registrar")
    url = server.url.replace("user=postgres", "user=registrar")
    with psycopg.connect(make_conninfo(url, dbname="kernel_test_registry_registrar")) as theirs:
        theirs.execute("CREATE SCHEMA s CREATE TABLE t ()")
    with (
        pytest.raises(DatabaseRefused, match="kernel_test_registry_registrar is not one that"),
        open_test_databases(replace(settings, test_database_url=url)),
    ):
        pass
    administrator.execute("DROP DATABASE kernel_test_registry_registrar")
    administrator.execute("DROP ROLE registrar")


def test_problems_of_settings_and_files_are_reported_before_a_connection(settings: Settings) -> None:
    foreign = replace(settings, test_database_url="postgresql+asyncpg://localhost/app")
    with pytest.raises(SettingsError, match=f"{URL_VARIABLE}: .*postgresql://"), open_test_databases(foreign):
        pass
    (settings.migrations_dir / "2_x.sql").write_text("")
    unreachable = replace(settings, test_database_url="host=/nowhere")
    with pytest.raises(FilesInvalid, match=r"2_x\.sql"), open_test_databases(unreachable):
        pass


def test_one_process_at_a_time_builds_a_template(server: Server) -> None:
    with (
        open_registry(server.url, variable=URL_VARIABLE, project="p") as first,
        first.lock_changes(),
        open_registry(server.url, variable=URL_VARIABLE, project="p") as second,
    ):
        second.connection.execute("SET statement_timeout = '100ms'")
        with pytest.raises(psycopg.errors.QueryCanceled), second.lock_changes():
            pass


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://u:p%40@db:5433/app?sslmode=require", "postgresql://u@db:5433/new%20one?sslmode=require"),
        ("host=db user=u password='p w'", "postgresql://u@db/new%20one"),
        ("host=/run/pg port=6000 user=u password=p", "postgresql:///new%20one?host=%2Frun%2Fpg&port=6000&user=u"),
        ("host=a,b port=1,2 user=u", "postgresql:///new%20one?host=a%2Cb&port=1%2C2&user=u"),
        ("host=::1 user=u", "postgresql:///new%20one?host=%3A%3A1&user=u"),
        ("", "postgresql:///new%20one"),
    ],
)
def test_the_url_of_a_clone_says_the_same_as_that_of_the_server_and_shows_no_password(url: str, shown: str) -> None:
    parse = psycopg.conninfo.conninfo_to_dict
    assert parse(database_url(url, "new one")) == {
        key: str(text) for key, text in (parse(url) | {"dbname": "new one"}).items()
    }
    assert database_url(url, "new one", with_password=False) == shown
