"""The benchmark's command, on its quickest scenario: what it prints, never how long anything took."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from kernel.postgres.programs import find_programs

_CHECKOUT = Path(__file__).resolve().parents[2]


def _bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = (sys.executable, "-m", "bench", *arguments)
    return subprocess.run(command, cwd=_CHECKOUT, capture_output=True, text=True, check=False, timeout=120)


@pytest.mark.slow
def test_json_says_for_each_target_whether_it_is_met_and_the_exit_code_sums_it_up() -> None:
    ended = _bench("start-up", "--quick", "--json")
    document: dict[str, Any] = json.loads(ended.stdout)
    assert sorted(document) == ["conditions", "findings", "samples"]
    assert document["conditions"]["rounds"] == 2
    with_target, without = document["findings"]
    assert (with_target["of"], with_target["to"], with_target["at_most"]) == ("inv db.status", "a bare task", 1.3)
    assert with_target["met"] is (with_target["median"] <= 1.3)
    assert (without["at_most"], without["met"]) == (None, None)
    assert all(len(taken["seconds"]) == 2 for taken in document["samples"]["start-up"].values())
    assert ended.returncode == (0 if with_target["met"] else 1)


@pytest.mark.slow
def test_table_shows_ratio_rounds_target_and_whether_it_is_met() -> None:
    ended = _bench("start-up", "--rounds", "1")
    assert ended.returncode in (0, 1), ended.stderr
    conditions, _, _, headers, _, first, second = ended.stdout.splitlines()
    assert conditions.startswith("PostgreSQL ")
    assert headers.split() == ["scenario", "measured", "median", "rounds", "target", "met"]
    assert "inv db.status / a bare task" in first
    assert first.endswith("≤ 1.30    " + ("no" if ended.returncode else "yes"))
    assert "inv --list / --list of one task" in second


@pytest.mark.slow
def test_a_backfill_is_measured_under_an_application_with_kills_and_against_one_update() -> None:
    if shutil.which("pgbench") is None and not (find_programs(None).bin / "pgbench").exists():
        pytest.skip("no pgbench with this PostgreSQL")
    ended = _bench("backfill", "--quick", "--rows", "20000", "--kills", "1", "--json")
    assert ended.returncode in (0, 1), ended.stderr
    document: dict[str, Any] = json.loads(ended.stdout)
    assert document["rows"] == 20000
    idle, backfill, update = document["phases"]
    assert [idle["name"], backfill["name"], update["name"]] == ["idle", "the backfill", "one UPDATE"]
    assert backfill["kills"] == 1
    assert all(phase["transactions"] > 0 and phase["p99_seconds"] > 0 for phase in (idle, backfill, update))


def test_unknown_scenario_is_answered_with_the_known_ones() -> None:
    ended = _bench("start")
    assert ended.returncode == 2
    assert "start: no such scenario; they are small-200, small-1000, start-up" in ended.stderr


def test_zero_rounds_are_refused() -> None:
    ended = _bench("--rounds", "0")
    assert ended.returncode == 2
    assert "0: expected a whole number from 1" in ended.stderr
