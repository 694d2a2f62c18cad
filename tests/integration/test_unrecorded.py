"""A database whose ledger has no records: no file runs again because an empty ledger is found before the other."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

import pytest

from kernel.db.connection import open_session
from kernel.errors import LedgerElsewhere, Unrecorded
from kernel.operations.baseline import record_baseline
from kernel.operations.drift import MigrationsLocation
from kernel.operations.rollback import RollbackOptions, rollback
from kernel.operations.verify import check_files, check_records
from kernel.plan import VersionState

if TYPE_CHECKING:
    from collections.abc import Callable

    from kernel.operations.baseline import BaselineResult
    from tests.integration.conftest import Project

EMPTY = "CREATE TABLE {} (LIKE public.schema_migrations INCLUDING ALL)"


@pytest.fixture(autouse=True)
def _one_applied_file(project: Project) -> None:
    project.put("001_make.sql", "CREATE TABLE IF NOT EXISTS public.made (a int); INSERT INTO public.made VALUES (1);")
    project.migrate()


def baseline(project: Project, to: str) -> BaselineResult:
    with open_session(project.url, migrations_table=project.ledger) as session:
        return record_baseline(session, project.files(), to=to, lock_wait_seconds=0, waiting=lambda _holder: None)


def made_by_baseline(project: Project) -> Project:
    project.rows("CREATE SCHEMA app")
    baseline(project.reached(ledger="app.schema_migrations"), to="0")
    return project.reached(options="-csearch_path=app,public")


def made_by_hand(project: Project) -> Project:
    project.rows("CREATE SCHEMA app; " + EMPTY.format("app.schema_migrations"))
    return project.reached(options="-csearch_path=app,public")


def made_in_the_schema_of_the_role(project: Project) -> Project:
    name = f"owner_of_{project.look.info.dbname}"
    project.rows(
        f"CREATE ROLE {name} SUPERUSER LOGIN; CREATE SCHEMA {name}; {EMPTY.format(f'{name}.schema_migrations')}"
    )
    return project.reached(user=name)


def found_without_the_setting(project: Project) -> Project:
    project.rows("ALTER TABLE schema_migrations RENAME TO billing_migrations")
    project.rows(EMPTY.format("schema_migrations").replace("public.schema", "public.billing"))
    return project


def not_on_the_search_path(project: Project) -> Project:
    project.rows("CREATE SCHEMA app; " + EMPTY.format("app.schema_migrations"))
    return project.reached(options="-csearch_path=app")


def not_readable(project: Project) -> Project:
    name = f"stranger_of_{project.look.info.dbname}"
    project.rows(f"CREATE ROLE {name} LOGIN; CREATE SCHEMA app AUTHORIZATION {name}; GRANT ALL ON made TO {name}")
    project.rows(f"GRANT ALL ON SCHEMA public TO {name}")
    project.rows(EMPTY.format("app.schema_migrations") + f"; ALTER TABLE app.schema_migrations OWNER TO {name}")
    return project.reached(user=name, options="-csearch_path=app,public")


def hidden_by_policy(project: Project) -> Project:
    there = not_readable(project)
    project.rows("GRANT SELECT ON schema_migrations TO PUBLIC; ALTER TABLE schema_migrations ENABLE ROW LEVEL SECURITY")
    return there


def another_content(project: Project) -> Project:
    project.put("001_make.sql", "INSERT INTO public.made VALUES (2);")
    return made_by_hand(project)


def another_name(project: Project) -> Project:
    (project.folder / "001_make.sql").rename(project.folder / "002_made.sql")
    return made_by_hand(project)


SHADOWS = (
    made_by_baseline,
    found_without_the_setting,
    not_readable,
    another_name,
    *(
        pytest.param(shadow, marks=pytest.mark.slow)
        for shadow in (
            made_by_hand,
            made_in_the_schema_of_the_role,
            not_on_the_search_path,
            hidden_by_policy,
            another_content,
        )
    ),
)


def settings_in(error: LedgerElsewhere) -> list[str]:
    """The values of KERNEL_MIGRATIONS_TABLE that a message names."""
    return [shlex.split(value)[0] for value in re.findall("KERNEL_MIGRATIONS_TABLE=([^;]*)", str(error))]


@pytest.mark.parametrize("shadow", SHADOWS)
def test_an_empty_ledger_that_is_found_first_makes_no_file_run_again(
    project: Project, shadow: Callable[[Project], Project]
) -> None:
    there = shadow(project)
    with pytest.raises(LedgerElsewhere, match=r", which the search_path finds, has no records, but ") as refused:
        there.migrate()
    assert project.rows("SELECT * FROM public.made") == [(1,)]
    _recorded, empty = settings_in(refused.value)
    there.reached(ledger=empty).migrate()
    there.migrate()
    assert project.rows(f"SELECT count(*) FROM {empty}") == [(1,)]


def test_what_reads_or_writes_records_refuses_an_empty_ledger_alike(project: Project) -> None:
    there = made_by_hand(project)
    with pytest.raises(LedgerElsewhere) as refused:
        there.states()
    with pytest.raises(LedgerElsewhere):
        baseline(there, to="001")
    with open_session(there.url) as session:
        files = check_files(project.folder)
        location = MigrationsLocation(root=project.folder, directory=project.folder, environ={})
        assert check_records(session, files, location).problems == refused.value.problems
        with pytest.raises(LedgerElsewhere):
            rollback(session, project.files(), RollbackOptions(waits=project.waits), project.observe)
    recorded, _empty = settings_in(refused.value)
    assert there.reached(ledger=recorded).states() == {"001": VersionState.APPLIED}


def test_the_records_of_other_files_are_those_of_another_service(project: Project) -> None:
    there = made_by_hand(project)
    (project.folder / "001_make.sql").unlink()
    project.put("001_other.sql", "CREATE TABLE other ();")
    there.migrate()
    assert project.rows("SELECT filename FROM app.schema_migrations") == [("001_other.sql",)]


def test_a_tenant_of_its_own_schema_needs_the_setting_for_its_first_run_only(project: Project) -> None:
    project.rows("CREATE SCHEMA tenant_b")
    tenant = project.reached(options="-csearch_path=tenant_b")
    with pytest.raises(LedgerElsewhere, match="if they need a ledger of their own, set") as refused:
        tenant.migrate()
    tenant.reached(ledger=settings_in(refused.value)[-1]).migrate()
    project.put("002_more.sql", "CREATE TABLE more ();")
    tenant.migrate()
    assert project.has("tenant_b.more")
    assert project.rows("SELECT count(*) FROM tenant_b.schema_migrations") == [(2,)]
    assert project.recorded() == ["001"]


def test_the_tables_of_another_ledger_are_no_tables_that_a_file_made(project: Project) -> None:
    project.rows("DROP TABLE made; CREATE SCHEMA app")
    service = project.reached(ledger="app.schema_migrations")
    service.migrate()
    assert project.rows("SELECT count(*) FROM app.schema_migrations") == [(1,)]


def test_a_second_service_in_a_schema_with_tables_is_told_to_begin_with_a_baseline(project: Project) -> None:
    project.rows("CREATE SCHEMA app; CREATE TABLE app.older ()")
    service = project.reached(options="-csearch_path=app")
    with pytest.raises(
        LedgerElsewhere, match=r"where its schema has tables already, .* inv db.baseline --to 0"
    ) as refused:
        service.migrate()
    named = service.reached(ledger=settings_in(refused.value)[-1])
    with pytest.raises(Unrecorded, match=r"holds the table app\.older, but"):
        named.migrate()
    assert baseline(named, to="0").tables == ("app.older",)
    named.migrate()
    assert project.rows("SELECT count(*) FROM app.schema_migrations") == [(1,)]
