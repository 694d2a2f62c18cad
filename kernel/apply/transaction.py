"""Files applied in transactions: claim, run, commit; the whole file again when others were in its way.

The row is claimed first, in the transaction that runs the file: whatever happens to the lock, to the connection or to a
pooler, exactly one runner commits a version, and a row means that the file is fully applied.
"""

from __future__ import annotations

import itertools
import time
from collections import deque
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import psycopg

from kernel.apply.batches import Batch, Segment, segment_under_way
from kernel.apply.envelope import (
    SHARED_MESSAGE_BYTES,
    OpenTransaction,
    SingleMessage,
    begin_transaction,
    claim_in_transaction,
    claimed_xid,
    commit_in_doubt_error,
    commit_transaction,
    compose_single_message,
    head_statements,
    is_lost_claim,
    lost_claim_error,
    roll_back_transaction,
    server_clock_seconds,
    settings_statements,
    shareable_batch,
    statements_between_files,
    tail_statements,
    unguarded_tail_statements,
    verify_claim,
    verify_lock_kept,
)
from kernel.apply.events import MigrationApplied, MigrationStarted
from kernel.apply.executor import run_with_retries
from kernel.apply.failures import connection_lost_error, refused_error, server_error
from kernel.db.ledger import all_claims_hold_expression, is_recorded
from kernel.errors import MigrationFailed
from kernel.migrations.script import open_script

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from psycopg import pq

    from kernel.apply.envelope import FileRun
    from kernel.apply.executor import Executor
    from kernel.migrations.migration import Migration


# Several small files of one transaction in one message: what stands between two of them costs no round trip.
#
# That they fail or succeed as one is given by their transaction. Each is still begun, checked and timed for itself, and
# an error still knows its file.


# Enough that the round trip of a message no longer counts; few enough that what is shown keeps up with what runs.
_SHARED_MESSAGE_FILES = 16


class ClaimConflict(Exception):
    """A signal: the record of one of several files is another's, or is no longer ours: roll back, then one by one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileGroup:
    """Files that go together in a transaction, and those that follow, whose claim their message makes too.

    Of several files, `segments` says where each stands in `message`. `ends` are the numbers, counted from 0, of the
    statements that tell how each of them ended, `look` is that of the one that looks at all their records, `claim` that
    of the claim. One alone is sent by Runner.send.
    """

    file_runs: tuple[FileRun, ...]
    upcoming: tuple[FileRun, ...] = ()
    message: bytes = b""
    segments: tuple[Segment, ...] = ()
    end_numbers: tuple[int, ...] = ()
    claims_check_number: int = 0
    claim_number: int = 0


def group_files(runner: Executor, todo: Iterable[FileRun], *, singly: bool = False) -> Iterator[FileGroup]:
    """Divide the files of a transaction, in their order; with `singly` each is alone."""
    gathered = _one_by_one(todo) if singly or runner.hooks else _gather_small_files(todo)
    for group, behind in itertools.pairwise(itertools.chain(gathered, [[]])):
        upcoming = tuple(work for work, _ in behind)
        whole = [(work, statements) for work, statements in group if statements]
        if len(whole) > 1:
            yield _compose_group(runner, whole, upcoming)
        else:
            yield FileGroup(file_runs=(group[0][0],), upcoming=upcoming)


def run_shared_message(
    runner: Executor, group: FileGroup, xid: str, meanwhile: Callable[[], object]
) -> tuple[list[MigrationApplied], OpenTransaction | None]:
    """Run the files of a group, which are claimed, in the open transaction `xid`.

    Returns what is applied once it commits, and the claim of those that follow. `meanwhile` is called while the
    server works. Raises MigrationFailed, Unclaimed, psycopg.OperationalError when the connection is lost.
    """
    began = time.monotonic()
    runner.observer(MigrationStarted(migration=group.file_runs[0].migration, script=group.file_runs[0].script))
    with runner.monitor(*group.segments):
        error = runner.protocol.run(
            group.message, kept={*group.end_numbers, group.claims_check_number, group.claim_number}, meanwhile=meanwhile
        )
    if error:
        raise _shared_message_error(runner, group, error)
    seconds = time.monotonic() - began
    rows = runner.protocol.rows
    for work, end in zip(group.file_runs, group.end_numbers, strict=True):
        verify_claim(work, runner.ledger, xid, rows.get(end))
    if rows[group.claims_check_number].get_value(0, 0) != b"t":
        raise ClaimConflict
    ends = [rows[end] for end in group.end_numbers]
    applied = [
        MigrationApplied(migration=work.migration, seconds=own, statements=work.script.statement_count)
        for work, own in zip(group.file_runs, _seconds_per_file(ends, seconds), strict=True)
    ]
    if not group.upcoming:
        return applied, None
    return applied, OpenTransaction(
        group.upcoming[0], claimed_xid([rows[group.claim_number]] if group.claim_number in rows else [])
    )


@contextmanager
def claim_conflicts_raised(runner: Executor, works: Sequence[FileRun]) -> Iterator[None]:
    """Claim files: of several, an error does not tell whose record it is about. Raises Unclaimed then."""
    try:
        yield
    except psycopg.Error as error:
        if len(works) > 1 and not runner.session.connection.broken:
            raise ClaimConflict from error
        raise


def migration_under_way(group: FileGroup, done: int) -> Migration:
    """The file that `done` statements of the group's message lead to."""
    return segment_under_way(group.segments, done).migration if group.segments else group.file_runs[0].migration


def skip_claimed_file(group: FileGroup) -> None:
    """Pass over a file that another runner recorded first. Raises Unclaimed where others stand in its message."""
    if len(group.file_runs) > 1:
        raise ClaimConflict


def _seconds_per_file(ends: Sequence[pq.abc.PGresult], seconds: float) -> list[float]:
    """Of the seconds that a message took, those of each file: between one end and the next by the server's clock."""
    at = [server_clock_seconds(end) for end in ends]
    spent = [seconds - (at[-1] - at[0]), *(after - before for before, after in itertools.pairwise(at))]
    return [max(0.0, one) for one in spent]  # a clock may be set back


def _one_by_one(todo: Iterable[FileRun]) -> Iterator[list[tuple[FileRun, Batch | None]]]:
    for work in todo:
        yield [(work, None)]


def _gather_small_files(todo: Iterable[FileRun]) -> Iterator[list[tuple[FileRun, Batch | None]]]:
    gathered: list[tuple[FileRun, Batch | None]] = []
    size = 0
    for work in todo:
        statements = shareable_batch(work)
        size += work.script.size_bytes
        if gathered and (statements is None or len(gathered) == _SHARED_MESSAGE_FILES or size > SHARED_MESSAGE_BYTES):
            yield gathered
            gathered, size = [], work.script.size_bytes
        gathered.append((work, statements))
        if statements is None:
            yield gathered
            gathered, size = [], 0
    if gathered:
        yield gathered


def _compose_group(
    runner: Executor, whole: Sequence[tuple[FileRun, Batch]], upcoming: tuple[FileRun, ...]
) -> FileGroup:
    works = tuple(work for work, _ in whole)
    records = all_claims_hold_expression(runner.session.connection, runner.ledger, [work.migration for work in works])
    between = statements_between_files(runner)
    texts: list[bytes] = []
    segments, ends = [], []
    number = characters = 0
    for (work, statements), behind in zip(whole, (*works[1:], None), strict=True):
        segments.append(Segment(work.migration, statements, number, characters))
        end = unguarded_tail_statements()
        ends.append(segments[-1].end + len(end) - 1)
        following = (*between, *settings_statements(runner, behind)) if behind else (b"SELECT %b" % records,)
        text = b"%b\n%b;\n" % (statements.message, b"; ".join((*end, *following)))
        texts.append(text)
        characters += len(text) if text.isascii() else len(text.decode())
        number = segments[-1].end + len(end) + len(following)
    claim = (*between, *head_statements(runner, *upcoming)) if upcoming else ()
    return FileGroup(
        file_runs=works,
        upcoming=upcoming,
        message=b"".join((*texts, b"; ".join(claim))),
        segments=tuple(segments),
        end_numbers=tuple(ends),
        claims_check_number=number - 1,
        claim_number=number + len(claim) - 1,
    )


def _shared_message_error(runner: Executor, group: FileGroup, error: pq.abc.PGresult) -> Exception:
    """The failure of the file that an error belongs to; Unclaimed where that shows only when they run one by one."""
    found = runner.statement_error(group.segments, error)
    if isinstance(found, MigrationFailed):
        return found
    done = runner.protocol.statements_done
    files = [work for work, end in zip(group.file_runs, group.end_numbers, strict=True) if done <= end]
    if not files and done > group.claims_check_number and len(group.upcoming) == 1:
        files = list(group.upcoming)
    return server_error(files[0].migration, found) if files else ClaimConflict()


# A small file in one message, from BEGIN to COMMIT: nothing of it waits for an answer in between.
#
# What is otherwise looked at before COMMIT is sent, the server looks at itself: where the transaction or the record is
# no longer ours, it divides by zero, and the rest of the message is not run.


def run_single_message(
    runner: Executor, alone: SingleMessage, meanwhile: Callable[[], object]
) -> tuple[MigrationApplied, ...]:
    """Run a file; () when another runner recorded it first. `meanwhile` is called while the server works.

    Raises MigrationFailed, LockBusy.
    """
    work, exchange = alone.file_run, runner.protocol
    roll_back_transaction(runner)
    began = time.monotonic()
    runner.observer(MigrationStarted(migration=work.migration, script=work.script))
    try:
        with runner.monitor(alone.segment):
            error = exchange.run(
                alone.message, kept=(alone.claim_number, alone.end_number, alone.lock_check_number), meanwhile=meanwhile
            )
    except psycopg.OperationalError as reason:
        raise commit_in_doubt_error(runner, work, reason, reached=False) from reason
    rows = exchange.rows
    if exchange.statements_done > alone.claim_number and alone.claim_number not in rows:
        roll_back_transaction(runner)
        return ()
    if error:
        raise _single_message_error(runner, alone, error)
    xid = claimed_xid([rows[alone.claim_number]]) or ""
    verify_claim(work, runner.ledger, xid, rows.get(alone.end_number))
    verify_lock_kept(rows[alone.lock_check_number])
    applied = MigrationApplied(
        migration=work.migration, seconds=time.monotonic() - began, statements=work.script.statement_count
    )
    runner.observer(applied)
    return (applied,)


def _single_message_error(runner: Executor, alone: SingleMessage, error: pq.abc.PGresult) -> MigrationFailed:
    """What stopped the message, once its transaction is rolled back."""
    work, done = alone.file_run, runner.protocol.statements_done
    found = runner.statement_error([alone.segment], error)
    roll_back_transaction(runner)
    if isinstance(found, MigrationFailed):
        return found
    # Ahead of it a deferred trigger of the file's may divide by zero, too. A COMMIT that was not seen moves it back.
    if done >= alone.end_number and is_lost_claim(error):
        recorded = is_recorded(runner.session, runner.ledger, work.migration.version)
        return lost_claim_error(work, runner.ledger, committed=recorded)
    return server_error(work.migration, found)


class Transactions:
    """Files applied in transactions: a small one in one message, of others the commit opens the next.

    While the server runs a file, the message for the next is prepared.
    """

    def __init__(self, runner: Executor) -> None:
        self._runner = runner
        self._opened: OpenTransaction | None = None
        self._prepared: tuple[FileRun | None, SingleMessage | None] = None, None

    def apply(
        self, work: FileRun, *, following: Callable[[], FileRun | None] = lambda: None
    ) -> tuple[MigrationApplied, ...]:
        """Carry out one file in a transaction of its own; () when another runner did it first.

        On a lock timeout, a deadlock or a serialization failure it is rolled back and run again. `following` is the
        work that `apply` will be called with next, when it can be told. Raises MigrationFailed, LockBusy.
        """
        known, small = self._prepared
        if known is not work:
            small = compose_single_message(self._runner, work)

        def prepare() -> FileRun | None:
            """What follows, unless it will have its own message from BEGIN to COMMIT."""
            after = following()
            if after and after is not self._prepared[0]:
                self._prepared = after, compose_single_message(self._runner, after)
            return after if after and not self._prepared[1] else None

        if small:
            message = small
            return self._with_retries(lambda: run_single_message(self._runner, message, prepare))
        group = FileGroup(file_runs=(work,))
        return self._with_retries(lambda: self._apply_groups(iter([group]), prepare))

    def apply_all(self, todo: Iterable[FileRun]) -> tuple[MigrationApplied, ...]:
        """Carry out several files, at least one, in one transaction: all or none. Those that others did are left out.

        As `apply`; `todo` is gone through once more for every attempt.
        """

        def attempt() -> tuple[MigrationApplied, ...]:
            try:
                return self._apply_groups(group_files(self._runner, todo))
            except ClaimConflict:
                return self._apply_groups(group_files(self._runner, todo, singly=True))

        return self._with_retries(attempt)

    def _with_retries(self, attempt: Callable[[], tuple[MigrationApplied, ...]]) -> tuple[MigrationApplied, ...]:
        try:
            return run_with_retries(self._runner, attempt)
        except BaseException:
            self._opened = None
            raise

    def _apply_groups(
        self, groups: Iterator[FileGroup], following: Callable[[], FileRun | None] = lambda: None
    ) -> tuple[MigrationApplied, ...]:
        runner = self._runner
        applied: list[MigrationApplied] = []
        last: FileRun | None = None
        opened: OpenTransaction | None = None
        ahead = deque([next(groups)])

        def prepare() -> None:
            ahead.extend(itertools.islice(groups, 1))
            following()

        group = ahead[0]
        try:
            opened = self._begin_group(group)
            while ahead:
                group = ahead.popleft()
                opened = opened or _claim_group(runner, group)
                if opened.xid is None:
                    skip_claimed_file(group)
                    opened = None
                else:
                    last = group.file_runs[-1]
                    done, opened = _run_group(runner, group, opened.xid, prepare)
                    applied += done
                if not ahead:
                    prepare()
            began = time.monotonic()
            self._commit(last, following())
            applied[-1:] = [replace(one, seconds=one.seconds + time.monotonic() - began) for one in applied[-1:]]
        except psycopg.Error as error:
            current = migration_under_way(group, runner.protocol.statements_done)
            if runner.session.connection.broken:
                raise connection_lost_error(current, error) from error
            raise server_error(current, error) from error
        finally:
            if not self._opened:
                roll_back_transaction(runner)
        for one in applied:
            runner.observer(one)
        return tuple(applied)

    def _begin_group(self, group: FileGroup) -> OpenTransaction:
        """The transaction for a group, which the commit before it may have opened."""
        opened, self._opened = self._opened, None
        if opened and opened.file_run is group.file_runs[0]:
            return opened
        roll_back_transaction(self._runner)
        with claim_conflicts_raised(self._runner, group.file_runs):
            return begin_transaction(self._runner, *group.file_runs)

    def _commit(self, last: FileRun | None, following: FileRun | None) -> None:
        """Commit, and open the transaction of the work that follows, if one can follow in the same message."""
        runner = self._runner
        witness = runner.hooks
        if witness:
            witness.committing()
        statements: tuple[bytes, ...] = ()
        # A BEGIN of the file's own may say what has to be said before anything else in the transaction.
        if following and following.script.begin_sql == b"BEGIN" and not runner.session.pooled and not witness:
            statements = (b"BEGIN", *head_statements(runner, following))
        results = commit_transaction(runner, last, opening=statements)
        if following and results:
            self._opened = OpenTransaction(following, claimed_xid(results))
        if witness:
            witness.ended()


def _claim_group(runner: Executor, group: FileGroup) -> OpenTransaction:
    with claim_conflicts_raised(runner, group.file_runs):
        return claim_in_transaction(runner, *group.file_runs)


def _run_group(
    runner: Executor, group: FileGroup, xid: str, meanwhile: Callable[[], object]
) -> tuple[list[MigrationApplied], OpenTransaction | None]:
    """Run files the first of which is claimed; in the same message, where it can be, claim the one behind them.

    `meanwhile` is called while the server works.
    """
    if len(group.file_runs) > 1:
        return run_shared_message(runner, group, xid, meanwhile)
    work, upcoming = group.file_runs[0], group.upcoming
    began = time.monotonic()
    runner.observer(MigrationStarted(migration=work.migration, script=work.script))
    behind = tail_statements(work)
    if runner.hooks:
        runner.hooks.begun(runner.session, work.migration, work.script)
        upcoming = ()  # whose claim is none of this file's doing
    if upcoming:
        behind = (*behind, *statements_between_files(runner), *head_statements(runner, *upcoming))
    try:
        rows = _run_file_statements(runner, work, behind, meanwhile)
    except psycopg.Error as error:
        if upcoming and runner.protocol.rows and not runner.session.connection.broken:
            # This file had come to its end.
            raise (ClaimConflict() if len(upcoming) > 1 else server_error(upcoming[0].migration, error)) from error
        raise
    verify_claim(work, runner.ledger, xid, rows[0])
    seconds = time.monotonic() - began
    applied = MigrationApplied(migration=work.migration, seconds=seconds, statements=work.script.statement_count)
    return [applied], OpenTransaction(upcoming[0], claimed_xid(rows[1:])) if upcoming else None


def _run_file_statements(
    runner: Executor, work: FileRun, behind: Sequence[bytes], meanwhile: Callable[[], object]
) -> list[pq.abc.PGresult]:
    migration = work.migration
    try:
        with open_script(work.script, migration.path) as reading:
            rows = runner.run_statements(migration, work.script, reading.parts, behind=behind, meanwhile=meanwhile)
    except OSError as error:
        raise refused_error(migration, f"cannot be read any more: {error.strerror}") from error
    if reading.checksum() != migration.checksum:
        raise refused_error(migration, "changed while it ran; run inv db.migrate again")
    return rows
