"""The text of db.preflight."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel.report.safe_text import show_hidden_characters
from kernel.units import format_quantity

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kernel.lint.expected_locks import ExpectedLock
    from kernel.migrations.migration import Migration
    from kernel.operations.preflight import Obstacle


def preflight_text(
    database: str, pending: Sequence[Migration], locks: Sequence[ExpectedLock], obstacles: Sequence[Obstacle]
) -> str:
    """What is in the way, first what blocks, each with what ends it; then one line that sums up."""
    if not pending:
        return f"nothing to apply to {database}"
    lines = [line for one in obstacles for line in _obstacle_lines(one)]
    blocking = sum(one.blocks for one in obstacles)
    files = f"{format_quantity(len(pending), 'pending file')}, locks on {format_quantity(len(locks), 'relation')}"
    result = format_quantity(blocking, "obstacle") if blocking else "nothing blocks it now"
    return "\n".join((*lines, f"{database}: {files}: {result}"))


def _obstacle_lines(one: Obstacle) -> Iterator[str]:
    place = f"{one.filename}:{one.line}: " if one.filename else ""
    yield show_hidden_characters(f"{place}{'blocked' if one.blocks else 'note'}: {one.message}")
    yield show_hidden_characters(f"  {one.remedy}")
