"""Precision and recall over migrations that were classified by hand."""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from kernel.lint.finding import Severity
from tests.unit.linting import findings

if TYPE_CHECKING:
    from collections.abc import Iterator

CORPUS = Path(__file__).parents[1] / "corpus/hazards"
LEAST = 0.95
# One group keeps the cache in one worker.
pytestmark = pytest.mark.xdist_group("lint_corpus")


def entries(name: str) -> Iterator[tuple[str, Any]]:
    for section, members in tomllib.loads((CORPUS / name).read_text(encoding="utf-8")).items():
        for key, value in members.items():
            yield f"{section}.{key}", value


@cache
def lint_corpus(folder: Path) -> tuple[dict[str, tuple[str, set[str]]], dict[str, set[str]]]:
    """By name: for each bad migration the expected rule and those found; for each good one those found."""

    def found(name: str, script: str) -> set[str]:
        place = folder / name
        place.mkdir()
        return {one.rule for one in findings(place, script) if one.severity is not Severity.HARMLESS}

    bad = {name: (rule, found(f"bad.{name}", script)) for name, (rule, script) in entries("bad.toml")}
    good = {name: found(f"good.{name}", script) for name, script in entries("good.toml")}
    return bad, good


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("corpus")


def test_the_corpus_is_large_enough_to_mean_something() -> None:
    assert len(list(entries("bad.toml"))) >= 100
    assert len(list(entries("good.toml"))) >= 100


def test_of_all_that_is_flagged_nineteen_in_twenty_are_bad(folder: Path) -> None:
    bad, good = lint_corpus(folder)
    true = sum(bool(found) for _, found in bad.values())
    false = {name: found for name, found in good.items() if found}
    assert true / (true + len(false)) >= LEAST, false


def test_of_all_that_is_bad_nineteen_in_twenty_are_flagged_by_the_rule_they_break(folder: Path) -> None:
    bad, _ = lint_corpus(folder)
    missed = {name: (rule, found) for name, (rule, found) in bad.items() if rule not in found}
    assert 1 - len(missed) / len(bad) >= LEAST, missed
