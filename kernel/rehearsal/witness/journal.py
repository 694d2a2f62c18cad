"""ACCESS EXCLUSIVE locks that nobody saw, from the server's log of changes, attributed to their statements."""

from __future__ import annotations

import bisect
from typing import TYPE_CHECKING

from kernel.rehearsal.witness import wording
from kernel.rehearsal.witness.record import STRONGEST
from kernel.rehearsal.witness.spans import Span

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from kernel.rehearsal.witness.aside import Aside
    from kernel.rehearsal.witness.record import Noted
    from kernel.rehearsal.witness.relations import Relations

# The server describes some 150 MB of its log in a second. A statement that wrote more than this has its locks looked up
# there only if it runs code, or ran outside of a transaction: all others hold theirs to their end, where they are seen.
_READ_BYTES = 16 << 20
_READ_ALL_BYTES = 1 << 30  # and of those, no more than takes some seconds


def complete(statements: Sequence[Noted], aside: Aside, relations: Relations) -> None:
    """Add what the log has beyond what was seen of statements, which are in their order.

    A lock that escaped the lookout was held for no longer than the longest time that it did not look.
    """
    seen: dict[int, list[Span]] = {}
    for span in (span for one in statements for span in one.spans if span.mode == STRONGEST):
        seen.setdefault(span.relation.oid, []).append(span)
    for group in _adjoining(one for one in statements if _worth(one)):
        for position, oid in aside.locked(group[0].position, group[-1].position + group[-1].wal_bytes):
            noted = group[bisect.bisect(group, position, key=lambda one: one.position) - 1]
            relation = relations.get(oid)
            if relation is None or oid in noted.retired or any(_overlaps(span, noted) for span in seen.get(oid, ())):
                continue
            until = min(noted.ended, noted.at + noted.gap_seconds)
            noted.spans.append(Span(relation=relation, mode=STRONGEST, at=noted.at, until=until))


def _worth(one: Noted) -> bool:
    hidden = one.outside or wording.opaque(one.batch)
    return 0 < one.wal_bytes <= (_READ_ALL_BYTES if hidden else _READ_BYTES)


def _overlaps(span: Span, noted: Noted) -> bool:
    """Whether a lock is the one that the log tells of: taken by this statement, or held since an earlier one."""
    return span.at <= noted.ended and (span.until is None or span.until > noted.at)


def _adjoining(statements: Iterable[Noted]) -> list[list[Noted]]:
    """Statements in groups whose parts of the log adjoin each other: each group is read at once."""
    groups: list[list[Noted]] = []
    for one in statements:
        if groups and groups[-1][-1].position + groups[-1][-1].wal_bytes == one.position:
            groups[-1].append(one)
        else:
            groups.append([one])
    return groups
