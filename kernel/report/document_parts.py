"""Parts that several documents are made of."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kernel.rehearsal.result import Shut
    from kernel.report.documents import Document

_DIGITS = 6  # a microsecond is the finest that the witnesses tell apart


def seconds(value: float) -> float:
    """A duration, without digits that mean nothing."""
    return round(value, _DIGITS)


def shut(one: Shut) -> Document:
    """For how long a relation was shut."""
    return {
        "relation": one.relation.name,
        "version": one.version,
        "reads_seconds": seconds(one.reads_seconds),
        "writes_seconds": seconds(one.writes_seconds),
    }
