"""One table's rows for several connections: where a single table is most of the dump, one could not keep the rest busy.

Such a table forgoes TRUNCATE and FREEZE, which only one transaction can have; reading the text of its rows, which is
most of the work, is worth more once there are processors for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kernel.rehearsal.dump.index import Rows
    from kernel.rehearsal.dump.text import Text

LEAST_BYTES = 64 << 20  # below that, a COPY is over in less than half a second
_LOOK_BYTES = 1 << 16
# A table with more than its share of the rows, by this much, is what everybody else would wait for.
_SHARE = 1.2


def dominant(blocks: Sequence[Rows], total_bytes: int, hands: int) -> bool:
    """Whether these blocks, of one table, are so much of `total_bytes` that `hands` should share them."""
    own = sum(block.length for block in blocks)
    return (
        hands > 1
        and len(blocks) == 1
        and blocks[0].statement_length > 0
        and own >= LEAST_BYTES
        and own * hands > total_bytes * _SHARE
    )


def pieces(text: Text, block: Rows, hands: int) -> tuple[Rows, ...]:
    """The block in `hands` parts of about one size, cut where rows end."""
    cuts = [block.offset]
    end = block.offset + block.length
    for number in range(1, hands):
        cut = _row_end(text, block.offset + block.length * number // hands, end)
        if cuts[-1] < cut < end:
            cuts.append(cut)
    ends = [*cuts[1:], end]
    return tuple(block._replace(offset=cut, length=stop - cut) for cut, stop in zip(cuts, ends, strict=True))


def _row_end(text: Text, offset: int, end: int) -> int:
    """Where the first row that begins behind `offset` begins; `end` when none does."""
    while offset < end:
        look = text.read(offset, min(_LOOK_BYTES, end - offset))
        at = look.find(b"\n", 1)
        while at >= 0:
            # A line end behind a backslash belongs to the row (PostgreSQL documentation, "COPY", Text Format). Several
            # backslashes are looked at no closer: the next row will do.
            if look[at - 1] != ord("\\"):
                return offset + at + 1
            at = look.find(b"\n", at + 1)
        offset += max(1, len(look) - 1)
    return end
