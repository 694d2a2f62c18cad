"""Migrations where text and measurement disagree, classified by hand: false alarms, and harm that no text shows.

Each is rehearsed on a copy with rows. Harm has the findings of exactly its rules; what is harmless has none, and where
the linter reports it, it is listed as measured harmless.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from kernel.lint.rules import EXAMPLE_SCHEMA
from tests.integration.rehearsal.findings.rehearsals import as_lines, harmful_rules

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.integration.rehearsal.findings.rehearsals import Rehearsals

pytestmark = pytest.mark.slow

CORPUS = Path(__file__).parents[3] / "corpus/rehearsed"
MOST_CHARACTERS = 200  # of a message: what a terminal shows in two lines
MERGE_SINCE = 150000
# Some of each kind for every run of the tests; all of them are slow.
QUICK = {"a_moment.hidden_in_a_loop", "rows_lost_out_of_sight.function", "further.cascade"}


def cases(name: str) -> Iterator[Any]:
    for section, members in tomllib.loads((CORPUS / name).read_text(encoding="utf-8")).items():
        for key, value in members.items():
            place = f"{section}.{key}"
            yield pytest.param(value, id=place, marks=[] if place in QUICK else pytest.mark.slow)


def given(*more: str) -> str:
    return EXAMPLE_SCHEMA + (CORPUS / "given.sql").read_text(encoding="utf-8") + "".join(more)


def needs_merge(rehearsals: Rehearsals, script: str) -> None:
    if "MERGE INTO" in script and rehearsals.version < MERGE_SINCE:
        pytest.skip("needs PostgreSQL 15 for MERGE")


@pytest.mark.parametrize("case", [*cases("harmless.toml")])
def test_a_harmless_migration_has_only_harmless_findings(case: list[str], rehearsals: Rehearsals) -> None:
    feared, script, *more = case
    found = rehearsals.rehearse(given(*more), script).findings
    assert harmful_rules(found) == set(), as_lines(found)
    assert not feared or feared in {one.rule for one in found}, as_lines(found)


@pytest.mark.parametrize("case", [*cases("harmful.toml")])
def test_a_harmful_migration_has_exactly_the_findings_of_its_rules(case: list[str], rehearsals: Rehearsals) -> None:
    rules, script = case
    needs_merge(rehearsals, script)
    found = rehearsals.rehearse(given(), script).findings
    assert harmful_rules(found) == set(rules.split()), as_lines(found)
    assert all(one.filename for one in found), as_lines(found)
    assert max(len(one.message) for one in found) <= MOST_CHARACTERS, as_lines(found)
