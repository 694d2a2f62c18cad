"""Several small files of one transaction in one message: what stands between two of them costs no round trip.

That they fail or succeed as one is given by their transaction. Each is still begun, checked and timed for itself, and
an error still knows its file.
"""

from __future__ import annotations

import itertools
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psycopg

from kernel import ledger
from kernel.apply import batch, closing, commit, failed, opening, segment
from kernel.apply.batch import Batch
from kernel.apply.events import Applied, Started
from kernel.apply.opening import Opened
from kernel.apply.segment import Segment
from kernel.errors import MigrationFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from psycopg import pq

    from kernel.apply.runner import Runner
    from kernel.apply.work import Work
    from kernel.files.migration import Migration

# Enough that the round trip of a message no longer counts; few enough that what is shown keeps up with what runs.
_FILES = 16
_BYTES = 64 * 1024


class Unclaimed(Exception):
    """A signal: the record of one of several files is another's, or is no longer ours: roll back, then one by one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Files that go together in a transaction, and those that follow, whose claim their message makes too.

    Of several files, `segments` says where each stands in `message`. `ends` are the numbers, counted from 0, of the
    statements that tell how each of them ended, `look` is that of the one that looks at all their records, `claim` that
    of the claim. One alone is sent by Runner.send.
    """

    works: tuple[Work, ...]
    upcoming: tuple[Work, ...] = ()
    message: bytes = b""
    segments: tuple[Segment, ...] = ()
    ends: tuple[int, ...] = ()
    look: int = 0
    claim: int = 0


def groups(runner: Runner, todo: Iterable[Work], *, singly: bool = False) -> Iterator[Group]:
    """Divide the files of a transaction, in their order; with `singly` each is alone."""
    gathered = _alone(todo) if singly or runner.witness else _gathered(todo)
    for group, behind in itertools.pairwise(itertools.chain(gathered, [[]])):
        upcoming = tuple(work for work, _ in behind)
        whole = [(work, statements) for work, statements in group if statements]
        if len(whole) > 1:
            yield _composed(runner, whole, upcoming)
        else:
            yield Group(works=(group[0][0],), upcoming=upcoming)


def run(runner: Runner, group: Group, xid: str, meanwhile: Callable[[], object]) -> tuple[list[Applied], Opened | None]:
    """Run the files of a group, which are claimed, in the open transaction `xid`.

    Returns what is applied once it commits, and the claim of those that follow. `meanwhile` is called while the
    server works. Raises MigrationFailed, Unclaimed, psycopg.OperationalError when the connection is lost.
    """
    began = time.monotonic()
    runner.observer(Started(migration=group.works[0].migration, script=group.works[0].script))
    with runner.attending(*group.segments):
        error = runner.exchange.run(group.message, kept={*group.ends, group.look, group.claim}, meanwhile=meanwhile)
    if error:
        raise _error(runner, group, error)
    seconds = time.monotonic() - began
    rows = runner.exchange.rows
    for work, end in zip(group.works, group.ends, strict=True):
        closing.verify(work, runner.ledger, xid, rows.get(end))
    if rows[group.look].get_value(0, 0) != b"t":
        raise Unclaimed
    ends = [rows[end] for end in group.ends]
    applied = [
        Applied(migration=work.migration, seconds=own, statements=work.script.statements)
        for work, own in zip(group.works, _spent(ends, seconds), strict=True)
    ]
    if not group.upcoming:
        return applied, None
    return applied, Opened(group.upcoming[0], opening.claimed([rows[group.claim]] if group.claim in rows else []))


@contextmanager
def claiming(runner: Runner, works: Sequence[Work]) -> Iterator[None]:
    """Claim files: of several, an error does not tell whose record it is about. Raises Unclaimed then."""
    try:
        yield
    except psycopg.Error as error:
        if len(works) > 1 and not runner.session.connection.broken:
            raise Unclaimed from error
        raise


def under_way(group: Group, done: int) -> Migration:
    """The file that `done` statements of the group's message lead to."""
    return segment.under_way(group.segments, done).migration if group.segments else group.works[0].migration


def left_out(group: Group) -> None:
    """Pass over a file that another runner recorded first. Raises Unclaimed where others stand in its message."""
    if len(group.works) > 1:
        raise Unclaimed


def _spent(ends: Sequence[pq.abc.PGresult], seconds: float) -> list[float]:
    """Of the seconds that a message took, those of each file: between one end and the next by the server's clock."""
    at = [closing.clock(end) for end in ends]
    spent = [seconds - (at[-1] - at[0]), *(after - before for before, after in itertools.pairwise(at))]
    return [max(0.0, one) for one in spent]  # a clock may be set back


def _alone(todo: Iterable[Work]) -> Iterator[list[tuple[Work, Batch | None]]]:
    for work in todo:
        yield [(work, None)]


def _gathered(todo: Iterable[Work]) -> Iterator[list[tuple[Work, Batch | None]]]:
    gathered: list[tuple[Work, Batch | None]] = []
    size = 0
    for work in todo:
        statements = whole(work)
        size += work.script.size_bytes
        if gathered and (statements is None or len(gathered) == _FILES or size > _BYTES):
            yield gathered
            gathered, size = [], work.script.size_bytes
        gathered.append((work, statements))
        if statements is None:
            yield gathered
            gathered, size = [], 0
    if gathered:
        yield gathered


def whole(work: Work) -> Batch | None:
    """The statements of a file that can share a message with others, None for any other."""
    script = work.script
    if script.parts is None or script.size_bytes > _BYTES or script.checksum != work.migration.checksum:
        return None
    found = list(itertools.islice(batch.batches(script.parts, plain=script.plain), 2))
    only = found[0] if len(found) == 1 else None
    return only if isinstance(only, Batch) and only.open_ended else None


def _composed(runner: Runner, whole: Sequence[tuple[Work, Batch]], upcoming: tuple[Work, ...]) -> Group:
    works = tuple(work for work, _ in whole)
    records = ledger.all_recorded(runner.session.connection, runner.ledger, [work.migration for work in works])
    between = commit.between(runner)
    texts: list[bytes] = []
    segments, ends = [], []
    number = characters = 0
    for (work, statements), behind in zip(whole, (*works[1:], None), strict=True):
        segments.append(Segment(work.migration, statements, number, characters))
        end = closing.unguarded()
        ends.append(segments[-1].end + len(end) - 1)
        following = (*between, *opening.settings(runner, behind)) if behind else (b"SELECT %b" % records,)
        text = b"%b\n%b;\n" % (statements.message, b"; ".join((*end, *following)))
        texts.append(text)
        characters += len(text) if text.isascii() else len(text.decode())
        number = segments[-1].end + len(end) + len(following)
    claim = (*between, *opening.statements(runner, *upcoming)) if upcoming else ()
    return Group(
        works=works,
        upcoming=upcoming,
        message=b"".join((*texts, b"; ".join(claim))),
        segments=tuple(segments),
        ends=tuple(ends),
        look=number - 1,
        claim=number + len(claim) - 1,
    )


def _error(runner: Runner, group: Group, error: pq.abc.PGresult) -> Exception:
    """The failure of the file that an error belongs to; Unclaimed where that shows only when they run one by one."""
    found = runner.failed(group.segments, error)
    if isinstance(found, MigrationFailed):
        return found
    done = runner.exchange.done
    files = [work for work, end in zip(group.works, group.ends, strict=True) if done <= end]
    if not files and done > group.look and len(group.upcoming) == 1:
        files = list(group.upcoming)
    return failed.server_error(files[0].migration, found) if files else Unclaimed()
