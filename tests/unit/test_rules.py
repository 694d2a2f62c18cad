"""The rules as data: complete, well-formed, documented, and met by their own examples and nothing else."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kernel.lint.rules import ALL_RULES, EXAMPLE_SCHEMA, RULES_BY_ID
from tests.unit.linting import findings

if TYPE_CHECKING:
    from kernel.lint.rules import Rule

DOCUMENT = Path(__file__).parents[2] / "docs/rules.md"
PRACTICES = 5  # of the specification, "Best Practices"

every_rule = pytest.mark.parametrize("rule", ALL_RULES, ids=lambda rule: rule.id)
# Two files with one number cannot be an example of one file after the other; tests/cli/test_lint.py has them.
static_rules = pytest.mark.parametrize(
    "rule",
    [rule for rule in ALL_RULES if rule.found_in_text and rule.id != "duplicate-version"],
    ids=lambda rule: rule.id,
)


def test_every_best_practice_has_a_rule() -> None:
    assert {rule.practice_number for rule in ALL_RULES} == set(range(PRACTICES + 1))


def test_rules_are_below_the_linter() -> None:
    for path in (DOCUMENT.parents[1] / "kernel/lint/rules").glob("*.py"):
        assert not re.search(r"kernel\.lint\.(?!rules)", path.read_text(encoding="utf-8")), path


def test_no_two_rules_share_an_id() -> None:
    assert len(RULES_BY_ID) == len(ALL_RULES)


@every_rule
def test_a_rule_is_complete_and_reads_as_a_part_of_a_sentence(rule: Rule) -> None:
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", rule.id)
    for text in (rule.name, rule.condition, rule.effect, rule.workaround):
        assert text.strip() == text != ""
        assert not text.endswith(".")
    assert all(text.endswith(";\n") for text in (rule.bad, rule.good))


def hazards_found(rule: Rule, script: str, folder: Path) -> set[str]:
    """Without the remark that a file cannot run a second time, which most of the shortest examples cannot."""
    found = {one.rule for one in findings(folder, script, before=EXAMPLE_SCHEMA + rule.setup)}
    return found if rule.id == "not-rerunnable" else found - {"not-rerunnable"}


@static_rules
def test_the_bad_example_gives_that_finding_and_no_other(rule: Rule, tmp_path: Path) -> None:
    assert hazards_found(rule, rule.bad, tmp_path) == {rule.id}


@every_rule
def test_the_good_example_gives_no_finding(rule: Rule, tmp_path: Path) -> None:
    assert hazards_found(rule, rule.good, tmp_path) == set()


def test_the_document_holds_the_rules_as_they_are() -> None:
    document = DOCUMENT.read_text(encoding="utf-8")
    module = runpy.run_path(str(DOCUMENT.parents[1] / ".ci/rules_doc.py"))
    assert document == module["replace_rules_section"](document), "python .ci/rules_doc.py docs/rules.md"
