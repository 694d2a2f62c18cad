"""The table schema_migrations: made as specified, found where it is, refused with the remedy when it is another."""

from __future__ import annotations

import hashlib
import re
import shlex
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import psycopg
import pytest

from kernel.db.advisory_lock import advisory_lock_key, hold_advisory_lock
from kernel.db.connection import open_session
from kernel.db.ledger import find_ledger
from kernel.db.progress_table import create_ledger_tables
from kernel.db.records import read_fingerprint
from kernel.errors import DatabaseRefused, LedgerElsewhere, LedgerShape, Unrecorded
from kernel.operations.drift import MigrationsLocation
from kernel.operations.verify import check_files, check_records
from kernel.plan import VersionState

if TYPE_CHECKING:
    from collections.abc import Callable

    from kernel.errors import KernelError
    from tests.integration.conftest import Project

# The specification, "Migration Tracking Table".
SPECIFIED = """
CREATE TABLE schema_migrations (
  version VARCHAR(255) PRIMARY KEY,
  filename VARCHAR(255) NOT NULL,
  applied_at TIMESTAMP NOT NULL DEFAULT NOW(),
  checksum VARCHAR(64) NOT NULL
)"""
LOCK_OF_PUBLIC = 3854221040901029050  # other releases of the runner take the same
SHAPE = """
SELECT attname, format_type(atttypid, atttypmod), attnotnull, pg_get_expr(adbin, adrelid),
  (SELECT contype FROM pg_constraint WHERE conrelid = attrelid AND conkey = ARRAY[attnum] AND contype <> 'n')
FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
WHERE attrelid = '{}'::regclass AND attnum > 0 ORDER BY attnum
"""
TEXT = "CREATE TABLE made (a int);\n"


@pytest.fixture(autouse=True)
def _one_file(project: Project) -> None:
    project.put("001_make.sql", TEXT)


def test_the_table_is_the_one_of_the_specification(project: Project) -> None:
    project.migrate()
    project.rows(SPECIFIED.replace("schema_migrations", "specified"))
    assert project.rows(SHAPE.format("schema_migrations")) == project.rows(SHAPE.format("specified"))


def test_looking_never_creates_the_table(project: Project) -> None:
    assert project.states() == {"001": VersionState.PENDING}
    assert not project.has("schema_migrations")


def test_a_record_of_the_typescript_runner_is_accepted(project: Project) -> None:
    digest = hashlib.sha256(TEXT.encode()).hexdigest()
    project.rows(SPECIFIED)
    project.rows(
        f"INSERT INTO schema_migrations (version, filename, checksum) VALUES ('001', '001_make.sql', '{digest}')"
    )
    assert project.states() == {"001": VersionState.APPLIED}
    assert project.migrate().applied == ()


def test_the_table_is_found_anywhere_on_the_search_path(project: Project) -> None:
    project.migrate()
    project.rows("CREATE SCHEMA app")
    project.put("002_more.sql", "CREATE TABLE more (a int);")
    project.reached(options="-csearch_path=app,public").migrate()
    assert project.recorded() == ["001", "002"]
    assert not project.has("app.schema_migrations")
    assert project.has("app.more")


def test_the_table_is_created_in_the_first_schema_that_exists(project: Project) -> None:
    project.rows("CREATE SCHEMA app")
    project.reached(options="-csearch_path=absent,app,public").migrate()
    assert project.has("app.schema_migrations")
    assert project.has("app.made")
    assert not project.has("public.schema_migrations")


def test_a_migration_that_empties_the_search_path_harms_neither_its_record_nor_the_next(project: Project) -> None:
    project.put(
        "002_dump.sql", "SELECT pg_catalog.set_config('search_path', '', false);\nCREATE TABLE public.b (a int);"
    )
    project.put("003_next.sql", "CREATE TABLE c (a int);")
    project.migrate()
    assert project.recorded() == ["001", "002", "003"]
    assert project.has("public.c")


def test_a_search_path_without_a_schema_is_refused_with_the_remedy(project: Project) -> None:
    with pytest.raises(DatabaseRefused, match="names no schema that exists; create one, or set it: ALTER ROLE"):
        project.reached(options="-csearch_path=absent").migrate()


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ("ALTER COLUMN version TYPE text", "column version is text, not character varying(255)"),
        (
            "ALTER COLUMN checksum TYPE varchar(32)",
            "column checksum is character varying(32), not character varying(64)",
        ),
        ("ALTER COLUMN applied_at TYPE timestamptz", "column applied_at is timestamp with time zone, not timestamp"),
        ("ALTER COLUMN filename DROP NOT NULL", "column filename may be NULL"),
        ("DROP CONSTRAINT schema_migrations_pkey", "version is no primary key"),
        ("ADD COLUMN batch int NOT NULL", "column batch has to be filled, and is not ours"),
    ],
)
def test_a_table_of_another_shape_is_refused_and_the_alter_in_the_message_mends_it(
    project: Project, change: str, problem: str
) -> None:
    project.rows(SPECIFIED)
    project.rows(f"ALTER TABLE schema_migrations {change}")
    with pytest.raises(LedgerShape) as refused:
        project.migrate()
    assert f"public.schema_migrations: {problem}" in str(refused.value)
    assert not project.has("made")
    for found in refused.value.problems:
        project.rows(found.message.partition("fix it: ")[2])
    project.migrate()
    assert project.recorded() == ["001"]


def test_every_fault_of_the_table_is_named_at_once(project: Project) -> None:
    project.rows("CREATE TABLE schema_migrations (version text, filename text, applied_at date, checksum text)")
    with pytest.raises(LedgerShape) as refused:
        project.migrate()
    assert len(refused.value.problems) == 9  # four types, four that may be NULL, no primary key


def test_the_table_of_another_tool_is_refused_and_stays_as_it_is_next_to_a_ledger_of_another_name(
    project: Project,
) -> None:
    project.rows("CREATE TABLE schema_migrations (version varchar PRIMARY KEY)")
    with pytest.raises(LedgerShape, match="the table of another tool \\(no column filename, ") as refused:
        project.migrate()
    named = project.reached(ledger=setting_in(refused.value))
    with pytest.raises(Unrecorded, match=r"the table public.schema_migrations, .* or --to 0 if none of the files did"):
        named.migrate()
    project.rows(SPECIFIED.replace("schema_migrations", "kernel_migrations"))
    named.migrate()
    assert project.rows("SELECT version FROM kernel_migrations") == [("001",)]
    assert project.rows("SELECT count(*) FROM schema_migrations") == [(0,)]


def test_the_remedy_quotes_a_schema_whose_name_needs_it(project: Project) -> None:
    project.rows('CREATE SCHEMA "My App"')
    project.rows(SPECIFIED.replace("schema_migrations", '"My App".schema_migrations'))
    project.rows('ALTER TABLE "My App".schema_migrations ALTER COLUMN filename DROP NOT NULL')
    there = project.reached(options='-csearch_path="My\\ App"')
    with pytest.raises(LedgerShape) as refused:
        there.migrate()
    project.rows(str(refused.value).partition("fix it: ")[2])
    there.migrate()
    assert project.has('"My App".made')


@pytest.mark.parametrize("kind", ["VIEW", "MATERIALIZED VIEW"])
def test_what_is_no_table_is_refused(project: Project, kind: str) -> None:
    project.rows(f"CREATE {kind} schema_migrations AS SELECT 1 AS version")
    with pytest.raises(LedgerShape, match="not a table; name another"):
        project.migrate()


@pytest.mark.parametrize(
    "change",
    [
        "ADD COLUMN note text",
        "ADD COLUMN id serial",
        "ADD COLUMN id int GENERATED ALWAYS AS IDENTITY",
        "ADD COLUMN by text NOT NULL DEFAULT current_user",
        "DROP CONSTRAINT schema_migrations_pkey, ADD UNIQUE (version)",
        "ALTER COLUMN applied_at DROP DEFAULT",
    ],
)
def test_what_does_no_harm_is_tolerated(project: Project, change: str) -> None:
    project.rows(SPECIFIED)
    project.rows(f"ALTER TABLE schema_migrations {change}")
    project.migrate()
    assert project.recorded() == ["001"]


def test_a_database_with_tables_and_no_ledger_is_refused_with_the_way_in(project: Project) -> None:
    project.rows("CREATE TABLE users (id int)")
    with pytest.raises(
        Unrecorded,
        match=r"holds the table public.users, but no schema_migrations; .* inv db.baseline --to VERSION, or --to 0",
    ):
        project.migrate()
    assert not project.has("schema_migrations")


def test_tables_in_other_schemas_are_another_history(project: Project) -> None:
    project.rows("CREATE SCHEMA other")
    project.rows("CREATE TABLE other.users (id int)")
    project.migrate()
    assert project.recorded() == ["001"]


def test_two_runners_that_hold_no_lock_create_one_table(project: Project) -> None:
    with psycopg.connect(project.url) as first, open_session(project.url) as session, ThreadPoolExecutor(1) as pool:
        first.execute(SPECIFIED.encode())
        second = pool.submit(create_ledger_tables, session, find_ledger(session))
        project.until(f"SELECT FROM pg_locks WHERE pid = {session.backend_pid} AND NOT granted")
        first.commit()
        assert second.result().exists
    project.migrate()
    assert project.recorded() == ["001"]


@pytest.fixture
def stranger(project: Project) -> Project:
    """The project as a role of no privilege sees it."""
    name = f"stranger_of_{project.look.info.dbname}"
    project.rows(f"CREATE ROLE {name} LOGIN")
    project.rows("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    return project.reached(user=name)


def setting_in(error: KernelError) -> str:
    """The value of the first KERNEL_MIGRATIONS_TABLE that a message names."""
    found = re.search("KERNEL_MIGRATIONS_TABLE=([^;]*)", str(error))
    assert found, str(error)
    (value,) = shlex.split(found[1])
    return value


def grant_in(error: KernelError) -> str:
    found = re.search("let (?:its owner|the owner of the schema) run: (GRANT [^;]*)", str(error))
    assert found, str(error)
    return found[1]


def test_without_the_privilege_to_create_it_the_grant_in_the_message_is_what_lacks(
    project: Project, stranger: Project
) -> None:
    with pytest.raises(DatabaseRefused, match=r"no privilege to create public\.schema_migrations") as refused:
        stranger.migrate()
    project.rows(grant_in(refused.value))
    stranger.migrate()
    assert project.recorded() == ["001"]


@pytest.mark.parametrize(
    ("event", "error"), [("ddl_command_start", "raise_exception"), ("ddl_command_end", "insufficient_privilege")]
)
def test_an_event_trigger_that_refuses_the_ledger_is_named_with_the_statements_for_a_role_that_may(
    project: Project, stranger: Project, event: str, error: str
) -> None:
    project.rows(
        "GRANT CREATE ON SCHEMA public TO PUBLIC; CREATE FUNCTION any_ddl() RETURNS event_trigger "
        "LANGUAGE plpgsql AS 'BEGIN END'; CREATE EVENT TRIGGER any_ddl ON ddl_command_start "
        "EXECUTE FUNCTION any_ddl(); CREATE FUNCTION no_tables() RETURNS event_trigger LANGUAGE plpgsql AS "
        f"$$BEGIN IF session_user <> 'postgres' THEN RAISE {error} USING message = 'ask the DBA'; END IF; END$$; "
        f'CREATE EVENT TRIGGER "No Tables" ON {event} EXECUTE FUNCTION no_tables()'
    )
    project.put("001_make.sql", "SELECT 1;")
    with pytest.raises(DatabaseRefused) as refused:
        stranger.migrate()
    assert "public.schema_migrations, which records what is applied, cannot be created: ask the DBA " in str(
        refused.value
    )
    assert '(event trigger "No Tables" on CREATE TABLE)' in str(refused.value)
    project.rows(str(refused.value).partition("let a role that may run: ")[2])
    stranger.migrate()
    assert project.recorded() == ["001"]


def test_without_the_privilege_to_read_it_the_grant_in_the_message_is_what_lacks(
    project: Project, stranger: Project
) -> None:
    project.migrate()
    with pytest.raises(DatabaseRefused, match=r"no privilege for SELECT on public\.schema_migrations") as refused:
        stranger.states()
    project.rows(grant_in(refused.value))
    assert stranger.states() == {"001": VersionState.APPLIED}


def test_a_database_that_takes_no_writes_is_refused_before_anything(project: Project) -> None:
    with pytest.raises(DatabaseRefused, match="is read-only"):
        project.reached(options="-cdefault_transaction_read_only=on").migrate()


@pytest.mark.parametrize("target", ["DATABASE {database}", "ROLE {role}", "ROLE {role} IN DATABASE {database}"])
def test_a_setting_that_makes_a_primary_read_only_is_named_with_the_command_that_resets_it(
    project: Project, target: str
) -> None:
    name = f"writer_of_{project.look.info.dbname}"
    project.rows(f"CREATE ROLE {name} SUPERUSER LOGIN")
    there = project.reached(user=name)
    altered = "ALTER " + target.format(role=name, database=project.look.info.dbname)
    project.rows(f"{altered} SET default_transaction_read_only = on")
    with pytest.raises(DatabaseRefused, match=rf"is on, by {altered} SET\); find out why, then turn it off") as refused:
        there.migrate()
    with psycopg.connect(there.url, autocommit=True) as administrator:
        for command in str(refused.value).partition("in psql: ")[2].split("; "):
            administrator.execute(command.encode())
    there.migrate()
    assert project.recorded() == ["001"]


def test_a_file_that_makes_its_transaction_read_only_is_not_sent_to_another_server(project: Project) -> None:
    project.put("001_make.sql", "SET transaction_read_only = on; CREATE TABLE t ();")
    failed = project.failure()
    assert failed.failure.sqlstate == "25006"
    assert str(failed.hint).startswith("the transaction is read-only; take out what makes it so, such as READ ONLY or")


def test_with_nothing_pending_a_database_that_takes_no_writes_is_no_matter(project: Project) -> None:
    project.migrate()
    assert project.reached(options="-cdefault_transaction_read_only=on").migrate().applied == ()


def test_the_name_of_a_session_holds_no_secret(project: Project) -> None:
    secret = "geheim"  # noqa: S105 - of this test only
    with open_session(project.reached(password=secret).url) as session:
        assert secret not in repr(session)
        assert session.name.endswith(f"/{project.look.info.dbname}")


@pytest.mark.parametrize(
    "change",
    [
        "DELETE FROM schema_migrations WHERE version = '001'",
        "UPDATE schema_migrations SET applied_at = applied_at",
        "INSERT INTO schema_migrations SELECT '002', filename, applied_at, checksum FROM schema_migrations",
        "TRUNCATE schema_migrations",
        "DO $$BEGIN UPDATE schema_migrations SET checksum = ''; EXCEPTION WHEN division_by_zero THEN END$$",
        "DELETE FROM schema_migrations; INSERT INTO schema_migrations VALUES ('001', '001_make.sql', now(), '')",
    ],
)
def test_the_fingerprint_of_the_ledger_changes_with_every_record(project: Project, change: str) -> None:
    project.migrate()
    with open_session(project.url) as session:
        ledger = find_ledger(session)
        before = read_fingerprint(session, ledger)
        assert before.records == 1
        assert read_fingerprint(session, ledger) == before
        session.connection.execute(change.encode())
        assert read_fingerprint(session, ledger) != before


def test_the_fingerprint_of_a_ledger_survives_vacuum(project: Project) -> None:
    project.migrate()
    with open_session(project.url) as session:
        ledger = find_ledger(session)
        before = read_fingerprint(session, ledger)
        for maintenance in (b"VACUUM (FREEZE)", b"VACUUM FULL", b"ANALYZE"):
            session.connection.execute(maintenance + b" schema_migrations")
        assert read_fingerprint(session, ledger) == before


def moved_by_options(project: Project) -> Project:
    project.rows("CREATE SCHEMA app")
    return project.reached(options="-csearch_path=app")


def moved_by_database(project: Project) -> Project:
    project.rows("CREATE SCHEMA app")
    project.rows(f"ALTER DATABASE {project.look.info.dbname} SET search_path = app, absent")
    return project


def moved_by_role(project: Project) -> Project:
    name = f"mover_of_{project.look.info.dbname}"
    project.rows(f"CREATE ROLE {name} SUPERUSER LOGIN; CREATE SCHEMA {name}")
    project.rows(f'ALTER ROLE {name} SET search_path = "$user"')
    return project.reached(user=name)


def moved_to_no_schema(project: Project) -> Project:
    return project.reached(options="-csearch_path=absent")


def moved_table(project: Project) -> Project:
    project.rows('CREATE SCHEMA "My App"; ALTER TABLE schema_migrations SET SCHEMA "My App"')
    return project


def schema_not_usable(project: Project) -> Project:
    name = f"outsider_of_{project.look.info.dbname}"
    project.rows("CREATE SCHEMA open; REVOKE USAGE ON SCHEMA public FROM PUBLIC")
    project.rows(f"CREATE ROLE {name} LOGIN; GRANT ALL ON SCHEMA open TO {name}")
    project.rows(f"GRANT ALL ON schema_migrations TO {name}")
    return project.reached(user=name, options="-csearch_path=public,open")


MOVES = (moved_by_options, moved_by_database, moved_by_role, moved_to_no_schema, moved_table, schema_not_usable)


@pytest.mark.parametrize("move", MOVES)
def test_a_ledger_that_the_search_path_no_longer_finds_is_never_replaced_by_a_second(
    project: Project, move: Callable[[Project], Project]
) -> None:
    project.put("001_make.sql", "CREATE TABLE IF NOT EXISTS public.made (a int);")
    project.migrate()
    moved = move(project)
    with pytest.raises(LedgerElsewhere, match="the search_path finds no schema_migrations, but there is ") as refused:
        moved.migrate()
    with pytest.raises(LedgerElsewhere):
        moved.states()
    with open_session(moved.url) as session:
        found = check_records(session, check_files(project.folder), location(project))
    assert found.problems == refused.value.problems
    if "GRANT" in str(refused.value):
        project.rows(grant_in(refused.value))
        assert moved.states() == {"001": VersionState.APPLIED}
    assert moved.reached(ledger=setting_in(refused.value)).states() == {"001": VersionState.APPLIED}
    assert project.rows("SELECT count(*) FROM pg_class WHERE relname = 'schema_migrations'") == [(1,)]


def location(project: Project) -> MigrationsLocation:
    return MigrationsLocation(root=project.folder, directory=project.folder, environ={})


def test_a_search_path_that_a_file_moves_is_noticed_by_the_next_run(project: Project) -> None:
    project.put("002_move.sql", f"CREATE SCHEMA app; ALTER DATABASE {project.look.info.dbname} SET search_path = app;")
    project.migrate()
    with pytest.raises(LedgerElsewhere, match=r"there is public\.schema_migrations"):
        project.migrate()


@pytest.mark.parametrize("columns", ["version bigint PRIMARY KEY", "version text, statements text[], name text"])
def test_a_table_of_the_same_name_that_another_tool_has_in_a_schema_of_its_own_is_no_ledger(
    project: Project, columns: str
) -> None:
    project.rows(f"CREATE SCHEMA supabase_migrations; CREATE TABLE supabase_migrations.schema_migrations ({columns})")
    project.migrate()
    assert project.recorded() == ["001"]


def test_services_that_share_a_database_have_ledgers_of_their_own_and_do_not_wait_for_each_other(
    project: Project,
) -> None:
    project.rows('CREATE SCHEMA crm; CREATE SCHEMA "Big.Co"')
    project.put("001_make.sql", "SELECT 1;")
    crm, other = project.reached(ledger="crm.schema_migrations"), project.reached(ledger='"Big.Co"."a ""ledger"""')
    with open_session(crm.url, migrations_table=crm.ledger) as session:
        ledger = find_ledger(session)
        with hold_advisory_lock(session, ledger, wait_seconds=0, waiting=lambda _holder: None):
            other.migrate()
    assert crm.states() == {"001": VersionState.PENDING}
    crm.migrate()
    assert project.rows("SELECT version FROM crm.schema_migrations") == [("001",)]
    assert project.rows('SELECT version FROM "Big.Co"."a ""ledger"""') == [("001",)]


def test_the_lock_of_the_default_ledger_keeps_its_key() -> None:
    assert advisory_lock_key("public", "schema_migrations") == LOCK_OF_PUBLIC
    assert advisory_lock_key("public", "kernel_migrations") != LOCK_OF_PUBLIC


def test_unfinished_files_of_two_ledgers_do_not_meet(project: Project) -> None:
    project.rows("CREATE TABLE t (a int)")
    project.put("001_make.sql", "-- migrate: no-transaction\nVACUUM t;\nSELECT 1 / (SELECT count(*) FROM t);")
    project.rows(SPECIFIED)
    project.rows(SPECIFIED.replace("schema_migrations", "billing_migrations"))
    other = project.reached(ledger="billing_migrations")
    project.failure()
    assert project.states() == {"001": VersionState.PARTIAL}
    assert other.states() == {"001": VersionState.PENDING}
    other.failure()
    assert other.states() == {"001": VersionState.PARTIAL}


def test_a_schema_that_the_setting_names_and_that_does_not_exist_is_refused(project: Project) -> None:
    with pytest.raises(DatabaseRefused, match=r"there is no schema bililng, .* create it: CREATE SCHEMA bililng"):
        project.reached(ledger="bililng.schema_migrations").migrate()


def test_tables_that_no_file_made_are_noticed_when_the_ledger_is_in_another_schema(project: Project) -> None:
    project.rows("CREATE SCHEMA ops; CREATE TABLE users (id int)")
    with pytest.raises(Unrecorded, match=r"holds the table public\.users, but no schema_migrations"):
        project.reached(ledger="ops.schema_migrations").migrate()


def hidden_by_policy(project: Project, table: str) -> Project:
    name = f"reader_of_{project.look.info.dbname}"
    project.rows(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
    project.rows(f"CREATE ROLE {name} LOGIN; GRANT ALL ON ALL TABLES IN SCHEMA public TO {name}")
    return project.reached(user=name)


def hidden_from_the_owner(project: Project, table: str) -> Project:
    name = f"owner_of_{project.look.info.dbname}"
    project.rows(f"CREATE ROLE {name} LOGIN; GRANT ALL ON ALL TABLES IN SCHEMA public TO {name}")
    project.rows(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY, OWNER TO {name}")
    return project.reached(user=name)


@pytest.mark.parametrize("hide", [hidden_by_policy, hidden_from_the_owner])
@pytest.mark.parametrize("table", ["schema_migrations", "schema_migrations_progress"])
def test_records_that_row_security_may_hide_are_refused_with_the_remedy(
    project: Project, hide: Callable[[Project, str], Project], table: str
) -> None:
    project.put(
        "002_more.sql", "-- migrate: no-transaction\nCREATE TABLE more ();\nSELECT 1 / (SELECT count(*) FROM more);"
    )
    project.failure()
    reader = hide(project, table)
    with pytest.raises(DatabaseRefused, match=rf"row security of public\.{table} may hide records from") as refused:
        reader.states()
    with open_session(reader.url) as session, pytest.raises(DatabaseRefused, match="may hide records"):
        check_records(session, check_files(project.folder), location(project))
    assert project.states() == {"001": VersionState.APPLIED, "002": VersionState.PARTIAL}  # a superuser is exempt
    project.rows(re.split("turn it off: |let the owner run: ", str(refused.value))[1])
    assert reader.states() == {"001": VersionState.APPLIED, "002": VersionState.PARTIAL}


def test_a_file_that_makes_the_ledger_is_not_advised_to_write_if_not_exists(project: Project) -> None:
    body = "BEGIN EXECUTE concat('CREATE TABLE schema_', 'migrations (id int)'); END"
    project.put("002_dump.sql", f"CREATE FUNCTION f() RETURNS void LANGUAGE plpgsql AS $${body}$$;\nSELECT f();")
    failed = project.failure()
    assert failed.failure.sqlstate == "42P07"
    assert "pg_dump --exclude-table=public.schema_migrations" in str(failed.hint)
    assert "KERNEL_MIGRATIONS_TABLE" in str(failed.hint)
    assert "IF NOT EXISTS" not in str(failed.hint)


def test_a_ledger_whose_name_is_no_longer_set_is_not_replaced_by_a_second(project: Project) -> None:
    project.rows("CREATE SCHEMA billing")
    project.put("001_make.sql", "CREATE TABLE billing.made (a int);")
    named = project.reached(ledger="billing.ledger")
    named.migrate()
    with pytest.raises(LedgerElsewhere, match=r"finds no schema_migrations, but there is billing\.ledger; ") as refused:
        project.migrate()
    assert project.reached(ledger=setting_in(refused.value)).states() == {"001": VersionState.APPLIED}
    another = project.reached(ledger="crm_migrations")  # a name that is set is a ledger of its own
    assert another.states() == {"001": VersionState.PENDING}
