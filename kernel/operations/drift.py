"""What version control has to say about drift: the command that restores a file, and what was changed in it since.

Asked when there is drift to show and never else: it costs a few runs of git. Where git knows nothing, a message stays
what kernel.plan made it.
"""

from __future__ import annotations

import shlex
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from kernel.errors import Drift
from kernel.migrations.migration import parse_filename
from kernel.plan import PlanDrift, Reason, describe_changed_file, describe_missing_file

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from kernel.db.ledger import Record
    from kernel.migrations.git_history import GitHistory
    from kernel.migrations.migration import Migration
    from kernel.plan import Plan, PlanEntry


_READ_BYTES = 1 << 20
_COMMIT_DIGITS = 10  # so many digits name one commit among millions
_LEAST_SIMILARITY = 0.5  # as git: a file with half of another's lines is the same one, renamed


@dataclass(frozen=True, slots=True, kw_only=True)
class MigrationsLocation:
    """Where the files are, and how commands name them: from `root`, the project's folder, where they are typed.

    `environ` is handed to git, less its GIT_* variables.
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


@contextmanager
def add_git_evidence(place: MigrationsLocation) -> Iterator[None]:
    """Give the Disagreement that leaves the block its evidence, once locks and connections are let go of.

    Raises Drift in its place.
    """
    try:
        yield
    except PlanDrift as found:
        problems = trace_drift(found.plan, place).drift(allow_out_of_order=found.allow_out_of_order)
        raise Drift(problems) from found


def trace_drift(plan: Plan, place: MigrationsLocation) -> Plan:
    """The same plan, its modified and missing entries with what git knows of them: remedy, commit, diff."""
    asked = [entry for entry in plan.entries if _is_traceable(entry)]
    if not asked:
        return plan
    from kernel.migrations.git_history import read_git_history  # noqa: PLC0415 - on the way of drift only

    known = read_git_history(place.directory, place.environ, {entry.record.checksum for entry in asked if entry.record})
    if known is None:
        return plan
    entries = [_trace_entry(entry, plan, known, place) if entry in asked else entry for entry in plan.entries]
    return replace(plan, entries=tuple(entries))


def _is_traceable(entry: PlanEntry) -> bool:
    """Whether the content that ran is not among the files, under whatever name."""
    if entry.reason is Reason.CHANGED:
        return True
    # A name is written into a command only when it is one of ours: the ledger may hold any text.
    return (
        entry.reason is Reason.GONE and entry.record is not None and parse_filename(entry.record.filename) is not None
    )


def _trace_entry(entry: PlanEntry, plan: Plan, known: GitHistory, place: MigrationsLocation) -> PlanEntry:
    record, migration = entry.record, entry.migration
    if record is None:  # pragma: no cover - what is traced is recorded
        return entry
    if migration is None:
        return _trace_missing_file(entry, record, plan.pending, known=known, place=place)
    kept = known.find_content(record.checksum)
    if kept is None:
        return entry
    drift = describe_changed_file(
        migration, record, by=place.restore_command(_short_commit(kept.commit), kept.path, migration.filename)
    )
    return replace(entry, drift=drift, commit=kept.commit, diff=known.diff_to_file(kept, migration.filename) or None)


def _trace_missing_file(
    entry: PlanEntry, record: Record, pending: tuple[Migration, ...], *, known: GitHistory, place: MigrationsLocation
) -> PlanEntry:
    kept = known.find_content(record.checksum)
    deletion = known.find_deletion(record.filename)
    reason = f"{_short_commit(deletion[0])} deleted it" if deletion else ""
    if kept is None:
        if deletion is None:
            return entry
        commit, path = deletion
        remedy = f"restore it with: {place.restore_command(f'{_short_commit(commit)}^', path, record.filename)}"
        return replace(entry, drift=describe_missing_file(record, reason=reason, remedy=remedy))
    restore = f"restore it with: {place.restore_command(_short_commit(kept.commit), kept.path, record.filename)}"
    heir = _most_similar_file(kept.content, pending)
    if heir is None:
        return replace(entry, drift=describe_missing_file(record, reason=reason, remedy=restore), commit=kept.commit)
    moved = f"mv {place.shell_path(heir.filename)} {place.shell_path(record.filename)}"
    reason = f"{heir.filename} seems to be it, renamed and changed"
    remedy = (
        f"give it its name again ({moved}) and accept it with: inv db.repair --accept {record.version}, or {restore}"
    )
    drift = describe_missing_file(record, reason=reason, remedy=remedy)
    return replace(entry, drift=drift, commit=kept.commit, diff=known.diff_to_file(kept, heir.filename) or None)


def _short_commit(commit: str) -> str:
    """A commit's name as people read it."""
    return commit[:_COMMIT_DIGITS]


def _most_similar_file(content: bytes, pending: tuple[Migration, ...]) -> Migration | None:
    """The pending file that is most like the content of one that is gone, if one is like it at all."""
    best, best_likeness = None, _LEAST_SIMILARITY
    for migration in pending:
        try:
            with migration.path.open("rb") as file:
                likeness = _similarity(content, file.read(_READ_BYTES))
        except OSError:
            continue
        if likeness >= best_likeness:
            best, best_likeness = migration, likeness
    return best


def _similarity(one: bytes, other: bytes) -> float:
    """How much of the longer text stands in the other too, from 0 to 1: by its lines, blanks around them left out."""
    ours, theirs = _count_lines(one), _count_lines(other)
    return _total_bytes(ours & theirs) / max(_total_bytes(ours), _total_bytes(theirs), 1)


def _count_lines(text: bytes) -> Counter[bytes]:
    return Counter(line.strip() for line in text.splitlines())


def _total_bytes(lines: Counter[bytes]) -> int:
    return sum(len(line) * count for line, count in lines.items())
