"""The table of progress is there before the first statement runs, and is never dropped."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from psycopg import sql

from kernel.db.connection import open_session
from kernel.errors import DatabaseRefused
from kernel.operations.baseline import record_baseline
from kernel.plan import VersionState

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.integration.conftest import Project

HEAD = "-- migrate: no-transaction\n"
PROGRESS = "schema_migrations_progress"
FORBID = """
CREATE FUNCTION forbid() RETURNS event_trigger LANGUAGE plpgsql AS
  $$ BEGIN RAISE EXCEPTION 'tables are made by the administrator'; END $$;
"""


@pytest.fixture
def restricted(project: Project) -> Iterator[Project]:
    """A project whose role owns the table `t` and its ledger, and may create nothing in the schema."""
    role = f"restricted_{project.look.info.dbname}"
    name = sql.Identifier(role)
    project.look.execute(sql.SQL("CREATE ROLE {} LOGIN; GRANT CREATE ON SCHEMA public TO {}").format(name, name))
    of_role = project.reached(user=role)
    of_role.put("001_a.sql", "CREATE TABLE t (a int);")
    of_role.migrate()
    project.look.execute(sql.SQL("REVOKE CREATE ON SCHEMA public FROM {}").format(name))
    yield of_role
    project.look.execute(sql.SQL("DROP OWNED BY {} CASCADE; DROP ROLE {}").format(name, name))


def test_it_is_created_with_the_ledger_and_stays(project: Project) -> None:
    project.put("001_a.sql", "CREATE TABLE t (a int);")
    assert project.states() == {"001": VersionState.PENDING}
    assert not project.has(PROGRESS), "db.status creates nothing"
    project.migrate()
    oid = project.rows(f"SELECT '{PROGRESS}'::regclass::oid")
    project.put("002_b.sql", "VACUUM t;")
    project.migrate()
    assert project.rows(f"SELECT '{PROGRESS}'::regclass::oid") == oid
    assert project.rows(f"SELECT * FROM {PROGRESS}") == []


def test_a_baseline_creates_it_too(project: Project) -> None:
    project.put("001_a.sql", "CREATE TABLE t (a int);")
    with open_session(project.url) as session:
        record_baseline(session, project.files(), to="001", lock_wait_seconds=0, waiting=lambda _holder: None)
    assert project.has(PROGRESS)


def test_an_event_trigger_that_forbids_dropping_tables_is_no_obstacle(project: Project) -> None:
    project.rows(FORBID + "CREATE EVENT TRIGGER e ON sql_drop WHEN TAG IN ('DROP TABLE') EXECUTE FUNCTION forbid()")
    project.put("001_a.sql", "CREATE TABLE t (a int);")
    project.put("002_b.sql", "CREATE INDEX CONCURRENTLY t_a ON t (a);")
    project.migrate()
    assert project.recorded() == ["001", "002"]


def test_a_role_that_may_create_nothing_runs_statements_outside_of_a_transaction(restricted: Project) -> None:
    restricted.put("002_b.sql", HEAD + "INSERT INTO t VALUES (1);\nVACUUM t;")
    restricted.migrate()
    assert restricted.recorded() == ["001", "002"]


def test_without_the_table_and_the_privilege_nothing_runs_and_the_remedy_is_named(restricted: Project) -> None:
    restricted.rows(f"DROP TABLE {PROGRESS}")  # a ledger of the former runner has none
    restricted.put("002_b.sql", "INSERT INTO t VALUES (1);")
    restricted.put("003_c.sql", HEAD + "INSERT INTO t VALUES (2);\nVACUUM t;")
    with pytest.raises(DatabaseRefused) as refused:
        restricted.migrate()
    message = str(refused.value)
    assert (
        f"public.{PROGRESS}, which keeps the progress of files outside of a transaction, cannot be made: "
        "permission denied for schema public; let a role that may run: CREATE TABLE"
    ) in message
    assert restricted.rows("SELECT * FROM t") == []
    assert restricted.recorded() == ["001"]
    restricted.rows(message.partition("let a role that may run: ")[2])
    restricted.migrate()
    assert restricted.recorded() == ["001", "002", "003"]


def test_an_event_trigger_that_forbids_creating_tables_is_named_before_anything_runs(project: Project) -> None:
    project.put("001_a.sql", "CREATE TABLE t (a int);")
    project.migrate()
    project.rows(f"DROP TABLE {PROGRESS}")
    project.rows(
        FORBID + "CREATE EVENT TRIGGER e ON ddl_command_start WHEN TAG IN ('CREATE TABLE') EXECUTE FUNCTION forbid()"
    )
    project.put("002_b.sql", HEAD + "INSERT INTO t VALUES (2);")
    with pytest.raises(DatabaseRefused, match="cannot be made: tables are made by the administrator"):
        project.migrate()
    assert project.rows("SELECT * FROM t") == []


def test_a_table_of_another_owner_is_refused_with_the_grant(restricted: Project) -> None:
    restricted.rows(f"ALTER TABLE {PROGRESS} OWNER TO {restricted.look.info.user}")
    restricted.put("002_b.sql", HEAD + "INSERT INTO t VALUES (2);")
    with pytest.raises(DatabaseRefused) as refused:
        restricted.migrate()
    message = str(refused.value)
    assert f"no privilege for SELECT, INSERT, UPDATE, DELETE on public.{PROGRESS}" in message
    assert restricted.rows("SELECT * FROM t") == []
    restricted.rows(message.partition("let its owner run: ")[2])
    restricted.migrate()
    assert restricted.recorded() == ["001", "002"]


@pytest.mark.parametrize("make", ["CREATE TABLE {} (a int)", "CREATE VIEW {} AS SELECT 1 AS version"])
def test_another_relation_of_its_name_is_refused(project: Project, make: str) -> None:
    project.put("001_a.sql", "CREATE TABLE t (a int);")
    project.migrate()
    project.rows(f"DROP TABLE {PROGRESS}")
    project.rows(make.format(PROGRESS))
    project.put("002_b.sql", HEAD + "INSERT INTO t VALUES (2);")
    with pytest.raises(DatabaseRefused, match="is no table of this runner"):
        project.migrate()


def test_a_partial_file_of_a_former_release_goes_on(project: Project) -> None:
    project.put("001_a.sql", "CREATE TABLE t (a int);")
    path = project.put("002_b.sql", HEAD + "INSERT INTO t VALUES (2);\nSELECT 1 / 0;\n")
    with pytest.raises(Exception, match="division by zero"):
        project.migrate()
    project.rows(f"ALTER TABLE {PROGRESS} DROP COLUMN begun_digest, DROP COLUMN table_oid, DROP COLUMN other_indexes")
    assert project.states()["002"] is VersionState.PARTIAL
    path.write_text(path.read_text().replace("1 / 0", "1"))
    project.migrate()
    assert project.rows("SELECT * FROM t") == [(2,)]
    assert project.recorded() == ["001", "002"]
