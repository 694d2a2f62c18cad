"""db.baseline --from: record what another tool has applied, by that tool's own ledger."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kernel.db.tool_ledger import read_tool_ledger
from kernel.errors import FilesInvalid, Problem, ToolLedgerUnfit
from kernel.migrations.tool_matches import Proof, match_records
from kernel.operations.baseline import record_files

if TYPE_CHECKING:
    from collections.abc import Callable

    from kernel.db.advisory_lock import LockHolder
    from kernel.db.connection import Session
    from kernel.db.tool_ledger import ToolLedger
    from kernel.migrations.migration import Migration
    from kernel.migrations.tool_matches import ToolMatches


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolBaselineRequest:
    """The tool, its table if it has another name, and whether files are recorded that are not what it applied."""

    tool: str
    table: str = ""
    different: bool = False
    dry_run: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolBaseline:
    """The other ledger, and the files with its records; those with a record were recorded, unless it was a dry run."""

    database: str
    ledger: ToolLedger
    matches: ToolMatches


def record_tool_baseline(
    session: Session,
    migrations: tuple[Migration, ...],
    request: ToolBaselineRequest,
    *,
    lock_wait_seconds: float,
    waiting: Callable[[LockHolder], None],
    inspect: Callable[[tuple[Migration, ...]], None] = lambda _migrations: None,
) -> ToolBaseline:
    """Record the files that the tool has applied. Its ledger is only read.

    Raises ToolLedgerUnfit with every record that has failed, has no file, or whose file is not what was applied; what
    read_tool_ledger and record_files raise; FilesInvalid for a file that cannot be read.
    """
    ledger = read_tool_ledger(session, request.tool, table=request.table)
    try:
        matches = match_records(migrations, ledger.records, ledger.format, ledger.name)
    except OSError as error:
        raise FilesInvalid([Problem(message=f"cannot be read: {error.strerror}", file=error.filename)]) from error
    problems = [*matches.problems, *([] if request.different else _differences(ledger, matches))]
    if problems:
        raise ToolLedgerUnfit(problems)
    record_files(
        session,
        migrations,
        matches.applied,
        lock_wait_seconds=lock_wait_seconds,
        waiting=waiting,
        inspect=inspect,
        dry_run=request.dry_run,
    )
    return ToolBaseline(database=session.name, ledger=ledger, matches=matches)


def _differences(ledger: ToolLedger, matches: ToolMatches) -> list[Problem]:
    return [
        Problem(
            message=(
                f"not what {ledger.format.name} applied as {one.record.label}, by the {ledger.format.proof} in "
                f"{ledger.name}; compare it with its source, then record it with --different"
            ),
            file=one.migration.filename,
        )
        for one in matches.files
        if one.record and one.proof is Proof.DIFFERENT
    ]
