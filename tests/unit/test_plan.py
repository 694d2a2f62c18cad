"""Files compared with records: every state, every disagreement, and what a run or a rollback makes of them."""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.db.records import Record
from kernel.errors import Drift, UsageError
from kernel.operations.rollback import entries_to_roll_back
from kernel.plan import PartialRun, Plan, VersionState, build_plan, migrations_to_apply
from tests.unit.fileless_migration import FilelessMigration

if TYPE_CHECKING:
    from kernel.migrations.migration import Migration

APPLIED_AT = datetime(2026, 3, 2, 10)  # noqa: DTZ001 - the column has no time zone


def migration(version: str, description: str = "a", checksum: str = "") -> Migration:
    """A file; its checksum is made of its version."""
    filename = f"{version}_{description}.sql"
    return FilelessMigration(
        version=version, filename=filename, directory=Path(), checksum=checksum or f"sha of {version}"
    )


def record(version: str, description: str = "a", checksum: str = "") -> Record:
    return Record(
        version=version,
        filename=f"{version}_{description}.sql",
        applied_at=APPLIED_AT,
        checksum=checksum or f"sha of {version}",
    )


def states(of: Plan) -> list[tuple[str, VersionState]]:
    return [(entry.version, entry.state) for entry in of.entries]


def drift(of: Plan) -> list[str]:
    return [str(problem) for problem in of.drift()]


def test_a_file_with_its_record_is_applied_and_one_without_is_pending() -> None:
    found = build_plan([migration("001"), migration("008")], [record("001")])
    assert states(found) == [("001", VersionState.APPLIED), ("008", VersionState.PENDING)]
    assert (found.applied_count, [one.version for one in found.pending]) == (1, ["008"])
    assert drift(found) == []


def test_without_records_everything_is_pending_in_the_order_of_the_numbers() -> None:
    found = build_plan([migration("1000"), migration("999"), migration("001")], [])
    assert [one.version for one in found.pending] == ["001", "999", "1000"]


def test_versions_are_compared_as_numbers() -> None:
    found = build_plan([migration("016"), migration("1000")], [record("16", checksum="sha of 016"), record("999")])
    assert states(found) == [
        ("016", VersionState.MODIFIED),
        ("999", VersionState.MISSING),
        ("1000", VersionState.PENDING),
    ]


def test_a_changed_file_is_modified_and_the_remedies_are_named() -> None:
    found = build_plan([migration("007", checksum="other")], [record("007")])
    assert states(found) == [("007", VersionState.MODIFIED)]
    assert drift(found) == [
        (
            "007_a.sql: changed after it was applied on 2026-03-02; restore it, "
            "or accept it with: inv db.repair --accept 007"
        )
    ]


def test_a_renamed_file_with_the_same_content_is_named_as_such() -> None:
    found = build_plan([migration("007", "add_users")], [record("007", "add_user")])
    assert states(found) == [("007", VersionState.MODIFIED)]
    assert drift(found) == [
        (
            "007_add_users.sql: applied as 007_add_user.sql with the same content; name it so again, "
            "or accept it with: inv db.repair --accept 007"
        )
    ]


def test_a_renumbered_file_is_found_by_its_content() -> None:
    files = [migration("001"), migration("009", checksum="sha of 007"), migration("012")]
    found = build_plan(files, [record("001"), record("007"), record("012")])
    assert states(found) == [
        ("001", VersionState.APPLIED),
        ("007", VersionState.MISSING),
        ("009", VersionState.OUT_OF_ORDER),
        ("012", VersionState.APPLIED),
    ]
    assert drift(found)[0] == (
        "007_a.sql: its content stands in 009_a.sql, which has no record; number it 007 again, "
        "or accept it with: inv db.repair --accept 009"
    )


def test_a_file_renumbered_above_all_others_is_found_too() -> None:
    found = build_plan([migration("001"), migration("003", checksum="sha of 002")], [record("001"), record("002")])
    assert "its content stands in 003_a.sql" in drift(found)[0]
    with pytest.raises(Drift):
        migrations_to_apply(found)


def test_a_file_that_is_gone_is_missing() -> None:
    found = build_plan([migration("009")], [record("007"), record("009")])
    assert states(found) == [("007", VersionState.MISSING), ("009", VersionState.APPLIED)]
    assert drift(found) == [
        "007_a.sql: applied on 2026-03-02, but there is no such file; restore it from version control"
    ]
    assert found.records_ahead == ()


def test_records_newer_than_every_file_are_no_drift_but_a_database_that_is_ahead() -> None:
    found = build_plan([migration("001")], [record("001"), record("002"), record("003")])
    assert [one.version for one in found.records_ahead] == ["002", "003"]
    assert drift(found) == []
    assert migrations_to_apply(found) == ()


def test_an_unapplied_file_below_the_newest_record_is_out_of_order() -> None:
    found = build_plan([migration("001"), migration("002")], [record("002")])
    assert states(found) == [("001", VersionState.OUT_OF_ORDER), ("002", VersionState.APPLIED)]
    assert drift(found) == [
        (
            "001_a.sql: pending, but 002 is applied already; give it a later number with: inv db.renumber 001_a.sql, "
            "or apply it where it is with: inv db.migrate --allow-out-of-order"
        )
    ]
    assert [one.version for one in migrations_to_apply(found, allow_out_of_order=True)] == ["001"]


def test_a_file_that_is_under_way_is_partial_and_goes_on_even_below_newer_records() -> None:
    found = build_plan([migration("001"), migration("002")], [record("002")], partial={"001": PartialRun(finished=2)})
    assert states(found) == [("001", VersionState.PARTIAL), ("002", VersionState.APPLIED)]
    assert str(found.entries[0].partial) == "the next run begins with statement 3"
    assert [one.version for one in migrations_to_apply(found)] == ["001"]


@pytest.mark.parametrize("records", [[], ["001"]])
def test_an_unapplied_file_below_a_partial_one_is_out_of_order(records: list[str]) -> None:
    files = [migration("001"), migration("002"), migration("003"), migration("004")]
    found = build_plan(files, [record(one) for one in records], partial={"003": PartialRun(finished=1)})
    below = [one for one in ("001", "002") if one not in records]
    assert [version for version, state in states(found) if state is VersionState.OUT_OF_ORDER] == below
    assert states(found)[2:] == [("003", VersionState.PARTIAL), ("004", VersionState.PENDING)]
    assert drift(found)[-1] == (
        "002_a.sql: pending, but 003 is partly applied; put its record back if it ran before, or give it a later "
        "number with: inv db.renumber 002_a.sql, or apply it where it is with: inv db.migrate --allow-out-of-order"
    )
    with pytest.raises(Drift):
        migrations_to_apply(found)
    assert [one.version for one in migrations_to_apply(found, allow_out_of_order=True)] == [*below, "003", "004"]


def test_a_pending_file_below_a_partial_version_without_a_file_is_out_of_order() -> None:
    partial = {"5": PartialRun(finished=1), "none": PartialRun(finished=1)}
    found = build_plan([migration("004"), migration("006")], [record("003")], partial=partial)
    assert states(found)[1:] == [("004", VersionState.OUT_OF_ORDER), ("006", VersionState.PENDING)]


@pytest.mark.parametrize("version", ["20240101-a", "", "V1", "²", "-1"])
def test_a_record_without_a_number_is_a_stray(version: str) -> None:
    found = build_plan([migration("001")], [record("001"), record(version)])
    assert states(found) == [(version, VersionState.MISSING), ("001", VersionState.APPLIED)]
    assert f"version {version!r} is no number; delete the record that no file stands for" in drift(found)[0]


def test_a_version_recorded_twice_in_two_spellings_is_a_stray() -> None:
    found = build_plan([migration("016")], [record("016"), record("16", checksum="sha of 016")])
    assert [entry.state for entry in found.entries] == [VersionState.MISSING, VersionState.APPLIED]
    assert "version '16' is recorded twice" in drift(found)[0]


def test_all_drift_is_reported_at_once_and_nothing_is_applied() -> None:
    files = [migration("001", checksum="other"), migration("003"), migration("005")]
    found = build_plan(files, [record("001"), record("002"), record("004")])
    with pytest.raises(Drift) as refused:
        migrations_to_apply(found)
    assert [problem.file for problem in refused.value.problems] == ["001_a.sql", "002_a.sql", "003_a.sql", "004_a.sql"]


@pytest.mark.parametrize(("to", "applied"), [("1", []), ("002", ["002"]), ("3", ["002", "003"]), ("", ["002", "003"])])
def test_to_stops_behind_the_version_written_with_or_without_zeros(to: str, applied: list[str]) -> None:
    found = build_plan([migration("001"), migration("002"), migration("003")], [record("001")])
    assert [one.version for one in migrations_to_apply(found, to=to)] == applied


@pytest.mark.parametrize(
    ("to", "message"),
    [
        ("4", "--to 4: no migration file has this version"),
        ("abc", "'abc' is no version; write the number of the file, such as 016"),
        ("-1", "'-1' is no version"),
        ("1.5", "'1.5' is no version"),
        ("٣", "'٣' is no version"),
    ],
)
def test_to_must_be_the_version_of_a_file(to: str, message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        migrations_to_apply(build_plan([migration("003")], []), to=to)


def removed(found: Plan, *, steps: int = 1, to: str = "") -> list[str]:
    return [entry.version for entry in entries_to_roll_back(found, steps=steps, to=to)]


def test_a_rollback_takes_the_newest_version_first() -> None:
    found = build_plan([migration("001"), migration("999")], [record("1000"), record("999"), record("001")])
    assert removed(found) == ["1000"]
    assert removed(found, steps=2) == ["1000", "999"]
    assert removed(found, to="1") == ["1000", "999"]
    assert removed(found, to="1000") == []


def test_a_rollback_of_nothing_is_nothing() -> None:
    assert removed(build_plan([migration("001")], [])) == []


def test_a_rollback_beyond_the_first_record_is_refused() -> None:
    found = build_plan([migration("001")], [record("001")])
    with pytest.raises(UsageError, match=r"--steps 2: only 1 applied; see inv db\.status"):
        removed(found, steps=2)


def test_a_rollback_to_a_version_that_is_not_applied_is_refused() -> None:
    found = build_plan([migration("001"), migration("002")], [record("001")])
    with pytest.raises(UsageError, match="--to 2: this version is not applied, so it cannot stay applied"):
        removed(found, to="2")


NUMBERS = st.sets(st.integers(min_value=0, max_value=12))
CHANGED = st.sets(st.integers(min_value=0, max_value=12))


def compared(files: set[int], records: set[int], changed: set[int]) -> Plan:
    return build_plan(
        [migration(f"{number:03}", checksum="other" if number in changed else "") for number in files],
        [record(f"{number:03}") for number in records],
    )


@given(NUMBERS, NUMBERS, CHANGED)
def test_every_version_has_one_entry_and_its_place(files: set[int], records: set[int], changed: set[int]) -> None:
    found = compared(files, records, changed)
    assert [int(entry.version) for entry in found.entries] == sorted(files | records)
    assert found.applied_count == len(records)
    assert [one.number for one in found.pending] == sorted(files - records)


@given(NUMBERS, NUMBERS, CHANGED)
def test_drift_is_exactly_what_disagrees(files: set[int], records: set[int], changed: set[int]) -> None:
    found = compared(files, records, changed)
    missing = {number for number in records - files if number < max(files, default=-1)}
    out_of_order = {number for number in files - records if number < max(records, default=-1)}
    expected = missing | out_of_order | (files & records & changed)
    assert {int(entry.version) for entry in found.entries if entry.drift} == expected
    assert found.is_unrelated == bool(files and records and not files & records)
    if found.is_unrelated:
        assert len(found.drift(allow_out_of_order=True)) == 1
        return
    hidden = expected - {int(str(problem.file)[:3]) for problem in found.drift(allow_out_of_order=True)}
    assert hidden == out_of_order, "the flag allows this one thing"


@given(NUMBERS, NUMBERS)
def test_applying_what_a_plan_says_leaves_nothing_to_apply(files: set[int], records: set[int]) -> None:
    found = compared(files, records, set())
    if found.drift(allow_out_of_order=True):
        return
    todo = migrations_to_apply(found, allow_out_of_order=True)
    after = compared(files, records | {one.number for one in todo}, set())
    assert (after.pending, after.drift()) == ((), ())


@given(NUMBERS, NUMBERS, st.integers(min_value=1, max_value=12))
def test_rolling_back_step_by_step_removes_the_same_as_at_once(files: set[int], records: set[int], steps: int) -> None:
    if steps > len(records):
        return
    at_once = [int(version) for version in removed(compared(files, records, set()), steps=steps)]
    left, one_by_one = set(records), []
    for _ in range(steps):
        (version,) = removed(compared(files, left, set()))
        one_by_one.append(int(version))
        left.discard(int(version))
    assert at_once == one_by_one == sorted(records, reverse=True)[:steps]


UNRELATED = "is this the right database?"


@pytest.mark.parametrize(
    ("files", "records"),
    [
        ([migration("001", "users")], [record("001", "orders", "another"), record("002", "items", "other")]),
        ([migration("007", "users")], [record("001", "orders"), record("002", "items")]),
        ([migration("001", "users")], [record("005", "orders")]),
    ],
    ids=["other names and contents", "older records", "newer records"],
)
def test_records_of_which_none_is_one_of_the_files_are_those_of_another_database(
    files: list[Migration], records: list[Record]
) -> None:
    found = build_plan(files, records)
    (problem,) = drift(found)
    assert UNRELATED in problem
    assert f"none of the {len(records)} recorded migrations ({records[0].filename}" in problem
    assert "db.repair" not in problem
    with pytest.raises(Drift, match="is this the right database"):
        migrations_to_apply(found, allow_out_of_order=True)


@pytest.mark.parametrize(
    "files",
    [
        [migration("001", "orders", "edited")],
        [migration("001", "renamed", "sha of 001")],
        [migration("004", "moved", "sha of 001")],
    ],
    ids=["edited", "renamed", "renumbered"],
)
def test_a_file_that_was_edited_renamed_or_renumbered_is_still_of_the_same_database(files: list[Migration]) -> None:
    (problem,) = drift(build_plan(files, [record("001", "orders")]))
    assert UNRELATED not in problem
    assert "inv db.repair --accept" in problem
