"""The tasks of a fleet: schemas and databases, what they are at, and what is wrong with some of them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from psycopg.conninfo import make_conninfo

if TYPE_CHECKING:
    from tests.cli.conftest import Project

pytestmark = pytest.mark.slow

INVENTORY = """
[[targets]]
url = "$DATABASE_URL"
schemas = "tenant_*"
"""
LOST = """
[[targets]]
name = "lost"
url = "postgresql://127.0.0.1:1/x"
"""


@pytest.fixture
def fleet(three: Project) -> Project:
    """A project with three files and three schemas, of which the second has the first file applied."""
    for number in (1, 2, 3):
        three.rows(f"CREATE SCHEMA tenant_{number}")
    (three.root / "fleet.toml").write_text(INVENTORY)
    ended = three.inv(
        *("db.migrate", "--to", "001"),
        KERNEL_MIGRATIONS_TABLE="tenant_2.schema_migrations",
        PGOPTIONS="-c search_path=tenant_2",
    )
    assert ended.code == 0, ended.err
    return three


def test_status_shows_versions_floor_and_what_cannot_be_read(fleet: Project) -> None:
    before = fleet.state()
    (fleet.root / "fleet.toml").write_text(INVENTORY + LOST)
    ended = fleet.inv("fleet.status")
    assert ended.code == 7
    first, _, header, one, none, _, floor, unreachable, lost = ended.out.splitlines()
    assert first == "fleet.toml: 4 targets, 3 files up to 003"
    assert header.split() == ["version", "targets"]
    assert one.split() == ["001", "1", "tenant_2"]
    assert none.split() == ["none", "2", "tenant_1,", "tenant_3"]
    assert floor.startswith("floor: none, no file is applied in tenant_1, tenant_3, as far as 3 targets")
    assert unreachable == "unreachable: 1 target"
    assert lost.startswith("  lost: connection failed")
    assert fleet.state() == before


def test_status_check_tells_pending_from_drift_and_json_has_every_target(fleet: Project) -> None:
    assert fleet.inv("fleet.status", "--check", "--only", "tenant_1").code == 3
    fleet.rows("UPDATE tenant_2.schema_migrations SET checksum = 'x'")
    ended = fleet.inv("fleet.status", "--check", "--json")
    assert ended.code == 4
    document = ended.document
    assert (document["total"], document["floor"]) == (3, None)
    assert document["versions"] == [{"version": "001", "targets": 1}, {"version": None, "targets": 2}]
    states = {one["name"]: (one["state"], one["applied"], one["pending"]) for one in document["targets"]}
    assert states == {"tenant_1": ("pending", 0, 3), "tenant_2": ("drift", 1, 2), "tenant_3": ("pending", 0, 3)}
    assert document["targets"][1]["error"]["message"].startswith("001_one.sql: changed after it was applied")


def test_verify_schema_compares_targets_with_the_same_records_and_names_the_odd_one(fleet: Project) -> None:
    assert fleet.call("fleet.migrate").code == 0
    same = fleet.inv("fleet.verify", "--schema")
    assert (same.code, same.out.splitlines()[-1]) == (0, "  3 catalogs compared, all are equal")
    fleet.rows("CREATE TABLE tenant_3.made_by_hand (id int)")
    ended = fleet.call("fleet.verify", "--schema")
    assert ended.code == 4
    assert ended.out.splitlines()[-4:] == [
        "3 targets with the same 3 records: tenant_1, tenant_2, tenant_3",
        "  2 targets with the same catalog: tenant_1, tenant_2",
        "  1 target with another catalog: tenant_3",
        "    table made_by_hand: added",
    ]
    (group,) = fleet.call("fleet.verify", "--schema", "--json").document["groups"]
    assert [one["targets"] for one in group["catalogs"]] == [["tenant_1", "tenant_2"], ["tenant_3"]]
    assert "tenant_3: table made_by_hand: added" in fleet.call("fleet.verify", "--schema", "--format", "markdown").out
    (group,) = fleet.call("fleet.verify", "--json").document["groups"]
    assert group["catalogs"] is None


def test_migrate_brings_every_target_to_the_last_version_and_json_says_from_where(fleet: Project) -> None:
    ended = fleet.inv("fleet.migrate", "--json")
    assert ended.code == 0, ended.err
    targets = {one["name"]: (one["state"], one["from"], one["to"]) for one in ended.document["targets"]}
    assert targets == {
        "tenant_1": ("applied", None, "003"),
        "tenant_2": ("applied", "001", "003"),
        "tenant_3": ("applied", None, "003"),
    }
    (wave,) = ended.document["waves"]
    assert (wave["targets"], wave["failed"], wave["stopped"]) == (3, 0, None)
    journal = fleet.root / ".kernel" / "fleet" / f"{ended.document['run']}.jsonl"
    assert journal.read_text().count('"ended"') == 3


WAVES = """
[[waves]]
name = "canary"
match = { name = "tenant_1" }
[[waves]]
name = "rest"
max_failures = 1
"""


def test_flags_choose_waves_and_targets_and_markdown_is_a_comment(fleet: Project) -> None:
    (fleet.root / "fleet.toml").write_text(INVENTORY + WAVES)
    before = fleet.state()
    planned = fleet.call("fleet.migrate", "--dry-run", "--json").document
    assert [(one["name"], one["state"], len(one["applied"])) for one in planned["targets"]] == [
        ("tenant_1", "pending", 3),
        ("tenant_2", "pending", 2),
        ("tenant_3", "pending", 3),
    ]
    assert fleet.state() == before
    fleet.rows("CREATE VIEW tenant_3.two AS SELECT 1")

    def states(*flags: str) -> dict[str, str]:
        return {one["name"]: one["state"] for one in fleet.call("fleet.migrate", *flags, "--json").document["targets"]}

    unknown = fleet.call("fleet.migrate", "--to", "009")
    assert (unknown.code, unknown.out) == (2, "")
    assert unknown.err == "error: --to 009: no migration file has this version\n"
    assert states("--until", "canary", "--to", "001") == {"tenant_1": "applied"}
    ended = fleet.call("fleet.migrate", "--format", "markdown")
    assert ended.code == 6
    assert ended.out.startswith("### fleet.migrate: failed\n")
    assert "| wave | targets | applied | failed |\n" in ended.out
    assert re.search(r"^\| .*rest.* \| 2 \| 1 \| 1 \|$", ended.out, re.MULTILINE)
    assert re.search(r"tenant_3: relation .*two.* already exists", ended.out)
    assert states("--failed") == {"tenant_3": "failed"}
    fleet.rows("DROP VIEW tenant_3.two")
    assert states("--wave", "rest") == {"tenant_2": "current", "tenant_3": "applied"}
    assert states("--only", "tenant_1,tenant_3", "--part", "2/2") == {"tenant_3": "current"}
    assert "such wave; fleet.toml has canary, rest" in fleet.call("fleet.migrate", "--wave", "none").err
    status = fleet.call("fleet.status", "--format", "markdown")
    assert "floor: 003, which every target has" in status.out


def test_sigterm_ends_the_running_targets_as_it_ends_db_migrate(fleet: Project) -> None:
    fleet.write("004_long.sql", "CREATE TABLE long (id int);\nSELECT pg_sleep(60);\n")
    running = fleet.start("fleet.migrate")
    fleet.until_asleep()
    running.terminate()
    ended = fleet.ended(running)
    assert (ended.code, fleet.locked()) == (143, False)
    assert "terminated; what had not committed is rolled back" in ended.err
    assert fleet.value("SELECT count(*) FROM pg_class WHERE relname = 'long'") == 0
    (journal,) = (fleet.root / ".kernel" / "fleet").glob("*.jsonl")
    assert journal.read_text().count('"state": "interrupted"') == 3
    (fleet.migrations / "004_long.sql").write_text("CREATE TABLE long (id int);\n")
    assert fleet.inv("fleet.migrate").code == 0


def test_what_is_missing_outside_of_the_targets_ends_a_rollout_before_it_begins(fleet: Project, role: str) -> None:
    before = fleet.state()
    lost = fleet.inv("fleet.migrate", "--cluster", "tcp://127.0.0.1:1")
    assert lost.code == 7
    assert "tcp://127.0.0.1:1: no scheduler answers (OSError); check its address" in lost.err
    (fleet.root / "fleet.toml").write_text('control = "postgresql://127.0.0.1:1/control"\n' + INVENTORY)
    lost = fleet.call("fleet.migrate")
    assert lost.code == 7
    assert "connection failed" in lost.err
    (fleet.root / "fleet.toml").write_text(INVENTORY)
    fleet.rows(f"ALTER ROLE {role} CONNECTION LIMIT 2")
    few = fleet.call("fleet.migrate", "--per-server", "3", DATABASE_URL=make_conninfo(fleet.url, user=role))
    assert few.code == 2
    assert "has 2 connections left, and wave all asks for 3; run with --per-server 1" in few.err
    assert fleet.state() == before


# The files need what stands outside of a tenant: a shared table, and a type of an extension in a schema of its own.
SHARED = """
CREATE TABLE public.plans (id int PRIMARY KEY);
INSERT INTO public.plans VALUES (1);
CREATE SCHEMA types;
CREATE EXTENSION citext SCHEMA types;
CREATE TABLE public.of_others (id int);
"""
TENANT = "CREATE TABLE account (id int PRIMARY KEY, plan int REFERENCES plans, mail types.citext);\n"
TIGHTER = "ALTER TABLE account ADD CONSTRAINT plan_given CHECK (plan IS NOT NULL);\n"


def test_snapshot_test_rehearses_the_largest_target_of_each_kind_on_a_copy_of_its_schema(project: Project) -> None:
    project.rows(SHARED)
    project.write("001_account.sql", TENANT)
    for number in (1, 2, 3, 4):
        project.rows(f"CREATE SCHEMA tenant_{number}")
    (project.root / "fleet.toml").write_text(f'{INVENTORY}search_path = ["public"]\n')
    assert project.call("fleet.migrate").code == 0
    project.rows("INSERT INTO tenant_2.account SELECT i, 1, 'a' FROM generate_series(1, 5000) i")
    project.rows("ALTER TABLE tenant_4.account ADD COLUMN extra int; INSERT INTO tenant_4.account VALUES (1)")
    project.write("002_tighter.sql", TIGHTER)
    before = project.state()

    shown = project.call("fleet.snapshot-test", "--dry-run")
    assert shown.code == 0
    assert [line.split()[1:3] for line in shown.out.splitlines()[3:5]] == [["3", "1"], ["1", "1"]]
    ended = project.inv("fleet.snapshot-test", "--report", "pages", "--json")
    assert ended.code == 8, ended.err
    same, odd = ended.document["kinds"]
    assert (same["targets"], same["largest"]) == (["tenant_1", "tenant_2", "tenant_3"], "tenant_2")
    assert (odd["targets"], odd["largest"]) == (["tenant_4"], "tenant_4")
    assert [one["rehearsal"]["verdict"] for one in (same, odd)] == ["pass", "fail"]
    tables = [{table["table"] for table in one["rehearsal"]["tables"]} for one in (same, odd)]
    assert "tenant_2.account" in tables[0]
    assert not any(table.startswith(("tenant_1.", "tenant_3.", "tenant_4.")) for table in tables[0])
    assert "some row" in str(odd["rehearsal"]["findings"])
    assert sorted(one["report"] for one in (same, odd)) == sorted(
        str(page.relative_to(project.root)) for page in (project.root / "pages").iterdir()
    )
    assert project.state() == before


def test_snapshot_test_names_a_target_that_cannot_be_read_and_rehearses_the_others(fleet: Project) -> None:
    (fleet.root / "fleet.toml").write_text(INVENTORY + LOST)
    ended = fleet.call("fleet.snapshot-test", "--schema-only", "--only", "tenant_1,lost", "--format", "markdown")
    assert ended.code == 7
    assert "**FAIL** 0 of 1 rehearsal failed" in ended.out
    assert "lost: connection failed" in ended.out
    fleet.write("page.html", "")
    assert "name a folder" in fleet.call("fleet.snapshot-test", "--report", "migrations/page.html").err


def test_phases_and_repeatable_files_are_those_of_db_migrate(fleet: Project) -> None:
    fleet.write("003_three.sql", "-- migrate: phase=after\nCREATE TABLE three (id int);\n")
    fleet.write("repeatable/both.sql", "CREATE OR REPLACE VIEW both_tables AS SELECT one.id FROM one, two;\n")
    first = fleet.inv("fleet.migrate", "--phase", "before")
    assert first.code == 0, first.err
    for number in (1, 2, 3):
        assert fleet.rows(f"SELECT name FROM tenant_{number}.schema_migrations_repeatable") == [("both",)]
        assert fleet.value(f"SELECT to_regclass('tenant_{number}.both_tables') IS NOT NULL")
        assert fleet.value(f"SELECT count(*) FROM tenant_{number}.schema_migrations") == 2
    assert fleet.call("fleet.migrate", "--phase", "after").code == 0
    assert fleet.call("fleet.status", "--check").code == 0

    fleet.write("repeatable/both.sql", "CREATE OR REPLACE VIEW both_tables AS SELECT 1 AS one, two.id FROM two;\n")
    assert fleet.call("fleet.status", "--check").code == 3
    assert fleet.call("fleet.migrate").code == 0
    assert fleet.call("fleet.status", "--check").code == 0
    assert fleet.value("SELECT count(*) FROM pg_attribute WHERE attrelid = 'tenant_3.both_tables'::regclass") == 2
