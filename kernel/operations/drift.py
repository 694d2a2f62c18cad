"""Trace drift through git: the command that restores a file, and what was changed in it since.

Called only when there is drift to show: it costs a few runs of git. Where git knows nothing, the message of kernel.plan
stays.
"""

from __future__ import annotations

import io
import shlex
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from kernel.migrations.migration import parse_filename
from kernel.plan import Reason, describe_changed_file, describe_file_applied_empty, describe_missing_file
from kernel.sql.lexer import LexerError, PartKind, split_script

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from kernel.db.records import Record
    from kernel.migrations.git_history import CommittedContent, GitHistory
    from kernel.migrations.migration import Migration
    from kernel.plan import Plan, PlanEntry


_READ_BYTES = 1 << 20
_COMMIT_DIGITS = 10  # this many digits identify one commit among millions
_LEAST_SIMILARITY = 0.5  # as in git: a file with half the lines of another is the same file, renamed


@dataclass(frozen=True, slots=True, kw_only=True)
class MigrationsLocation:
    """The directory of the migrations, and `root`, the project's folder, from which commands name them.

    `environ` is passed to git without its GIT_* variables.
    """

    root: Path
    directory: Path
    environ: Mapping[str, str] = field(repr=False)

    def shell_path(self, filename: str) -> str:
        """A file's path for a command line."""
        path = self.directory / filename
        return shlex.quote(str(path.relative_to(self.root) if path.is_relative_to(self.root) else path))

    def restore_command(self, revision: str, path: str, filename: str) -> str:
        """The command that writes what a revision has at `path`, from the top of the repository, to a file."""
        inside = self.directory.is_relative_to(self.root)
        git = "git" if inside else f"git -C {shlex.quote(str(self.directory))}"
        return f"{git} show {shlex.quote(f'{revision}:{path}')} > {self.shell_path(filename)}"


def trace_drift(plan: Plan, location: MigrationsLocation) -> Plan:
    """The same plan, with what is known of its modified and missing entries: remedy, commit, diff."""
    traceable = [entry for entry in plan.entries if _is_traceable(entry)]
    if not traceable:
        return plan
    from kernel.migrations.git_history import read_git_history  # noqa: PLC0415 - only after drift

    known = read_git_history(
        location.directory, location.environ, {entry.record.checksum for entry in traceable if entry.record}
    )
    entries = [_trace_entry(entry, plan, known, location) if entry in traceable else entry for entry in plan.entries]
    return replace(plan, entries=tuple(entries))


def _is_traceable(entry: PlanEntry) -> bool:
    """Whether no file has the content that ran."""
    if entry.reason is Reason.CHANGED:
        return True
    # The filename goes into a command only when it is a valid one: the ledger may contain any text.
    return (
        entry.reason is Reason.GONE and entry.record is not None and parse_filename(entry.record.filename) is not None
    )


def _trace_entry(entry: PlanEntry, plan: Plan, known: GitHistory | None, location: MigrationsLocation) -> PlanEntry:
    record, migration = entry.record, entry.migration
    if record is None:  # pragma: no cover - what is traced is recorded
        return entry
    if migration is None:
        return _trace_missing_file(entry, record, plan.pending, known=known, location=location) if known else entry
    kept = known.find_content(record.checksum) if known else None
    if _had_no_statement(record, migration, kept):
        is_newest = all(one.record is None or int(one.version) <= migration.number for one in plan.entries)
        return replace(entry, drift=describe_file_applied_empty(record, is_newest=is_newest))
    if known is None or kept is None:
        return entry
    drift = describe_changed_file(
        migration, record, by=location.restore_command(_short_commit(kept.commit), kept.path, migration.filename)
    )
    return replace(entry, drift=drift, commit=kept.commit, diff=known.diff_to_file(kept, migration.filename) or None)


def _had_no_statement(record: Record, migration: Migration, kept: CommittedContent | None) -> bool:
    """Whether a file had no statement when it was applied, and has one now."""
    from kernel.migrations.scaffold_text import unwritten_checksums  # noqa: PLC0415 - only after drift

    try:
        now = migration.path.read_bytes()
    except OSError:
        return False
    was_empty = record.checksum in unwritten_checksums(now) or (kept is not None and not _has_statement(kept.content))
    return was_empty and _has_statement(now)


def _has_statement(content: bytes) -> bool:
    try:
        return any(part.kind is PartKind.STATEMENT for part in split_script(io.BytesIO(content).read))
    except LexerError:
        return True


def _trace_missing_file(
    entry: PlanEntry, record: Record, pending: tuple[Migration, ...], *, known: GitHistory, location: MigrationsLocation
) -> PlanEntry:
    kept = known.find_content(record.checksum)
    deletion = known.find_deletion(record.filename)
    reason = f"{_short_commit(deletion[0])} deleted it" if deletion else ""
    if kept is None:
        if deletion is None:
            return entry
        commit, path = deletion
        remedy = f"restore it with: {location.restore_command(f'{_short_commit(commit)}^', path, record.filename)}"
        return replace(entry, drift=describe_missing_file(record, reason=reason, remedy=f"{_forget(record)}{remedy}"))
    restore = f"restore it with: {location.restore_command(_short_commit(kept.commit), kept.path, record.filename)}"
    heir = _most_similar_file(kept.content, pending)
    if heir is None:
        remedy = f"{_forget(record) if deletion else ''}{restore}"
        return replace(entry, drift=describe_missing_file(record, reason=reason, remedy=remedy), commit=kept.commit)
    moved = f"mv {location.shell_path(heir.filename)} {location.shell_path(record.filename)}"
    reason = f"{heir.filename} seems to be it, renamed and changed"
    remedy = (
        f"give it its name again ({moved}) and accept it with: inv db.repair --accept {record.version}, or {restore}"
    )
    drift = describe_missing_file(record, reason=reason, remedy=remedy)
    return replace(entry, drift=drift, commit=kept.commit, diff=known.diff_to_file(kept, heir.filename) or None)


def _forget(record: Record) -> str:
    """The beginning of a remedy for a file that a commit deleted; "" for a version that is no number."""
    if record.number is None:  # the ledger may contain any text, which is no part of a command then
        return ""
    return f"forget it if that was on purpose (inv db.repair --forget {record.version}), or "


def _short_commit(commit: str) -> str:
    """The abbreviated hash of a commit."""
    return commit[:_COMMIT_DIGITS]


def _most_similar_file(content: bytes, pending: tuple[Migration, ...]) -> Migration | None:
    """The pending file that is most similar to the content of a missing file; None when none is similar."""
    best, best_similarity = None, _LEAST_SIMILARITY
    for migration in pending:
        try:
            with migration.path.open("rb") as file:
                similarity = _similarity(content, file.read(_READ_BYTES))
        except OSError:
            continue
        if similarity >= best_similarity:
            best, best_similarity = migration, similarity
    return best


def _similarity(first: bytes, second: bytes) -> float:
    """The share of the longer text, from 0 to 1, whose lines are in the other too, without surrounding blanks."""
    a, b = _count_lines(first), _count_lines(second)
    return _total_bytes(a & b) / max(_total_bytes(a), _total_bytes(b), 1)


def _count_lines(text: bytes) -> Counter[bytes]:
    return Counter(line.strip() for line in text.splitlines())


def _total_bytes(lines: Counter[bytes]) -> int:
    return sum(len(line) * count for line, count in lines.items())
