"""Every rule's examples, rehearsed on rows: the bad one gives its finding and no other, the good one none."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from kernel.errors import FilesInvalid
from kernel.lint.finding import Severity
from kernel.lint.rules import ALL_RULES, EXAMPLE_SCHEMA, RULES_BY_ID
from kernel.rehearsal.request import RehearsalRequest
from kernel.rehearsal.result import Limits
from tests.integration.rehearsal.findings.rehearsals import as_lines, harmful_rules

if TYPE_CHECKING:
    from pathlib import Path

    from kernel.lint.rules import Rule
    from tests.integration.rehearsal.findings.rehearsals import Rehearsals

# Files that are refused before anything runs, the last by rehearsals only: it would start a program. The linter shows
# what these do (tests/unit/test_rules.py).
pytestmark = pytest.mark.slow  # each makes databases of its own; the quick suite rehearses end to end in tests/cli

REFUSED = {
    "concurrently-in-transaction",
    "transaction-in-file",
    "psql-meta-command",
    "range-not-repeatable",
    "egress",
}
# Two files of one number, which no example of one file after the other can be (tests/cli/test_lint.py).
NOT_AN_EXAMPLE = {"duplicate-version"}
# A lock of a moment: reported by the linter, and measured harmless where no session waits.
OF_A_MOMENT = {
    "detach-partition",
    "drop-index-not-concurrently",
    "drop-locks-parent",
    "foreign-key-locks-parent",
    "hidden-ddl",
    "lock-table",
    "policy-or-trigger-lock",
    "several-tables-locked",
}
REQUESTS = {"write-volume": RehearsalRequest(limits=Limits(wal_bytes=200_000))}
# A measured and a counted one for every run of the tests; all of them are slow.
QUICK = {"check-validated-under-lock", "data-lost"}


def shown(*, but: set[str]) -> pytest.MarkDecorator:
    """All rules with an example that a rehearsal can show."""
    return pytest.mark.parametrize(
        "rule",
        [
            pytest.param(rule, id=rule.id, marks=[] if rule.id in QUICK else pytest.mark.slow)
            for rule in ALL_RULES
            if rule.id not in but
        ],
    )


def request_of(rule: Rule, folder: Path) -> RehearsalRequest | None:
    """What a rule's examples are rehearsed with: limits of its own, or the queries of an application."""
    if not rule.queries:
        return REQUESTS.get(rule.id)
    queries = folder / "queries.sql"
    queries.write_text(rule.queries, encoding="utf-8")
    return RehearsalRequest(queries=str(queries))


@shown(but=REFUSED | NOT_AN_EXAMPLE)
def test_the_bad_example_gives_its_finding_and_no_other(rule: Rule, rehearsals: Rehearsals, tmp_path: Path) -> None:
    found = rehearsals.rehearse(EXAMPLE_SCHEMA + rule.setup, rule.bad, request_of(rule, tmp_path)).findings
    if rule.id in OF_A_MOMENT or rule.severity is Severity.HARMLESS:
        assert harmful_rules(found) == set(), as_lines(found)
        assert rule.id in {one.rule for one in found}, as_lines(found)
    else:
        assert harmful_rules(found) == {rule.id}, as_lines(found)
        assert sum(one.rule == rule.id for one in found) == 1, as_lines(found)


@shown(but=NOT_AN_EXAMPLE)
def test_the_good_example_gives_no_finding(rule: Rule, rehearsals: Rehearsals, tmp_path: Path) -> None:
    found = rehearsals.rehearse(EXAMPLE_SCHEMA + rule.setup, rule.good, request_of(rule, tmp_path)).findings
    assert harmful_rules(found) == set(), as_lines(found)
    assert rule.id not in {one.rule for one in found} or rule.severity is Severity.HARMLESS, as_lines(found)


@pytest.mark.parametrize("rule_id", sorted(REFUSED))
def test_a_refused_example_is_refused_before_anything_runs(rule_id: str, rehearsals: Rehearsals) -> None:
    rule = RULES_BY_ID[rule_id]
    with pytest.raises(FilesInvalid):
        rehearsals.rehearse(EXAMPLE_SCHEMA + rule.setup, rule.bad)
