"""The role of the runner's own statements: the connection's, however it got it, or that of KERNEL_ROLE."""

from __future__ import annotations

import uuid
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pytest

from kernel.db.connection import open_session
from kernel.db.ledger import find_ledger
from kernel.db.records import refuse_missing_privilege
from kernel.errors import DatabaseRefused
from kernel.operations.migrate import MigrateOptions, migrate
from kernel.operations.rollback import RollbackOptions, rollback

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.integration.conftest import Project

FILES = {
    "001_table.sql": "CREATE TABLE t (id int);",
    "002_index.sql": "CREATE INDEX CONCURRENTLY t_id ON t (id);",
    "003_steps.sql": "-- migrate: no-transaction\nINSERT INTO t VALUES (3);\nRESET ROLE;\nINSERT INTO t VALUES (3);",
    "004_roles.sql": "SET ROLE pg_monitor;\nSELECT 1;",
    "005_table.sql": "CREATE TABLE u (id int);",
}


@dataclass(kw_only=True)
class Roles:
    """A login without any privilege of its own, and the role that it may become."""

    login: str
    owner: str


@pytest.fixture
def roles(project: Project) -> Iterator[Roles]:
    mark = uuid.uuid4().hex[:8]
    made = Roles(login=f"login_{mark}", owner=f"Owner {mark}")
    project.rows(
        f'CREATE ROLE "{made.owner}"; CREATE ROLE {made.login} LOGIN NOINHERIT IN ROLE "{made.owner}", pg_monitor;'
        f'GRANT CREATE, USAGE ON SCHEMA public TO "{made.owner}"; GRANT pg_monitor TO "{made.owner}"'
    )
    for filename, text in FILES.items():
        project.put(filename, text)
    yield made
    project.rows(f'DROP OWNED BY "{made.owner}", {made.login}; DROP ROLE "{made.owner}", {made.login}')


def owners(project: Project) -> set[str]:
    query = "SELECT DISTINCT relowner::regrole::text FROM pg_class WHERE relnamespace = 'public'::regnamespace"
    return {owner.strip('"') for (owner,) in project.rows(query)}


@contextmanager
def role_at_connection(project: Project, roles: Roles, means: str) -> Iterator[Project]:
    """The project as the login, which gets the owner's role by `means`."""
    option = roles.owner.replace(" ", "\\ ")
    with pytest.MonkeyPatch.context() as patch:
        match means:
            case "options":
                yield project.reached(user=roles.login, options=f"-c role={option}")
            case "PGOPTIONS":
                patch.setenv("PGOPTIONS", f"-c role={option}")
                yield project.reached(user=roles.login)
            case _:
                project.rows(f'ALTER ROLE {roles.login} SET role = "{roles.owner}"')
                yield project.reached(user=roles.login)


@pytest.mark.parametrize("means", ["options", "PGOPTIONS", "ALTER ROLE"])
def test_the_role_that_a_connection_begins_with_runs_every_kind_of_file(
    project: Project, roles: Roles, means: str
) -> None:
    project.put("003_steps.sql", FILES["003_steps.sql"].replace("RESET ROLE", "SET ROLE pg_monitor; RESET ROLE"))
    with role_at_connection(project, roles, means) as reached:
        assert len(reached.migrate().applied) == len(FILES)
        reached.put("006_together.sql", "CREATE TABLE v (id int);")
        reached.put("007_together.sql", "SET ROLE pg_monitor;")
        assert len(reached.migrate(single_transaction=True).applied) == 2
        with open_session(reached.url) as session:
            rollback(session, reached.files(), RollbackOptions(steps=2, waits=reached.waits), reached.observe)
    assert owners(project) == {roles.owner}
    assert project.recorded() == ["001", "002", "003", "004", "005"]


def test_kernel_role_runs_every_kind_of_file_and_owns_what_they_make(project: Project, roles: Roles) -> None:
    (project.folder / "003_steps.sql").unlink()
    with open_session(project.reached(user=roles.login).url, role=roles.owner) as session:
        options = MigrateOptions(waits=project.waits)
        assert len(migrate(session, project.files(), options, project.observe).applied) == len(FILES) - 1
        project.put("006_together.sql", "CREATE TABLE v (id int);")
        project.put("007_together.sql", "SET ROLE pg_monitor;")
        together = replace(options, single_transaction=True)
        assert len(migrate(session, project.files(), together, project.observe).applied) == 2
        rollback(session, project.files(), RollbackOptions(steps=2, waits=project.waits), project.observe)
    assert owners(project) == {roles.owner}


def test_a_step_without_a_transaction_saves_its_progress_as_kernel_role(project: Project, roles: Roles) -> None:
    project.put("003_steps.sql", "-- migrate: no-transaction\nSET ROLE pg_monitor;\nSELECT 1;\nVACUUM;\nSELECT 2;")
    with open_session(project.reached(user=roles.login).url, role=roles.owner) as session:
        migrate(session, project.files(), MigrateOptions(waits=project.waits), project.observe)
    assert project.recorded() == ["001", "002", "003", "004", "005"]


@pytest.mark.parametrize(
    ("role", "message"),
    [
        ("nobody_of_that_name", "there is no role nobody_of_that_name; correct the setting, or create the role"),
        ("pg_write_all_data", "may not become pg_write_all_data; let an administrator run: GRANT pg_write_all_data TO"),
        ("Nobody", 'there is no role "Nobody"'),
    ],
)
def test_a_kernel_role_that_cannot_be_set_is_refused_with_the_remedy(
    project: Project, roles: Roles, role: str, message: str
) -> None:
    with pytest.raises(DatabaseRefused) as refused, open_session(project.reached(user=roles.login).url, role=role):
        pass
    assert "KERNEL_ROLE: " in str(refused.value)
    assert message in str(refused.value)
    assert refused.value.exit == 7


def test_a_missing_privilege_is_granted_to_the_role_that_counts(project: Project, roles: Roles) -> None:
    project.migrate()
    url = project.reached(user=roles.login).url
    with open_session(url, role=roles.owner) as session, pytest.raises(DatabaseRefused) as refused:
        refuse_missing_privilege(session, find_ledger(session), "INSERT")
    assert f'GRANT INSERT ON public.schema_migrations TO "{roles.owner}"' in str(refused.value)
