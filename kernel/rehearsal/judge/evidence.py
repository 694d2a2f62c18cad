"""What the judge has before it, and the limits it judges by."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from kernel.rehearsal.result import Severity

if TYPE_CHECKING:
    from kernel.rehearsal.data.sanity import Sanity
    from kernel.rehearsal.practice.fault import Fault
    from kernel.rehearsal.result import Finding, Receipt, Run, Shut, Standstill

_GIGABYTE = 1 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """From where on it matters: reads or writes shut out for `block_seconds`, `wal_bytes` written by one migration.

    The rehearsal fails on findings of `fail_on` and worse; None lets everything pass.
    """

    block_seconds: float = 1.0
    wal_bytes: int = _GIGABYTE
    fail_on: Severity | None = Severity.ERROR


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """All that was seen. `text` are the linter's findings for the rehearsed files, `accepted` those the files accept.

    `faults` are by practice. `rows` is how many the copy holds, as the planner estimates.
    """

    runs: tuple[Run, ...]
    shut: tuple[Shut, ...] = ()
    receipts: tuple[Receipt, ...] = ()
    sanity: Sanity | None = None
    traffic: tuple[Standstill, ...] = ()
    text: tuple[Finding, ...] = ()
    accepted: tuple[Finding, ...] = ()
    rerun: tuple[Fault, ...] = ()
    revert: tuple[Fault, ...] = ()
    compatible: tuple[Fault, ...] = ()
    rows: int = 0
    limits: Limits = field(default_factory=Limits)
