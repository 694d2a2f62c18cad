"""Migrations where text and measurement disagree, judged by hand beforehand: false alarms, and harm that no text shows.

Each is rehearsed on a copy with rows. What hurts is told by exactly the rules that say so; what does not hurt, by none,
and where the text feared it, it is listed as measured harmless.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from kernel.lint.rules import EXAMPLE_SCHEMA
from tests.integration.rehearsal.findings.rehearsals import met, told

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.integration.rehearsal.findings.rehearsals import Ground

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


def needs_merge(ground: Ground, script: str) -> None:
    if "MERGE INTO" in script and ground.version < MERGE_SINCE:
        pytest.skip("needs PostgreSQL 15 for MERGE")


@pytest.mark.parametrize("case", [*cases("harmless.toml")])
def test_what_does_no_harm_is_no_finding_and_listed_where_it_was_feared(case: list[str], ground: Ground) -> None:
    feared, script, *more = case
    found = ground.rehearse(given(*more), script).findings
    assert met(found) == set(), told(found)
    assert not feared or feared in {one.rule for one in found}, told(found)


@pytest.mark.parametrize("case", [*cases("harmful.toml")])
def test_what_does_harm_is_told_by_its_rules_and_no_other(case: list[str], ground: Ground) -> None:
    rules, script = case
    needs_merge(ground, script)
    found = ground.rehearse(given(), script).findings
    assert met(found) == set(rules.split()), told(found)
    assert all(one.filename for one in found), told(found)
    assert max(len(one.message) for one in found) <= MOST_CHARACTERS, told(found)
