"""Findings of the linter and of a rehearsal, the rules that an action meets, and the two commonest checks for them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from kernel.lint.rules import Severity

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from kernel.lint.action import Action
    from kernel.lint.state import FileState

    Check = Callable[[Action, FileState], Iterator["RuleMatch"]]


__all__ = [
    "SEVERITY_ORDER",
    "Finding",
    "RuleMatch",
    "Severity",
    "match_existing",
    "match_in_use",
    "match_rule",
    "match_unless_created",
]

SEVERITY_ORDER = {severity: rank for rank, severity in enumerate(Severity)}  # the worst first


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A hazard of a migration. `rule` is the id of a rule, `remedy` is what to write instead.

    `line` and `column` (characters) count from 1; `offset` is that byte of the file. `fingerprint` is made by
    kernel.lint.fingerprint, "" before.
    """

    rule: str
    severity: Severity
    message: str
    remedy: str
    version: str = ""
    filename: str = ""
    line: int | None = None
    column: int | None = None
    offset: int | None = None
    relation: str = ""
    fingerprint: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleMatch:
    """A rule that an action meets. `message` "", `remedy` "" and `severity` None stand for those of the rule."""

    rule: str
    action: Action
    relation: str = ""
    severity: Severity | None = None
    message: str = ""
    remedy: str = ""


def match_rule(
    rule: str,
    action: Action,
    message: str = "",
    *,
    relation: str | None = None,
    severity: Severity | None = None,
    remedy: str = "",
) -> RuleMatch:
    """A match; `relation` None stands for that of the action."""
    relation = action.relation if relation is None else relation
    return RuleMatch(rule=rule, action=action, message=message, relation=relation, severity=severity, remedy=remedy)


def match_existing(rule: str, *unless: str) -> Check:
    """A check for actions on relations that existed before the file, without any of the traits in `unless`."""

    def check(action: Action, state: FileState) -> Iterator[RuleMatch]:
        if state.existed_before(action.relation) and action.traits.isdisjoint(unless):
            yield match_rule(rule, action)

    return check


def match_in_use(rule: str) -> Check:
    """A check for actions that take away what an application may use, which the pending files did not create."""

    def check(action: Action, state: FileState) -> Iterator[RuleMatch]:
        if state.existed_before(action.relation) and not state.is_pending(action.relation, action.name):
            yield match_rule(rule, action)

    return check


def match_unless_created(rule: str, *unless: str) -> Check:
    """A check for actions on whatever the file did not create, without any of the traits in `unless`."""

    def check(action: Action, state: FileState) -> Iterator[RuleMatch]:
        if action.relation not in state.created and action.traits.isdisjoint(unless):
            yield match_rule(rule, action, relation=action.relation or action.name)

    return check
