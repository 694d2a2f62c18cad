"""Reverts: up, revert, up gives the schema and the data that were there before, or says what is left."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kernel.apply.executor import WaitLimits
from kernel.migrations.migration import require_migrations
from kernel.rehearsal.practices.rerun import check_rerun
from kernel.rehearsal.practices.revert import check_reverts

if TYPE_CHECKING:
    from kernel.rehearsal.practices.result import PracticeResult
    from tests.integration.conftest import Project

pytestmark = pytest.mark.slow  # each makes databases of its own; the quick suite rehearses end to end in tests/cli

KERNEL = Path(__file__).parents[4] / "migrations"
PATIENCE = WaitLimits(lock_retries=0)


def check(project: Project) -> PracticeResult:
    files = project.files()
    return check_reverts(project.url, files, files[1:], waits=project.waits)


def begin(project: Project) -> None:
    project.put("001_first.sql", "CREATE TABLE users (id integer PRIMARY KEY, age integer)")
    project.migrate()


def test_the_kernels_own_migrations_go_up_and_down_and_up_to_the_same_schema(database: str) -> None:
    files = require_migrations(KERNEL)
    found = check_reverts(database, files, files, waits=PATIENCE)
    assert found.practice.details == ()
    assert found.practice.held is True


def test_the_kernels_own_migrations_are_safe_to_re_run(database: str) -> None:
    files = require_migrations(KERNEL)
    found = check_rerun(database, files, files, waits=PATIENCE)
    assert found.practice.details == ()
    assert found.practice.held is True


def test_a_difference_left_by_a_revert_is_reported_once_with_its_file(project: Project) -> None:
    begin(project)
    project.put("002_phone.sql", "ALTER TABLE users ADD COLUMN phone text, ADD COLUMN fax text")
    project.put("revert/002_phone.sql", "ALTER TABLE users DROP COLUMN phone")
    project.put("003_index.sql", "CREATE INDEX IF NOT EXISTS by_age ON users (age)")
    project.put("revert/003_index.sql", "SELECT 1")
    found = check(project)
    assert found.practice.held is False
    left = "the revert does not give back the schema"
    assert [(fault.version, fault.filename, fault.line, fault.message) for fault in found.faults] == [
        ("003", "revert/003_index.sql", None, f"{left}: index public.by_age: added, USING btree (age)"),
        ("002", "revert/002_phone.sql", None, f"{left}: table public.users: column fax text added"),
        (
            "002",
            "002_phone.sql",
            1,
            'fails after its revert: column "fax" of relation "users" already exists (42701)',
        ),
    ]


def test_columns_in_another_order_are_not_the_same_schema(project: Project) -> None:
    begin(project)
    project.put("002_swap.sql", "ALTER TABLE users DROP COLUMN id")
    project.put("revert/002_swap.sql", "ALTER TABLE users ADD COLUMN id integer PRIMARY KEY")
    assert [fault.message for fault in check(project).faults] == [
        "the revert does not give back the schema: table public.users: columns in another order"
    ]


def test_a_second_way_up_to_another_schema_is_a_fault(project: Project) -> None:
    begin(project)
    project.put(
        "002_once.sql",
        "DO $$ BEGIN IF to_regclass('seen') IS NULL THEN ALTER TABLE users ADD phone text; END IF; END $$",
    )
    project.put("revert/002_once.sql", "ALTER TABLE users DROP COLUMN phone; CREATE VIEW seen AS SELECT 1 AS one")
    assert [fault.message for fault in check(project).faults] == [
        "the revert does not give back the schema: view public.seen: added",
        "applied again after its revert, it gives another schema: table public.users: column phone dropped",
        "applied again after its revert, it gives another schema: view public.seen: added",
    ]


def test_a_revert_that_fails_is_named_with_its_line(project: Project) -> None:
    begin(project)
    project.put("002_phone.sql", "ALTER TABLE users ADD COLUMN phone text")
    project.put("revert/002_phone.sql", "\nALTER TABLE users DROP COLUMN telephone")
    (fault,) = check(project).faults
    assert (fault.filename, fault.line) == ("revert/002_phone.sql", 2)
    assert fault.message == 'the revert fails: column "telephone" of relation "users" does not exist (42703)'


def test_a_revert_that_cannot_run_in_a_transaction_is_a_fault(project: Project) -> None:
    begin(project)
    project.put("002_index.sql", "CREATE INDEX by_age ON users (age)")
    project.put("revert/002_index.sql", "DROP INDEX CONCURRENTLY by_age")
    (fault,) = check(project).faults
    assert "without CONCURRENTLY" in fault.message


def test_files_without_a_revert_are_named_and_nothing_is_said_to_hold(project: Project) -> None:
    begin(project)
    project.put("002_phone.sql", "ALTER TABLE users ADD COLUMN phone text")
    project.put("revert/002_phone.sql", "ALTER TABLE users DROP COLUMN phone")
    project.put("003_fax.sql", "ALTER TABLE users ADD COLUMN fax text")
    found = check(project)
    assert found.practice.held is None
    assert found.practice.details == (
        "003_fax.sql: has no revert file",
        "002_phone.sql: its revert was not tried, since a newer file could not be reverted",
    )


def test_the_data_are_compared_when_all_is_reverted(project: Project) -> None:
    begin(project)
    project.put("002_phone.sql", "ALTER TABLE users ADD COLUMN phone text")
    project.put("revert/002_phone.sql", "ALTER TABLE users DROP COLUMN phone")
    files = project.files()
    compared = []

    def differ(before_url: str, after_url: str) -> tuple[str, ...]:
        compared.append((before_url, after_url, project.recorded()))
        return ("table public.users: 3 rows fewer",)

    found = check_reverts(
        project.url, files, files[1:], waits=project.waits, before_url="template", data_changed=differ
    )
    assert compared == [("template", project.url, ["001"])]
    assert found.practice.details == ("after all reverts: table public.users: 3 rows fewer",)
    assert found.practice.held is False
    assert project.recorded() == ["001", "002"]
