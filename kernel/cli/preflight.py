"""db.preflight: what is in the way of the pending files, and db.migrate --when-calm, which waits for it to end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from kernel.cli.context import parse_phase_flag
from kernel.db.connection import open_configured_session
from kernel.errors import FilesInvalid, Problem, UsageError
from kernel.lint.expected_locks import expected_locks
from kernel.lint.source import read_source
from kernel.migrations.migration import require_migrations
from kernel.migrations.phases import Phase
from kernel.operations.preflight import find_obstacles, wait_until_calm
from kernel.plan import read_status
from kernel.report.json_documents import preflight_document
from kernel.report.preflight import preflight_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kernel.cli.context import TaskContext
    from kernel.db.connection import Session
    from kernel.lint.expected_locks import ExpectedLock
    from kernel.migrations.migration import Migration
    from kernel.operations.preflight import Obstacle

BLOCKED_EXIT = 8  # as of what the linter and the rehearsal find


def run_preflight(context: TaskContext, *, rehearsal: str, phase: str = "") -> int:
    """Print what is in the way; return 0, or BLOCKED_EXIT when something blocks the run. Raises KernelError."""
    migrations = require_migrations(context.settings.migrations_dir)
    chosen = parse_phase_flag(phase)
    growth = _read_growth(Path(rehearsal)) if rehearsal else None
    with open_configured_session(context.settings, say=context.console.print_line) as session:
        status = read_status(session, migrations)
        repeatable = () if chosen is Phase.AFTER else status.pending_repeatable
        pending = (*status.plan.pending_in(chosen), *repeatable)
        needed = None if growth is None else sum(growth.get(one.version, 0) for one in pending)
        locks = _pending_locks(context, pending)
        obstacles = find_obstacles(session, locks, needed_bytes=needed) if pending else ()
    context.print_result(
        lambda: preflight_text(session.name, pending, locks, obstacles),
        lambda: preflight_document(session.name, pending, locks, obstacles),
    )
    return BLOCKED_EXIT if any(one.blocks for one in obstacles) else 0


def wait_for_calm(context: TaskContext, session: Session, pending: Sequence[Migration], wait_seconds: float) -> None:
    """Wait until nothing blocks the pending files. Raises LockBusy, FilesInvalid."""
    locks = _pending_locks(context, pending)

    def report(obstacles: Sequence[Obstacle], seconds: float) -> None:
        context.progress.show_wait("before the first file: ", [one.message for one in obstacles], seconds)

    wait_until_calm(session, locks, wait_seconds=wait_seconds, waiting=report)


def _pending_locks(context: TaskContext, pending: Sequence[Migration]) -> tuple[ExpectedLock, ...]:
    """The locks that the pending files take. Raises FilesInvalid with every file that cannot be read."""
    problems: list[Problem] = []
    sources = []
    for migration in pending:
        try:
            sources.append(read_source(migration, context.settings.migrations_table))
        except FilesInvalid as error:
            problems += error.problems
    if problems:
        raise FilesInvalid(problems)
    return expected_locks(sources)


def _read_growth(path: Path) -> dict[str, int]:
    """The disk space that each migration took in a rehearsal, in bytes, by version. Raises UsageError."""
    try:
        migrations = json.loads(path.read_bytes())["migrations"]
        return {one["version"]: max(0, int(one["growth_bytes"])) + int(one["wal_bytes"]) for one in migrations}
    except OSError as error:
        raise UsageError(f"--rehearsal {path}: cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"--rehearsal {path}: not a result of a rehearsal; write it with: inv db.snapshot-test --json > {path}"
        ) from error
