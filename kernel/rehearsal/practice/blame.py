"""Which migration is to blame for what breaks: the only one there is, or the only one that names the object."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from kernel.rehearsal.practice.fault import Fault
from kernel.rehearsal.schema import words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kernel.rehearsal.result import Run, Statement


@dataclass(frozen=True, slots=True, kw_only=True)
class Broken:
    """What breaks: the fault without its place, and the table or other object whose change is to blame.

    `stricter` is as in Fault.
    """

    about: str
    message: str
    remedy: str
    stricter: bool = False


def placed(one: Broken, runs: Sequence[Run]) -> Fault:
    """The fault with the file to blame: the only one there is, or the only one whose commands name the object."""
    named = [(run, statement) for run in runs for statement in run.statements if _names(statement, one.about)]
    culprits = {run.filename: run for run, _ in named} or {run.filename: run for run in runs}
    fault = Fault(message=words.line(one.message), remedy=one.remedy, about=one.about, stricter=one.stricter)
    if len(culprits) != 1:
        return fault
    (run,) = culprits.values()
    lines = {statement.line for _, statement in named}
    line = lines.pop() if len(lines) == 1 else None
    return replace(fault, version=run.version, filename=run.filename, line=line)


def _names(statement: Statement, about: str) -> bool:
    return any(command.endswith(f" {about}") or f" {about}." in command for command in statement.commands)
