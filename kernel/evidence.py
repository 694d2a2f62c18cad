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

from kernel import plan
from kernel.errors import Drift
from kernel.files import naming
from kernel.plan import Disagreement, Reason

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from kernel.files.history import History
    from kernel.files.migration import Migration
    from kernel.plan import Entry, Plan
    from kernel.record import Record

_READ_BYTES = 1 << 20
_SHORT = 10  # so many digits name one commit among millions
_ALIKE = 0.5  # as git: a file with half of another's lines is the same one, renamed


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where the files are, and how commands name them: from `root`, the project's folder, where they are typed.

    `environ` is handed to git, less its GIT_* variables.
    """

    root: Path
    directory: Path
    environ: Mapping[str, str] = field(repr=False)

    def shown(self, filename: str) -> str:
        """A file's path for a command line."""
        path = self.directory / filename
        return shlex.quote(str(path.relative_to(self.root) if path.is_relative_to(self.root) else path))

    def restoring(self, revision: str, path: str, filename: str) -> str:
        """The command that writes what a revision has at `path`, from the top of the repository, to a file."""
        inside = self.directory.is_relative_to(self.root)
        git = "git" if inside else f"git -C {shlex.quote(str(self.directory))}"
        return f"{git} show {shlex.quote(f'{revision}:{path}')} > {self.shown(filename)}"


@contextmanager
def added(place: Place) -> Iterator[None]:
    """Give the Disagreement that leaves the block its evidence, once locks and connections are let go of.

    Raises Drift in its place.
    """
    try:
        yield
    except Disagreement as found:
        problems = traced(found.plan, place).drift(allow_out_of_order=found.allow_out_of_order)
        raise Drift(problems) from found


def traced(its_plan: Plan, place: Place) -> Plan:
    """The same plan, its modified and missing entries with what git knows of them: remedy, commit, diff."""
    asked = [entry for entry in its_plan.entries if _traceable(entry)]
    if not asked:
        return its_plan
    from kernel.files import history  # noqa: PLC0415 - on the way of drift only

    known = history.read(place.directory, place.environ, {entry.record.checksum for entry in asked if entry.record})
    if known is None:
        return its_plan
    entries = [_traced(entry, its_plan, known, place) if entry in asked else entry for entry in its_plan.entries]
    return replace(its_plan, entries=tuple(entries))


def _traceable(entry: Entry) -> bool:
    """Whether the content that ran is not among the files, under whatever name."""
    if entry.reason is Reason.CHANGED:
        return True
    # A name is written into a command only when it is one of ours: the ledger may hold any text.
    return entry.reason is Reason.GONE and entry.record is not None and naming.parse(entry.record.filename) is not None


def _traced(entry: Entry, its_plan: Plan, known: History, place: Place) -> Entry:
    record, migration = entry.record, entry.migration
    if record is None:  # pragma: no cover - what is traced is recorded
        return entry
    if migration is None:
        return _gone(entry, record, its_plan.pending, known=known, place=place)
    kept = known.find(record.checksum)
    if kept is None:
        return entry
    drift = plan.changed(migration, record, by=place.restoring(_short(kept.commit), kept.path, migration.filename))
    return replace(entry, drift=drift, commit=kept.commit, diff=known.diff(kept, migration.filename) or None)


def _gone(entry: Entry, record: Record, pending: tuple[Migration, ...], *, known: History, place: Place) -> Entry:
    kept = known.find(record.checksum)
    deletion = known.deleted(record.filename)
    reason = f"{_short(deletion[0])} deleted it" if deletion else ""
    if kept is None:
        if deletion is None:
            return entry
        commit, path = deletion
        remedy = f"restore it with: {place.restoring(f'{_short(commit)}^', path, record.filename)}"
        return replace(entry, drift=plan.gone(record, reason=reason, remedy=remedy))
    restore = f"restore it with: {place.restoring(_short(kept.commit), kept.path, record.filename)}"
    heir = _heir(kept.content, pending)
    if heir is None:
        return replace(entry, drift=plan.gone(record, reason=reason, remedy=restore), commit=kept.commit)
    moved = f"mv {place.shown(heir.filename)} {place.shown(record.filename)}"
    reason = f"{heir.filename} seems to be it, renamed and changed"
    remedy = (
        f"give it its name again ({moved}) and accept it with: inv db.repair --accept {record.version}, or {restore}"
    )
    drift = plan.gone(record, reason=reason, remedy=remedy)
    return replace(entry, drift=drift, commit=kept.commit, diff=known.diff(kept, heir.filename) or None)


def _short(commit: str) -> str:
    """A commit's name as people read it."""
    return commit[:_SHORT]


def _heir(content: bytes, pending: tuple[Migration, ...]) -> Migration | None:
    """The pending file that is most like the content of one that is gone, if one is like it at all."""
    best, best_likeness = None, _ALIKE
    for migration in pending:
        try:
            with migration.path.open("rb") as file:
                likeness = _likeness(content, file.read(_READ_BYTES))
        except OSError:
            continue
        if likeness >= best_likeness:
            best, best_likeness = migration, likeness
    return best


def _likeness(one: bytes, other: bytes) -> float:
    """How much of the longer text stands in the other too, from 0 to 1: by its lines, blanks around them left out."""
    ours, theirs = _lines(one), _lines(other)
    return _size(ours & theirs) / max(_size(ours), _size(theirs), 1)


def _lines(text: bytes) -> Counter[bytes]:
    return Counter(line.strip() for line in text.splitlines())


def _size(lines: Counter[bytes]) -> int:
    return sum(len(line) * count for line, count in lines.items())
