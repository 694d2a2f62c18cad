"""The text of an error: what and where in the first line, then the excerpt, the server's details and the next step."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel.errors import MigrationFailed
from kernel.report.safe_text import show_hidden_characters
from kernel.report.status import problem_lines

if TYPE_CHECKING:
    from kernel.errors import KernelError


def error_text(error: KernelError) -> str:
    """The lines for stderr."""
    # Text of a server, a dump or a file must not move the cursor.
    return show_hidden_characters("\n".join(_error_lines(error)), keep="\n\t")


def _error_lines(error: KernelError) -> list[str]:
    if isinstance(error, MigrationFailed):
        return _migration_error_lines(error)
    messages = [line for problem in error.problems for line in problem_lines(problem)] or str(error).splitlines()
    lines = [f"{'error: ' if at == 0 else '':7}{line}".rstrip() for at, line in enumerate(messages)]
    if error.hint:
        lines.append(f"next: {error.hint}")
    return lines


def _migration_error_lines(error: MigrationFailed) -> list[str]:
    failure = error.failure
    place = ":".join(str(part) for part in (failure.file, failure.line, failure.column) if part is not None)
    code = f" ({failure.sqlstate})" if failure.sqlstate else ""
    lines = [f"error: {place}: {error}{code}"]
    if failure.excerpt:
        lines += ["", failure.excerpt, ""]
    for label, value in (
        ("detail", failure.detail),
        ("server's hint", failure.server_hint),
        ("context", failure.context),
    ):
        if value:
            lines.append(f"{label}: " + value.replace("\n", f"\n{'':{len(label) + 2}}"))
    if error.applied:
        lines.append(f"applied before: {', '.join(error.applied)}")
    if error.rolled_back_before:
        lines.append(f"reverted before, and without a record now: {', '.join(error.rolled_back_before)}")
    lines.append(f"{failure.file}: {error.aftermath}")
    if len(error.pending) > 1:
        lines.append(f"still pending: {', '.join(error.pending)}")
    if error.remaining:
        lines.append(f"still applied: {', '.join(error.remaining)}")
    if error.hint:
        lines.append(f"next: {error.hint}")
    return lines
