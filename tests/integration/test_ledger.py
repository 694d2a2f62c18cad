"""The table schema_migrations: made as specified, found where it is, refused with the remedy when it is another."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

import pytest

from kernel.db.connection import open_session
from kernel.db.ledger import find_ledger, read_fingerprint
from kernel.errors import DatabaseRefused, LedgerShape, Unrecorded
from kernel.plan import VersionState

if TYPE_CHECKING:
    from tests.integration.conftest import Project

# The specification, "Migration Tracking Table".
SPECIFIED = """
CREATE TABLE schema_migrations (
  version VARCHAR(255) PRIMARY KEY,
  filename VARCHAR(255) NOT NULL,
  applied_at TIMESTAMP NOT NULL DEFAULT NOW(),
  checksum VARCHAR(64) NOT NULL
)"""
SHAPE = """
SELECT attname, format_type(atttypid, atttypmod), attnotnull, pg_get_expr(adbin, adrelid),
  (SELECT contype FROM pg_constraint WHERE conrelid = attrelid AND conkey = ARRAY[attnum])
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


def test_the_table_of_another_runner_is_refused_and_renaming_it_makes_room(project: Project) -> None:
    project.rows("CREATE TABLE schema_migrations (version varchar PRIMARY KEY)")
    with pytest.raises(LedgerShape, match="the table of another runner \\(no column filename, ") as refused:
        project.migrate()
    project.rows(str(refused.value).partition("rename it: ")[2])
    project.rows("DROP TABLE schema_migrations_of_another_runner")
    project.migrate()
    assert project.recorded() == ["001"]


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
    with pytest.raises(LedgerShape, match="not a table; rename it"):
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
        match=r"schema public holds the table users, but no schema_migrations; .* inv db.baseline --to VERSION",
    ):
        project.migrate()
    assert not project.has("schema_migrations")


def test_tables_in_other_schemas_are_another_history(project: Project) -> None:
    project.rows("CREATE SCHEMA other")
    project.rows("CREATE TABLE other.users (id int)")
    project.migrate()
    assert project.recorded() == ["001"]


@pytest.fixture
def stranger(project: Project) -> Project:
    """The project as a role of no privilege sees it."""
    name = f"stranger_of_{project.look.info.dbname}"
    project.rows(f"CREATE ROLE {name} LOGIN")
    project.rows("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    return project.reached(user=name)


def grant_in(error: DatabaseRefused) -> str:
    found = re.search("let its owner run: (GRANT .*)$", str(error))
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
