"""What db.status warns of is what db.migrate refuses."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from kernel.db.connection import open_session
from kernel.errors import KernelError
from kernel.operations.migrate import migrate_refusals
from kernel.plan import read_status
from kernel.postgres.programs import find_programs
from kernel.postgres.throwaway import open_watched_cluster

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kernel.postgres.cluster import Server
    from tests.integration.conftest import Project

STEPS = "-- migrate: no-transaction\nVACUUM;\nSELECT 1;"


def warnings(project: Project) -> list[str]:
    """The messages of db.status, in order."""
    with open_session(project.url) as session:
        return [str(error) for error in migrate_refusals(session, read_status(session, project.files()))]


def refusal(project: Project) -> str:
    with pytest.raises(KernelError) as refused:
        project.migrate()
    return str(refused.value)


@pytest.fixture
def limited(project: Project) -> Iterator[Project]:
    """The project as a role that may log in and read its ledger, in which 001 is recorded."""
    name = f"limited_{project.look.info.dbname}"
    project.rows(f"CREATE ROLE {name} LOGIN")
    yield project.reached(user=name)
    project.rows(f"DROP OWNED BY {name}; DROP ROLE {name}")


def test_a_database_that_a_run_accepts_has_no_warning(project: Project) -> None:
    project.put("001_a.sql", "CREATE TABLE a (i int);")
    assert warnings(project) == []
    project.migrate()
    project.put("002_b.sql", STEPS)
    assert warnings(project) == []
    project.migrate()


def test_a_role_that_may_not_create_the_ledger_is_refused_before_anything_and_the_grant_is_named(
    limited: Project,
) -> None:
    limited.rows("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    limited.put("001_a.sql", "SELECT 1;")
    (warning,) = warnings(limited)
    assert "no privilege to create public.schema_migrations; let its owner run: GRANT CREATE ON SCHEMA" in warning
    assert refusal(limited) == warning
    limited.rows(warning.partition("let its owner run: ")[2])
    assert warnings(limited) == []
    limited.migrate()


@pytest.mark.parametrize(
    ("granted", "lacks"),
    [
        ("SELECT ON schema_migrations", "INSERT on public.schema_migrations"),
        (
            "SELECT, INSERT ON schema_migrations",
            "SELECT, INSERT, UPDATE, DELETE on public.schema_migrations_progress",
        ),
    ],
)
def test_a_role_without_a_privilege_on_the_tables_of_the_runner_is_told_what_a_run_would_lack(
    project: Project, limited: Project, granted: str, lacks: str
) -> None:
    project.put("001_a.sql", "SELECT 1;")
    project.migrate()
    project.put("002_b.sql", STEPS)
    project.rows(f"GRANT {granted} TO limited_{project.look.info.dbname}")
    found = warnings(limited)
    assert f"no privilege for {lacks}" in found[0]
    assert refusal(limited) == found[0]


def test_a_missing_progress_table_that_the_role_may_not_create_is_named_with_what_creates_it(
    project: Project, limited: Project
) -> None:
    project.put("001_a.sql", "SELECT 1;")
    project.migrate()
    project.rows("DROP TABLE schema_migrations_progress; REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    project.rows(f"GRANT SELECT, INSERT ON schema_migrations TO limited_{project.look.info.dbname}")
    project.put("002_b.sql", STEPS)
    (warning,) = warnings(limited)
    assert "permission denied for schema public; let a role that may run: CREATE TABLE IF NOT EXISTS" in warning
    assert refusal(limited) == warning
    project.rows(warning.partition("let a role that may run: ")[2])
    assert warnings(limited) == []


def test_a_session_that_takes_no_writes_and_files_that_cannot_be_read_are_all_named(project: Project) -> None:
    project.put("001_a.sql", "SELECT 'unterminated;")
    project.put("002_b.sql", "\\connect other\n")
    there = project.reached(options="-c default_transaction_read_only=on")
    read_only, files = warnings(there)
    assert "is read-only (default_transaction_read_only is on, by the connection)" in read_only
    assert [line.partition(":")[0] for line in files.splitlines()] == ["001_a.sql", "002_b.sql"]


@pytest.mark.slow
def test_a_standby_is_named(server: Server, project: Project) -> None:
    with open_watched_cluster(find_programs(server.programs.bin)) as cluster:
        cluster.serve({})
        signal_file = cluster.cluster.data / "standby.signal"
        signal_file.touch()
        os.chown(signal_file, cluster.cluster.account.uid, cluster.cluster.account.gid)
        standby = cluster.serve({})
        project.put("001_a.sql", "SELECT 1;")
        with open_session(standby.conninfo) as session:
            (error,) = migrate_refusals(session, read_status(session, project.files()))
        assert "is a standby, which takes no writes; give the URL of its primary" in str(error)
