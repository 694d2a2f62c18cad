"""The baseline of known findings: what is known does not fail, what is new does, and a file that is none is refused."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from kernel.errors import UsageError
from kernel.lint.baseline import baseline_path, obsolete_entries, read_baseline, without_known, write_baseline
from tests.unit.linting import linted

if TYPE_CHECKING:
    from pathlib import Path

HAZARD = "DROP TABLE IF EXISTS orders;\n"


@pytest.fixture
def migrations(tmp_path: Path) -> Path:
    folder = tmp_path / "migrations"
    folder.mkdir()
    return folder


def test_known_findings_do_not_fail_and_new_ones_do(migrations: Path) -> None:
    path = baseline_path(migrations)
    write_baseline(path, linted(migrations, HAZARD))
    moved = linted(migrations, "SELECT 1;\n" * 30 + HAZARD, before="SELECT 1;\n")
    assert moved.failed
    judged = without_known(moved, read_baseline(path))
    assert (judged.failed, judged.findings, len(judged.known_findings)) == (False, (), len(moved.findings))
    second = without_known(linted(migrations, HAZARD + HAZARD), read_baseline(path))
    assert [one.finding.line for one in second.findings if one.finding.rule == "drop-table"] == [2]


def test_entries_without_a_finding_are_obsolete(migrations: Path) -> None:
    path = baseline_path(migrations)
    write_baseline(path, linted(migrations, HAZARD))
    known = read_baseline(path)
    assert obsolete_entries(known, linted(migrations, HAZARD)) == ()
    assert obsolete_entries(known, linted(migrations, f"-- migrate: allow=drop-table x\n{HAZARD}")) == known
    assert obsolete_entries(known, linted(migrations, "SELECT 1;\n")) == known


def test_the_baseline_is_the_same_in_every_run_and_without_a_file_there_is_none(migrations: Path) -> None:
    path = baseline_path(migrations)
    assert read_baseline(path) == ()
    script = "DROP TABLE IF EXISTS b;\n-- next file\nDROP TABLE IF EXISTS a, c;\nTRUNCATE d;\n"
    write_baseline(path, linted(migrations, script))
    first = path.read_bytes()
    write_baseline(path, linted(migrations, script))
    assert path.read_bytes() == first
    assert list(read_baseline(path)) == sorted(read_baseline(path))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", ":1:1: no baseline: Expecting value"),
        (b'{"version": 1,\n<<<<<<< HEAD\n', ":2:1: no baseline"),
        (b"[]", "no baseline: expected an object"),
        (b'{"version": 2, "findings": []}', "no baseline: version: expected 1"),
        (b'{"version": 1, "findings": {}}', "no baseline: findings: expected an array"),
        (b'{"version": 1, "findings": [3]}', r"no baseline: findings\[0\]: expected an object"),
        (
            b'{"version": 1, "findings": [{"file": "a", "rule": 1}]}',
            r"no baseline: findings\[0\].rule: expected a text",
        ),
        (b'"\xff"', "no baseline: not UTF-8 at byte 2"),
        (b"[" * 100_000, "no baseline: "),
        (b"9" * 10_000, "no baseline: "),
    ],
)
def test_a_file_that_is_no_baseline_is_refused_with_its_place(migrations: Path, content: bytes, message: str) -> None:
    path = baseline_path(migrations)
    path.write_bytes(content)
    with pytest.raises(UsageError, match=message) as raised:
        read_baseline(path)
    assert str(path) in str(raised.value)
    assert str(raised.value).endswith("write it again with: inv db.lint --write-baseline")


def test_a_pipe_in_place_of_a_baseline_is_refused_at_once(migrations: Path) -> None:
    os.mkfifo(baseline_path(migrations))
    with pytest.raises(UsageError, match="cannot be read: it is no ordinary file"):
        read_baseline(baseline_path(migrations))
