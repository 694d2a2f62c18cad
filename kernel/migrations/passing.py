"""Whether a pending file may pass one that waits for --phase after: the two name no object that either changes.

Their texts are compared, so that an object that one of them uses through a view of another file is not seen.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from kernel.errors import FilesInvalid, Problem
from kernel.migrations.phases import Phase
from kernel.sql.lexer import LexerError, PartKind, split_script
from kernel.sql.object_names import may_overlap, read_mentions

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from kernel.migrations.migration import Migration
    from kernel.sql.object_names import Mention


class LocatedMention(NamedTuple):
    """An object that a file names, with the line."""

    mention: Mention
    line: int


class PassingConflict(NamedTuple):
    """A file that may not pass a waiting one, with the reason as a problem."""

    waiting: Migration
    problem: Problem


def read_file_mentions(path: Path) -> Iterator[LocatedMention]:
    """Yield the objects that the statements of a file name, down to a place that cannot be read. Raises OSError."""
    with path.open("rb", buffering=0) as file, suppress(LexerError):
        for part in split_script(file.read):
            if part.kind is PartKind.STATEMENT:
                for mention in read_mentions(part.sql):
                    yield LocatedMention(mention, part.place_of(mention.begin)[0])


def files_of_phase(pending: Sequence[Migration], phase: Phase, *, is_new: bool) -> tuple[Migration, ...]:
    """The pending files of a phase. Raises FilesInvalid where one would run before a file that has to precede it.

    In a new database, where no version of the application runs yet, the files that may not be passed run in their
    place.
    """
    if phase is Phase.AFTER:
        return _files_of_phase_after(pending)
    conflicts = _passing_conflicts(pending)
    if conflicts and not is_new:
        raise FilesInvalid([one.problem for one in conflicts])
    last = max((one.waiting.number for one in conflicts), default=-1)
    return tuple(one for one in pending if one.phase is Phase.BEFORE or one.number <= last)


def in_order_of_phases(pending: Sequence[Migration]) -> tuple[Migration, ...]:
    """The files as a run of each phase applies them; in version order where such runs would be refused."""
    if _passing_conflicts(pending):
        return tuple(pending)
    return tuple(sorted(pending, key=lambda migration: migration.phase is Phase.AFTER))


def _files_of_phase_after(pending: Sequence[Migration]) -> tuple[Migration, ...]:
    """The pending files of phase `after`. Raises FilesInvalid where one of phase `before` has to precede them."""
    chosen = tuple(migration for migration in pending if migration.phase is Phase.AFTER)
    first = next((migration for migration in pending if migration.phase is Phase.BEFORE), None)
    if first and (late := [migration for migration in chosen if migration.number > first.number]):
        message = (
            f"waits for {first.filename}, which is of phase before and pending; "
            f"apply that file first: inv db.migrate --phase before --to {first.version}"
        )
        raise FilesInvalid([Problem(message=message, file=one.filename) for one in late])
    return chosen


def _passing_conflicts(pending: Sequence[Migration]) -> tuple[PassingConflict, ...]:
    """A conflict for each file of phase `before` that may not pass a waiting one, with the last one before it."""
    waiting: list[tuple[Migration, tuple[LocatedMention, ...]]] = []
    conflicts = []
    for migration in pending:
        if migration.phase is Phase.AFTER:
            waiting.append((migration, _mentions(migration)))
        elif waiting:
            mentions = _mentions(migration)
            found = ((one, _conflict(one, known, migration, mentions)) for one, known in reversed(waiting))
            if last := next(((one, conflict) for one, conflict in found if conflict), None):
                one, (reason, line) = last
                message = (
                    f"may not pass {one.filename}, which waits for --phase after: {reason}; apply that file first, "
                    f"when the former version is gone: inv db.migrate --to {one.version}"
                )
                conflicts.append(PassingConflict(one, Problem(message=message, file=migration.filename, line=line)))
    return tuple(conflicts)


def find_conflict(waiting: Migration, later: Migration) -> str:
    """Why it matters which of two files runs first; "" if it does not."""
    conflict = _conflict(waiting, _mentions(waiting), later, _mentions(later))
    return conflict[0] if conflict else ""


def _mentions(migration: Migration) -> tuple[LocatedMention, ...]:
    """The names in a file; none where it cannot be read, which the run of the file reports."""
    with suppress(OSError):
        return tuple(read_file_mentions(migration.path))
    return ()


def _conflict(
    waiting: Migration, first: Sequence[LocatedMention], later: Migration, second: Sequence[LocatedMention]
) -> tuple[str, int | None] | None:
    """Why it matters which of two files runs first, by what they name, and the line of the later one."""
    for mentions, filename in ((first, waiting.filename), (second, later.filename)):
        if composed := next((one for one in mentions if not one.mention.name), None):
            line = composed.line if mentions is second else None
            return f"{filename} runs SQL that it composes (line {composed.line}), so what it names is unknown", line
    for one in second:
        for other in first:
            if (one.mention.changes or other.mention.changes) and may_overlap(one.mention, other.mention):
                return _describe_overlap(one.mention, other), one.line
    return None


def _describe_overlap(mention: Mention, other: LocatedMention) -> str:
    if mention.is_schema == other.mention.is_schema or mention.name == other.mention.name:
        return f"it names {mention.name}, as line {other.line} of that file does"
    name, other_name = (f"schema {one.name}" if one.is_schema else one.name for one in (mention, other.mention))
    return f"it names {name}, and line {other.line} of that file {other_name}"
