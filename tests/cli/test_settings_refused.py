"""Settings that cannot be meant, and databases that cannot be reached: exit code, name, place and remedy."""

from __future__ import annotations

import secrets
import shutil
import socket
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from psycopg.conninfo import conninfo_to_dict

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cli.conftest import Project

RIGHT = "opensesame"


def test_every_problem_of_the_settings_is_told_at_once_with_its_place(three: Project) -> None:
    (three.root / ".env.local").write_text("\nKERNEL_LOCK_TIMOUT=5s\nKERNEL_STORAGE_MODE=PRODUCTION\n")
    (three.root / ".env").write_text('# ours\nexport "no name\nKERNEL_LOCK_RETRIES=many\n')
    refused = three.inv("db.migrate", "--json", KERNEL_LOCK_TIMEOUT="soon")
    assert refused.code == 2
    assert refused.error["code"] == "settings_invalid"
    for line in (
        ".env.local:2: KERNEL_LOCK_TIMOUT: unknown; write KERNEL_LOCK_TIMEOUT, or remove it",
        ".env.local:3: KERNEL_STORAGE_MODE: expected SUPABASE (production) or IN_MEMORY (development)",
        ".env:2: is not NAME=value; check its quotes",
        ".env:3: KERNEL_LOCK_RETRIES: expected a whole number from 0 to 999",
        "environment: KERNEL_LOCK_TIMEOUT: expected a duration such as 5s, 200ms",
    ):
        assert line in refused.error["message"]
        assert line in refused.err
    assert {(one["file"], one.get("line")) for one in refused.error["problems"]} == {
        (".env.local", 2),
        (".env.local", 3),
        (".env", 2),
        (".env", 3),
        ("environment", None),
    }


@pytest.mark.parametrize("name", ["DATABSE_URL", "database_url", "DB_URL"])
def test_a_misspelled_url_never_migrates_the_embedded_server(three: Project, name: str) -> None:
    refused = three.call("db.migrate", DATABASE_URL="", **{name: three.url})
    assert refused.code == 2
    assert f"environment: {name}: " in refused.err
    assert "write DATABASE_URL, or remove it" in refused.err
    assert not (three.root / ".kernel").exists()
    assert "schema_migrations" not in str(three.rows("SELECT relname FROM pg_class"))


def test_the_variables_of_libpq_name_the_database_that_is_migrated(three: Project) -> None:
    parameters = conninfo_to_dict(three.url)
    environ = {"PGHOST": str(parameters["host"]), "PGUSER": str(parameters["user"]), "DATABASE_URL": ""}
    (three.root / ".env").write_text(f"PGDATABASE={parameters['dbname']}\n")
    done = three.inv("db.migrate", **environ)
    assert done.code == 0, done.err
    assert "no database URL is set: the database is that of PGHOST and PGDATABASE" in done.err
    assert three.recorded() == ["001", "002", "003"]
    assert not (three.root / ".kernel").exists()


@pytest.mark.parametrize(
    ("url", "remedy"),
    [
        ("mysql://root:{}@localhost/shop", "expected postgresql://user:password@host:5432/dbname"),
        ("postgresql+asyncpg://root:{}@localhost/shop", "write postgresql:// in its place"),
        ("postgresql://root:a/b@{}@localhost/shop", "in a user, password or database name write @ as %40"),
        ("postgresql://root:{}@localhost/shop?schema=public", "schema (for Prisma); remove them"),
        ("host=localhost password={} sslmode=sometimes colour=blue", "check its special characters"),
    ],
    ids=["mysql", "sqlalchemy", "unescaped", "prisma", "unknown keyword"],
)
def test_a_url_that_is_not_postgresqls_is_refused_unseen(three: Project, url: str, remedy: str) -> None:
    secret = secrets.token_hex(16)
    refused = three.call("db.migrate", "--json", DATABASE_URL=url.format(secret))
    assert (refused.code, refused.error["code"]) == (2, "settings_invalid")
    assert "DATABASE_URL" in refused.err
    assert remedy in refused.err
    assert secret not in refused.out + refused.err


@pytest.mark.parametrize(
    ("changes", "message", "remedy"),
    [
        (
            {"host": "127.0.0.1", "port": 1},
            "Connection refused. Is the server running on that host",
            "check that the server runs, and host and port of the URL; with no URL set, an embedded server is used",
        ),
        ({"service": "absent"}, 'definition of service "absent" not found', "check the service's name"),
        ({"host": "/nowhere"}, "No such file or directory", "check that the server runs, and the socket directory"),
        ({"host": "nowhere.invalid"}, "nowhere.invalid", "check the host name in the URL"),
        ({"dbname": "absent"}, 'database "absent" does not exist', "check the name in the URL, or create it"),
        ({"user": "absent"}, 'role "absent" does not exist', "check the name in the URL, or create it"),
        ({"connect_timeout": "soon"}, "connect_timeout", "of the URL"),
        ({"options": "-c search_path=absent"}, "search_path names no schema that exists", "create one, or set it"),
        ({"replication": "true"}, "cannot execute", ""),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else "",
)
def test_a_database_that_cannot_be_had_is_7(
    three: Project, changes: dict[str, str | int], message: str, remedy: str
) -> None:
    before = three.state()
    refused = three.call("db.migrate", "--json", DATABASE_URL=three.url_with(**changes))
    assert refused.code == 7
    assert refused.error["code"] in ("database_unreachable", "database_refused")
    assert message in refused.err
    assert remedy in refused.err
    assert three.state() == before


def test_a_missing_certificate_file_is_no_missing_database(three: Project) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def offer_tls() -> None:
            client, _ = listener.accept()
            with client:
                client.recv(8)
                client.sendall(b"S")

        server = threading.Thread(target=offer_tls)
        server.start()
        url = f"host=127.0.0.1 port={listener.getsockname()[1]} sslmode=verify-full sslrootcert=/nowhere/ca.pem"
        refused = three.call("db.migrate", DATABASE_URL=url)
        server.join()
    assert refused.code == 7
    assert 'root certificate file "/nowhere/ca.pem" does not exist' in refused.err
    assert "give sslrootcert of the URL the path of the file" in refused.err
    assert "createdb" not in refused.err


@pytest.fixture
def guarded(three: Project, role: str) -> Iterator[str]:
    """A role with a password that the server asks for."""
    rules = Path(three.value("SHOW hba_file"))
    kept = rules.with_name("pg_hba.kept")
    shutil.copyfile(rules, kept)
    three.rows(f"ALTER ROLE {role} PASSWORD '{RIGHT}'")
    rules.write_text(f"local all {role} scram-sha-256\n{kept.read_text()}")
    loaded = three.value("SELECT pg_conf_load_time()::text")
    three.rows("SELECT pg_reload_conf()")
    three.until(f"SELECT pg_conf_load_time()::text <> '{loaded}'")
    yield role
    rules.write_text(kept.read_text())
    three.rows("SELECT pg_reload_conf()")


@pytest.mark.slow
def test_a_wrong_password_is_told_and_not_shown(three: Project, guarded: str) -> None:
    url = three.url_with(user=guarded)
    refused = three.call("db.status", "--json", DATABASE_URL=url)
    assert (refused.code, refused.error["code"]) == (7, "database_unreachable")
    assert f'password authentication failed for user "{guarded}"' in refused.err
    assert refused.error["hint"] == "check user and password of the URL"

    assert three.call("db.status", "--wait", "60", DATABASE_URL=url).code == 7, "waiting does not change it"

    none = three.call("db.status", DATABASE_URL=three.url_with(user=guarded, password=""))
    assert none.code == 7
    assert "the URL needs a password, or PGPASSWORD or a .pgpass file has to give it" in none.err

    assert three.call("db.status", DATABASE_URL=three.url_with(user=guarded, password=RIGHT)).code == 0


def test_production_without_a_url_is_refused(three: Project) -> None:
    refused = three.call("db.status", DATABASE_URL="", KERNEL_STORAGE_MODE="SUPABASE")
    assert refused.code == 2
    assert refused.err == (
        "error: environment: KERNEL_STORAGE_MODE: production needs a database; set DATABASE_URL or SUPABASE_DB_URL\n"
    )


def test_the_environment_is_stronger_than_env_local_and_that_than_env(three: Project) -> None:
    absent = three.url_with(dbname="absent").replace("'", '"')
    (three.root / ".env").write_text(f"DATABASE_URL={absent!r}\n")
    (three.root / ".env.local").write_text("KERNEL_MIGRATIONS_DIR=elsewhere\nKERNEL_UNRELATED=1\n")
    (three.root / "elsewhere").mkdir()
    (three.root / "elsewhere" / "001_one.sql").write_text("SELECT 1;\n")
    status = three.inv("db.status", "--json")
    assert status.document["total"] == 1
    assert status.err == "warning: ignored, not settings of the migrations: KERNEL_UNRELATED\n"
    assert three.inv("db.status", "--json", KERNEL_MIGRATIONS_DIR="migrations").document["total"] == 3
