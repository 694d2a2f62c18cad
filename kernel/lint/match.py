"""Rules that actions meet, and the two checks that most rules are made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from kernel.lint.action import Action
    from kernel.lint.finding import Severity
    from kernel.lint.state import FileState

    Check = Callable[[Action, FileState], Iterator["RuleMatch"]]


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleMatch:
    """A rule that an action meets. `message` "" and `severity` None stand for those of the rule."""

    rule: str
    action: Action
    relation: str = ""
    severity: Severity | None = None
    message: str = ""


def match_rule(
    rule: str, action: Action, message: str = "", *, relation: str | None = None, severity: Severity | None = None
) -> RuleMatch:
    """A match; `relation` None stands for that of the action."""
    relation = action.relation if relation is None else relation
    return RuleMatch(rule=rule, action=action, message=message, relation=relation, severity=severity)


def match_existing(rule: str, *unless: str) -> Check:
    """A check for actions on relations that existed before the file, without any of the traits in `unless`."""

    def check(action: Action, state: FileState) -> Iterator[RuleMatch]:
        if state.existed_before(action.relation) and action.traits.isdisjoint(unless):
            yield match_rule(rule, action)

    return check


def match_unless_created(rule: str, *unless: str) -> Check:
    """A check for actions on whatever the file did not create, without any of the traits in `unless`."""

    def check(action: Action, state: FileState) -> Iterator[RuleMatch]:
        if action.relation not in state.created and action.traits.isdisjoint(unless):
            yield match_rule(rule, action, relation=action.relation or action.name)

    return check
