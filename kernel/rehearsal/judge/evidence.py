"""What the judge has before it, and the limits it judges by."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from kernel.rehearsal.result import Severity

if TYPE_CHECKING:
    from kernel.rehearsal.data.sanity import Sanity
    from kernel.rehearsal.practice.fault import Fault
    from kernel.rehearsal.result import Finding, Receipt, Run, Shut, Standstill
    from kernel.rehearsal.static.accept import Accepted

_GIGABYTE = 1 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What is borne: reads or writes shut out for `block_seconds`, `wal_bytes` written by one migration.

    The rehearsal fails on findings of `fail_on` and worse; None lets everything pass.
    """

    block_seconds: float = 1.0
    wal_bytes: int = _GIGABYTE
    fail_on: Severity | None = Severity.ERROR


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """All that was seen. `text` are the linter's findings for the rehearsed files, `accepted` those the files accept.

    `allows` are all rules that the files accept, `declared` pairs of a file's name and a table, without schema, that it
    says what becomes of. `faults` are by practice; `compared` tells that the schemas were. `rows` is how many the copy
    holds, as the planner estimates.
    """

    runs: tuple[Run, ...]
    shut: tuple[Shut, ...] = ()
    receipts: tuple[Receipt, ...] = ()
    sanity: Sanity | None = None
    traffic: tuple[Standstill, ...] = ()
    queries: tuple[Finding, ...] = ()
    text: tuple[Finding, ...] = ()
    accepted: tuple[Finding, ...] = ()
    allows: tuple[Accepted, ...] = ()
    declared: tuple[tuple[str, str], ...] = ()
    rerun: tuple[Fault, ...] = ()
    revert: tuple[Fault, ...] = ()
    compatible: tuple[Fault, ...] = ()
    compared: bool = False
    rows: int = 0
    limits: Limits = field(default_factory=Limits)

    def run(self, version: str) -> Run | None:
        """The run of a version, None where it was not begun."""
        return next((one for one in self.runs if one.version == version), None)
