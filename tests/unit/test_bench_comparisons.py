from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bench import files, report
from bench.compare import compare_samples
from bench.model import Comparison, ComparisonResult, Quantity, Sample, Scenario

if TYPE_CHECKING:
    from pathlib import Path


def _scenario(*comparisons: Comparison) -> Scenario:
    return Scenario(name="a piece of work", programs=(), comparisons=comparisons, proof="SELECT true")


def _samples(*seconds: float) -> list[Sample]:
    return [Sample(seconds=one, process_bytes=int(one * 1e6), backend_bytes=None) for one in seconds]


def test_ratio_is_of_the_medians_and_its_range_of_the_rounds() -> None:
    compared = _scenario(Comparison(program="ours", reference="psql", at_most=2.0))
    (found,) = compare_samples(compared, {"ours": _samples(2, 4, 30), "psql": _samples(1, 4, 5)})
    assert (found.value, found.lowest, found.highest) == (1.0, 1.0, 6.0)


def test_bytes_are_compared_by_their_difference() -> None:
    compared = _scenario(Comparison(program="ours", reference="psql", quantity=Quantity.PROCESS_BYTES))
    (found,) = compare_samples(compared, {"ours": _samples(60), "psql": _samples(40)})
    assert found.value == 20e6


def test_bytes_without_another_stand_for_themselves() -> None:
    compared = _scenario(Comparison(program="ours", reference=None, quantity=Quantity.PROCESS_BYTES))
    (found,) = compare_samples(compared, {"ours": _samples(60, 61)})
    assert (found.value, found.lowest, found.highest) == (60.5e6, 60e6, 61e6)


def test_seconds_without_another_stand_for_themselves() -> None:
    compared = _scenario(Comparison(program="seconds of ours", reference=None, at_most=5))
    (found,) = compare_samples(compared, {"seconds of ours": _samples(2, 6, 3)})
    assert (found.value, found.highest, found.met) == (3, 6, True)


def test_what_could_not_be_measured_is_left_out() -> None:
    compared = _scenario(Comparison(program="ours", reference="psql", quantity=Quantity.BACKEND_BYTES, at_most=1))
    assert not list(compare_samples(compared, {"ours": _samples(1), "psql": _samples(1)}))


@pytest.mark.parametrize(("value", "at_most", "met"), [(1.4, 1.4, True), (1.41, 1.4, False), (9.0, None, None)])
def test_target_is_met_up_to_and_with_its_value(value: float, at_most: float | None, met: bool | None) -> None:
    comparison = Comparison(program="ours", reference="psql", at_most=at_most)
    found = ComparisonResult(
        scenario="a piece of work", comparison=comparison, value=value, lowest=value, highest=value
    )
    assert found.met is met


def test_rows_a_second_are_those_of_the_seconds_that_the_other_did_not_take() -> None:
    compared = _scenario(Comparison(program="check", reference="start", rows=6_000_000, at_least=2e6))
    (found,) = compare_samples(compared, {"check": _samples(4, 5, 2), "start": _samples(1, 2, 1)})
    assert (found.value, found.lowest, found.highest) == (2e6, 2e6, 6e6)
    assert found.met is True
    assert " ".join(report.table([found]).splitlines()[-1].split()) == (
        "a piece of work rows a second of check, its start taken off 2.0 million 2.0 million … 6.0 million"
        " ≥ 2.0 million yes"
    )


def test_fewer_rows_a_second_than_asked_for_miss_the_target() -> None:
    compared = _scenario(Comparison(program="check", reference="start", rows=6_000_000, at_least=2.1e6))
    (found,) = compare_samples(compared, {"check": _samples(4), "start": _samples(1)})
    assert found.met is False


def test_table_leaves_the_target_of_an_orientation_empty() -> None:
    compared = _scenario(
        Comparison(program="ours", reference="psql"),
        Comparison(program="ours", reference=None, quantity=Quantity.PROCESS_BYTES, at_most=70e6),
    )
    shown = report.table(list(compare_samples(compared, {"ours": _samples(60, 62), "psql": _samples(40, 31)})))
    _, _, ratio, memory = shown.splitlines()
    assert " ".join(ratio.split()) == "a piece of work ours / psql 1.72 1.50 … 2.00"
    assert " ".join(memory.split()) == "memory of ours 61 MB 60 MB … 62 MB ≤ 70 MB yes"


def test_psql_and_the_runners_get_the_same_statements(tmp_path: Path) -> None:
    made = files.small(tmp_path / "files", 3)
    migrations = sorted(made.migrations.iterdir())
    assert [path.name for path in migrations] == [f"00{number}_create_accounts_{number}.sql" for number in (1, 2, 3)]
    everything = (made.root / "all.sql").read_text()
    for path in migrations:
        assert f"BEGIN;\n{path.read_text()}{files.record(path)}COMMIT;\n" in everything
        assert (made.root / "psql" / path.name).read_text() in everything


def test_large_files_hold_the_rows_that_were_asked_for(tmp_path: Path) -> None:
    inserts = files.inserts(tmp_path / "inserts", 10_001).large.read_text().splitlines()
    assert sum(line.startswith("INSERT INTO entry (") for line in inserts) == 10_001
    rows = files.copy(tmp_path / "copy", 10_001).large.read_text().splitlines()
    assert rows[1].startswith("COPY entry")
    assert rows[-1] == r"\."
    assert len({row.split("\t")[0] for row in rows[2:-1]}) == 10_001
