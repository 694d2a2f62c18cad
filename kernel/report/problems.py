"""A problem as lines of text: its place and sentence, and below a file that was changed, what was changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel.plan import Traced

if TYPE_CHECKING:
    from kernel.errors import Problem


def lines(problem: Problem) -> list[str]:
    """The lines; those of a diff are indented."""
    found = str(problem).splitlines()
    if isinstance(problem, Traced) and problem.diff:
        found += [f"  {line}".rstrip() for line in problem.diff.split("\n")]
    return found
