"""Squash files: the versions they replace, files that must not stand below them, and what records make of them."""

from __future__ import annotations

from datetime import datetime
from hashlib import sha256
from pathlib import Path

import pytest

from kernel.db.records import Record
from kernel.errors import FilesInvalid, UsageError
from kernel.migrations.migration import discover_migrations
from kernel.migrations.replaced import ReplacedVersion
from kernel.migrations.scaffold import renumber_migration
from kernel.migrations.script import parse_script
from kernel.operations.rollback import entries_to_roll_back
from kernel.plan import Plan, VersionState, build_plan, migrations_to_apply
from kernel.squash.squash import versions_replaced_by_squash
from tests.unit.fileless_migration import FilelessMigration

APPLIED_AT = datetime(2026, 3, 2, 10)  # noqa: DTZ001 - the column has no time zone
REPLACES = tuple(ReplacedVersion(f"00{number}", f"sha of 00{number}") for number in (1, 2, 3))
SQUASH = FilelessMigration(
    version="003", filename="003_all.sql", directory=Path(), checksum="squash", replaces=REPLACES
)
NEXT = FilelessMigration(version="004", filename="004_next.sql", directory=Path(), checksum="sha of 004")


def record(version: str, checksum: str = "", filename: str = "") -> Record:
    checksum = checksum or f"sha of {version}"
    return Record(version=version, filename=filename or f"{version}_a.sql", applied_at=APPLIED_AT, checksum=checksum)


def plan_of(*records: Record) -> Plan:
    return build_plan([SQUASH, NEXT], records)


RECORDED = (record("001"), record("002"), record("003", "squash", "003_all.sql"), record("004", "", "004_next.sql"))


def drift(plan: Plan) -> list[str]:
    return [str(problem) for problem in plan.drift()]


def write(folder: Path, name: str, text: str) -> str:
    """Write a file, and return its checksum."""
    (folder / name).write_text(text)
    return next(one.checksum for one in discover_migrations(folder) if one.filename == name)


def test_on_an_empty_database_a_squash_file_is_pending() -> None:
    plan = plan_of()
    assert [one.filename for one in plan.pending] == ["003_all.sql", "004_next.sql"]
    assert (plan.unrecorded_squashes, drift(plan)) == ((), [])


def test_where_all_replaced_versions_are_recorded_it_is_applied_and_waits_for_its_record() -> None:
    plan = plan_of(record("001"), record("002"), record("003"))
    assert [(entry.version, entry.state) for entry in plan.entries] == [
        ("003", VersionState.APPLIED),
        ("004", VersionState.PENDING),
    ]
    assert [entry.filename for entry in plan.unrecorded_squashes] == ["003_all.sql"]
    assert migrations_to_apply(plan) == (NEXT,)
    assert (plan.applied_count, drift(plan)) == (1, [])


def test_once_it_is_recorded_the_records_of_the_replaced_versions_are_not_missing() -> None:
    plan = plan_of(
        record("001"), record("002"), record("003", "squash", "003_all.sql"), record("004", "", "004_next.sql")
    )
    assert (plan.unrecorded_squashes, plan.pending, drift(plan)) == ((), (), [])
    assert [one.version for one in plan.replaced_records] == ["001", "002"]


def test_with_some_of_the_versions_it_is_refused_with_the_remedy() -> None:
    plan = plan_of(record("001"))
    assert drift(plan) == [
        (
            "003_all.sql: replaces 001 to 003, of which 002, 003 are not applied here; apply them first, "
            "with the files that it replaces: KERNEL_MIGRATIONS_DIR=/replaced/003_all inv db.migrate"
        )
    ]


def test_a_replaced_version_that_was_recorded_with_other_content_is_named() -> None:
    plan = plan_of(record("001"), record("002", "other"), record("003"))
    assert drift(plan) == [
        (
            "003_all.sql: replaces 001 to 003, of which 002 is recorded here with other content; "
            "compare the schema, then accept it with: inv db.repair --accept 003"
        )
    ]


def test_a_replaced_version_that_was_recorded_with_other_line_ends_is_the_same(tmp_path: Path) -> None:
    (tmp_path / "replaced/002_all").mkdir(parents=True)
    replaces = []
    for version in ("001", "002"):
        content = f"SELECT {version};\n"
        (tmp_path / f"replaced/002_all/{version}_a.sql").write_text(content)
        replaces.append(ReplacedVersion(version, sha256(content.encode()).hexdigest()))
    text = "".join(f"{one.directive}\n" for one in replaces)
    write(tmp_path, "002_all.sql", text)
    windows = [record(version, sha256(f"SELECT {version};\r\n".encode()).hexdigest()) for version in ("001", "002")]
    plan = build_plan(discover_migrations(tmp_path), windows)
    assert ([one.filename for one in plan.unrecorded_squashes], drift(plan)) == (["002_all.sql"], [])
    changed = [windows[0], record("002", "a" * 64)]
    assert (
        "of which 002 is recorded here with other content"
        in drift(build_plan(discover_migrations(tmp_path), changed))[0]
    )


def test_a_record_that_the_squash_file_does_not_replace_stays_missing() -> None:
    plan = build_plan([SQUASH], [record("000"), record("001"), record("002"), record("003")])
    assert [(entry.version, entry.state) for entry in plan.entries] == [
        ("000", VersionState.MISSING),
        ("003", VersionState.APPLIED),
    ]


def test_a_second_squash_file_is_known_to_databases_with_and_without_the_first() -> None:
    replaces = tuple(versions_replaced_by_squash([SQUASH, NEXT]))
    second = FilelessMigration(
        version="004", filename="004_all.sql", directory=Path(), checksum="squash 2", replaces=replaces
    )
    old = [record(version) for version in ("001", "002", "003")]
    for records in (
        [*old, record("004")],  # never saw the first
        [record("003", "squash"), record("004")],  # began with the first
        [*old[:2], record("003", "squash"), record("004")],  # recorded the first
    ):
        plan = build_plan([second], records)
        assert [entry.filename for entry in plan.unrecorded_squashes] == ["004_all.sql"]
        assert drift(plan) == []
    assert "003, 004 are not applied here" in drift(build_plan([second], old[:2]))[0]
    assert drift(build_plan([second], [record("003", "squash")])) != []


def test_a_rollback_ends_above_a_squash_file() -> None:
    plan = plan_of(
        record("001"), record("002"), record("003", "squash", "003_all.sql"), record("004", "", "004_next.sql")
    )
    assert [entry.version for entry in entries_to_roll_back(plan)] == ["004"]
    with pytest.raises(UsageError, match=r"003_all\.sql: stands for the files 001 to 003"):
        entries_to_roll_back(plan, steps=2)
    with pytest.raises(UsageError, match="--to 001: a squash file replaces this version"):
        entries_to_roll_back(plan, to="001")


def test_the_directives_of_a_file_are_read_and_the_file_runs(tmp_path: Path) -> None:
    checksum = write(tmp_path, "001_a.sql", "SELECT 1;\n")
    (tmp_path / "001_a.sql").unlink()
    one = ReplacedVersion("001", checksum)
    earlier = ReplacedVersion("002", checksum, earlier=True)
    write(tmp_path, "003_all.sql", f"-- Migration: 003 - All\n{one.directive}\r\n\n{earlier.directive}\nSELECT 1;\n")
    (migration,) = discover_migrations(tmp_path)
    assert migration.replaces == (one, earlier)
    assert parse_script(migration.path, migration.filename).statement_count == 1


def test_a_malformed_directive_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "003_all.sql").write_text("-- migrate: replaces=001\nSELECT 1;\n")
    with pytest.raises(FilesInvalid, match=r"003_all.sql:1: -- migrate: replaces=001: no such directive"):
        parse_script(tmp_path / "003_all.sql", "003_all.sql")


def test_no_file_stands_below_a_squash_file(tmp_path: Path) -> None:
    checksum = write(tmp_path, "001_a.sql", "SELECT 1;\n")
    directives = (ReplacedVersion(version, checksum).directive for version in ("001", "002", "003"))
    (tmp_path / "003_all.sql").write_text("\n".join([*directives, "SELECT 1;\n"]))
    # A file that a merge brought back, and two that another branch has added under numbers that are taken.
    for name in ("002_b.sql", "003_c.sql"):
        (tmp_path / name).write_text("SELECT 2;\n")
    with pytest.raises(FilesInvalid) as refused:
        discover_migrations(tmp_path)
    assert sorted(str(refused.value).splitlines()) == [
        "001_a.sql: replaced by 003_all.sql; move it to replaced/003_all/, or remove it",
        *(
            f"{name}: none of the files that 003_all.sql replaces, and numbered among them; "
            f"give it the next free number with: inv db.renumber {name}"
            for name in ("002_b.sql", "003_c.sql")
        ),
    ]


def test_a_squash_file_keeps_its_number(tmp_path: Path) -> None:
    (tmp_path / "003_all.sql").write_text(f"{ReplacedVersion('003', 'a' * 64).directive}\nSELECT 1;\n")
    with pytest.raises(UsageError, match="has the number of the last file that it replaces"):
        renumber_migration(tmp_path, "003_all.sql", environ={})
