"""db.verify --schema finds each change made by hand, names what it is about, and says how to take it back."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from kernel.apply.events import ignore_event
from kernel.db.connection import open_session
from kernel.migrations.migration import require_migrations
from kernel.operations.drift import MigrationsLocation
from kernel.operations.migrate import MigrateOptions, migrate
from kernel.plan import read_status
from kernel.postgres.programs import find_nearest_programs
from kernel.report.schema_check import schema_check_scope
from kernel.schema.drift import SchemaCheck, check_schema
from tests.integration.schema.drift_changes import CHANGES, KINDS, PGBENCH, PRIVILEGES, USE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kernel.db.connection import Session
    from kernel.postgres.cluster import Server

PROJECT = Path(__file__).parents[3]
_NAME = "of_drift"
# Statements that cannot be taken back by one of ours: with what they delete, or by the statement of the file.
_NEEDS_ADVICE = re.compile(
    r"DROP (TYPE app.span|COLLATION|AGGREGATE|OPERATOR|CAST|TEXT|PUBLICATION|EVENT|EXTENSION)|next_age DROP EXPRESSION"
    r"|CREATE (TABLE|SCHEMA|EXTENSION)|ADD COLUMN|DROP COLUMN|DROP age|SET \(publish"
    r"|DICTIONARY|OPTIONS|pg_ls_dir|DEFAULT PRIVILEGES|UPDATE pg_index|ADD TABLE"
)


class Live:
    """A database to which the files are applied, and a session that looks at it."""

    def __init__(self, folder: Path, session: Session) -> None:
        self.folder = folder
        self.session = session
        self.location = MigrationsLocation(root=folder, directory=folder, environ={})

    def check(self, *, privileges: bool = False, session: Session | None = None, **options: object) -> SchemaCheck:
        looking = session or self.session
        migrations = require_migrations(self.folder)
        status = read_status(self.session, migrations)
        options = {"bindir": None, "repeatable": status.repeatable, "privileges": privileges, **options}
        return check_schema(looking, status.plan, migrations, self.location, **options)  # type: ignore[arg-type]

    def run(self, statements: str) -> None:
        self.session.connection.execute(statements.encode())


@pytest.fixture(scope="module")
def live(server: Server, administrator: psycopg.Connection, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    folder = tmp_path_factory.mktemp("drift")
    for path in (PROJECT / "migrations").glob("*.sql"):
        shutil.copy(path, folder)
    (folder / "900_pgbench.sql").write_text(PGBENCH)
    (folder / "901_kinds.sql").write_text(KINDS)
    administrator.execute(f"CREATE DATABASE {_NAME}")
    with open_session(make_conninfo(server.conninfo, dbname=_NAME)) as session:
        migrate(session, require_migrations(folder), MigrateOptions(), ignore_event)
        yield Live(folder, session)
    administrator.execute(f"DROP DATABASE {_NAME} WITH (FORCE)")


@pytest.fixture
def changing(live: Live) -> Iterator[Live]:
    """The live database; what a test does to it is rolled back."""
    live.run("BEGIN")
    yield live
    live.run("ROLLBACK")


def found(check: SchemaCheck) -> list[str]:
    return [one.object for one in check.differences]


def take_back(live: Live, check: SchemaCheck) -> bool:
    """Run the statements of the remedies in their order; whether each difference has some."""
    for one in check.differences:
        for statement in one.statements:
            live.run(statement.replace(" CONCURRENTLY", ""))
    return all(one.statements for one in check.differences)


@pytest.mark.slow
@pytest.mark.parametrize("change", CHANGES)
def test_a_change_by_hand_is_found_named_and_taken_back(changing: Live, change: str) -> None:
    changing.run(change)
    check = changing.check()
    assert CHANGES[change] in found(check), check.differences
    assert "s3cret" not in str(check)
    complete = take_back(changing, check)
    if not _NEEDS_ADVICE.search(change):
        assert complete, check.differences
        assert changing.check().differences == ()


@pytest.mark.slow
@pytest.mark.parametrize("change", PRIVILEGES)
def test_owners_and_grants_are_compared_when_asked(changing: Live, change: str) -> None:
    changing.run(change)
    assert changing.check().differences == ()
    check = changing.check(privileges=True)
    assert PRIVILEGES[change] in found(check), check.differences
    complete = take_back(changing, check)
    if not _NEEDS_ADVICE.search(change):
        assert complete, check.differences
        assert changing.check(privileges=True).differences == ()


@pytest.mark.slow
def test_an_untouched_database_has_no_difference_also_after_use(changing: Live) -> None:
    assert changing.check(privileges=True).differences == ()
    changing.run(USE)
    assert changing.check(privileges=True).differences == ()


@pytest.mark.slow
def test_a_restored_dump_has_no_difference(server: Server, administrator: psycopg.Connection, live: Live) -> None:
    programs = server.programs.bin
    if not (programs / "pg_dump").exists():
        pytest.skip("this PostgreSQL has no pg_dump")
    administrator.execute(f"CREATE DATABASE {_NAME}_restored TEMPLATE template0")
    url = make_conninfo(server.conninfo, dbname=f"{_NAME}_restored")
    dump = subprocess.run((programs / "pg_dump", "-d", live.session.url), capture_output=True, check=True).stdout
    subprocess.run((programs / "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", url), input=dump, check=True)
    with open_session(url) as session:
        check = live.check(session=session, privileges=True)
    administrator.execute(f"DROP DATABASE {_NAME}_restored")
    assert check.differences == ()


@pytest.mark.slow
def test_a_role_that_may_only_connect_sees_what_a_superuser_sees(
    server: Server, administrator: psycopg.Connection, live: Live
) -> None:
    administrator.execute("CREATE ROLE drift_reader LOGIN")
    change = "DROP INDEX app.users_name; CREATE USER MAPPING FOR drift_reader SERVER remote OPTIONS (password 's3cret')"
    back = (
        "DROP USER MAPPING FOR drift_reader SERVER remote; CREATE INDEX users_name ON app.users (name) WHERE age > 18"
    )
    live.run(f"REVOKE ALL ON SCHEMA public FROM PUBLIC; {change}")
    try:
        with open_session(make_conninfo(server.conninfo, dbname=_NAME, user="drift_reader")) as session:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                session.connection.execute("SELECT FROM app.users")
            check = live.check(session=session)
        assert found(check) == ["index app.users_name", "user mapping drift_reader on remote"]
        assert found(live.check()) == found(check)
    finally:
        live.run(f"GRANT USAGE, CREATE ON SCHEMA public TO PUBLIC; {back}")
        administrator.execute("DROP ROLE drift_reader")


@pytest.mark.slow
def test_another_major_version_is_compared_and_said(live: Live) -> None:
    version = live.session.connection.info.server_version // 10000
    others = [find_nearest_programs(None, major) for major in (version + 1, version + 2, version - 1, version - 2)]
    programs = next((one for one in others if one.major != version), None)
    if programs is None:
        pytest.skip("only one major version is installed")
    check = live.check(bindir=programs.bin)
    assert check.differences == ()
    assert f"the database has {version}." in schema_check_scope(check)
    live.run("BEGIN; CREATE OR REPLACE VIEW app.rich AS SELECT id, total FROM app.orders WHERE total > 999")
    try:
        assert found(live.check(bindir=programs.bin)) == ["view app.rich"]
    finally:
        live.run("ROLLBACK")


@pytest.mark.slow
def test_the_statement_that_made_an_object_is_named(changing: Live) -> None:
    changing.run("DROP INDEX app.users_name; ALTER TABLE public.data_contracts DROP effective_from CASCADE")
    places = {one.object: (one.file, one.line, one.changed_by) for one in changing.check().differences}
    line = 1 + KINDS[: KINDS.index("CREATE INDEX users_name")].count("\n")
    assert places["index app.users_name"] == ("901_kinds.sql", line, "")
    column = places["column public.data_contracts.effective_from"]
    assert (column[0][:3], column[2][:3]) == ("012", "015")
    text = (changing.folder / column[0]).read_text().splitlines()[(column[1] or 0) - 1]
    assert "effective_from" in text


@pytest.mark.slow
def test_partitions_that_a_job_made_are_a_note_unless_they_differ_from_their_table(changing: Live) -> None:
    changing.run(
        "CREATE TABLE app.events_2027 PARTITION OF app.events FOR VALUES FROM ('2027-01-01') TO ('2028-01-01')"
        " PARTITION BY LIST (what); CREATE TABLE app.events_x PARTITION OF app.events_2027 DEFAULT;"
        "CREATE TABLE app.events_2028 (LIKE app.events INCLUDING ALL);"
        "ALTER TABLE app.events ATTACH PARTITION app.events_2028 FOR VALUES FROM ('2028-01-01') TO ('2029-01-01')"
    )
    check = changing.check()
    assert check.differences == ()
    assert [note for note in check.notes if "3 partitions that no file makes" in note]
    changing.run("CREATE INDEX own ON app.events_2028 (id); ALTER TABLE app.events_x ALTER id SET DEFAULT 1")
    assert sorted(found(changing.check())) == ["table app.events_2028", "table app.events_x"]


@pytest.mark.slow
def test_what_is_the_same_under_another_name_is_one_difference(changing: Live) -> None:
    changing.run(
        "ALTER INDEX app.users_name RENAME TO by_name; ALTER TABLE app.orders RENAME CONSTRAINT once TO uniq;"
        "ALTER TABLE app.users RENAME mood TO temper; ALTER TABLE pgbench_tellers RENAME TO tellers"
    )
    check = changing.check()
    assert sorted((str(one.state), one.object) for one in check.differences) == [
        ("renamed", "column app.users.mood"),
        ("renamed", "constraint once on app.orders"),
        ("renamed", "index app.users_name"),
        ("renamed", "table public.pgbench_tellers"),
    ]
    assert take_back(changing, check)
    assert changing.check().differences == ()


@pytest.mark.slow
def test_objects_of_platforms_and_declared_ones_are_left_out_and_said(changing: Live) -> None:
    changing.run(
        "CREATE SCHEMA auth; CREATE TABLE auth.users (id int); CREATE SCHEMA storage;"
        "CREATE TABLE storage.objects (n int); CREATE EXTENSION pgcrypto; CREATE ROLE supabase_admin;"
        "CREATE FUNCTION public.of_platform() RETURNS int"
        " LANGUAGE sql AS 'SELECT 1'; ALTER FUNCTION public.of_platform() OWNER TO supabase_admin;"
        "CREATE TABLE app.scratch_1 (id int PRIMARY KEY); ALTER TABLE app.users ADD COLUMN extra int"
    )
    assert found(changing.check()) == ["table app.scratch_1", "column app.users.extra"]
    check = changing.check(accepted=("app.scratch_*", "app.users.extra", "public.absent"))
    assert check.differences == ()
    assert "schemas of the platform are not compared: auth, storage" in check.notes
    assert "KERNEL_IGNORE_DRIFT: public.absent: matches no difference; remove it" in check.notes


@pytest.mark.slow
def test_objects_that_a_file_mentions_which_cannot_be_built_are_not_compared(changing: Live) -> None:
    path = changing.folder / "902_geo.sql"
    path.write_text("CREATE EXTENSION no_such_geo;\nCREATE TABLE places (id int);\nCREATE TABLE shops (id int);\n")
    try:
        changing.run("CREATE TABLE places (id int, at text); CREATE TABLE elsewhere (id int)")
        (file,) = [one for one in require_migrations(changing.folder) if one.filename == path.name]
        changing.run(
            f"INSERT INTO schema_migrations VALUES ('902', '902_geo.sql', now(), '{file.checksum}')"  # no parameters
        )
        check = changing.check()
        assert found(check) == ["table public.elsewhere"]
        assert [(one.file, one.line) for one in check.left_out] == [("902_geo.sql", 1)]
        assert "no_such_geo" in check.left_out[0].message
        assert [note for note in check.notes if "1 difference" in note]
    finally:
        path.unlink()


# Constants that the session's settings decide: partition bounds, defaults, checks, index predicates.
_CONSTANTS = """
CREATE TABLE visits (at timestamptz NOT NULL, day date DEFAULT '01/02/2026', rest interval DEFAULT '-1 2:00:00',
    seen timestamptz DEFAULT '2020-01-01', CONSTRAINT late CHECK (at > '2019-01-01')) PARTITION BY RANGE (at);
CREATE TABLE visits_2026 PARTITION OF visits FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
CREATE INDEX recent ON visits (day) WHERE at > '2025-01-01';
CREATE VIEW late_visits AS SELECT day FROM visits WHERE at > '2026-06-01';
"""


@pytest.mark.slow
@pytest.mark.parametrize("owner", ["DATABASE", "ROLE"])
def test_constants_read_in_the_time_zone_and_styles_of_the_database_are_no_difference(
    server: Server, administrator: psycopg.Connection, tmp_path: Path, owner: str
) -> None:
    (tmp_path / "001_visits.sql").write_text(_CONSTANTS)
    name = f"{_NAME}_tokyo"
    administrator.execute(f"CREATE DATABASE {name}")
    administrator.execute(f"CREATE ROLE {name} LOGIN SUPERUSER")
    try:
        for setting in ("timezone = 'Asia/Tokyo'", "datestyle = 'German, DMY'", "intervalstyle = 'sql_standard'"):
            administrator.execute(f"ALTER {owner} {name} SET {setting}")
        with open_session(make_conninfo(server.conninfo, dbname=name, user=name)) as session:
            migrate(session, require_migrations(tmp_path), MigrateOptions(), ignore_event)
            tokyo = Live(tmp_path, session)
            # What is set by hand is itself a difference, of the database.
            of_database = [one for one in tokyo.check().differences if one.kind == "database"]
            assert len(of_database) == (owner == "DATABASE")
            assert list(tokyo.check().differences) == of_database
            tokyo.run("ALTER TABLE visits ALTER seen SET DEFAULT '2020-01-01 00:00:00+00'")
            assert "column public.visits.seen" in found(tokyo.check())
    finally:
        administrator.execute(f"DROP DATABASE {name} WITH (FORCE)")
        administrator.execute(f"DROP ROLE {name}")
