"""The executor of a run: its session, ledger and observer; sending messages, and retries after lock conflicts."""

from __future__ import annotations

import random
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self, TypeVar

import psycopg
from psycopg.pq import DiagnosticField

from kernel.apply.events import (
    IndexBuildProgressed,
    MigrationRetrying,
    NoticeReceived,
    StatementBlocked,
    StatementRunning,
    WaitingForLock,
)
from kernel.apply.failures import error_field, error_position, locate_error, remedy_for_error
from kernel.apply.protocol import SimpleQueryProtocol
from kernel.db.connection import open_connection
from kernel.db.records import read_fingerprint
from kernel.db.sessions import SESSION_DESCRIPTION
from kernel.errors import KernelError, MigrationFailed
from kernel.sql.passwords import mask_passwords

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

    from psycopg import pq

    from kernel.apply.batches import BatchQueue, Message
    from kernel.apply.events import Observer, RunHooks
    from kernel.apply.protocol import Notice
    from kernel.db.advisory_lock import LockHolder
    from kernel.db.connection import Connection, Session
    from kernel.db.ledger import Ledger
    from kernel.db.records import LedgerFingerprint
    from kernel.migrations.migration import Migration


ResultT = TypeVar("ResultT")

_RETRYABLE_SQLSTATES = ("55P03", "40P01", "40001")  # lock not available, deadlock, serialization failure
_LONGEST_PAUSE_SECONDS = 10
_IDLE_SECONDS = 1.0
_APPLICATION_NAME_BYTES = 63  # PostgreSQL cuts an application_name there
# pid 0 is a prepared transaction: it holds a lock on what the session waits for, or is itself what it waits for. Its
# locks have no pid, and until the next restart the virtual id of the session that prepared it.
_BLOCKERS_QUERY = f"""
WITH blocker AS MATERIALIZED (SELECT DISTINCT unnest(pg_blocking_pids(%(pid)s)) AS session_pid), prepared AS (
  SELECT DISTINCT format('the prepared transaction %%L of %%s; '
    'end it: COMMIT PREPARED %%1$L or ROLLBACK PREPARED %%1$L', x.gid, x.owner) AS description
  FROM pg_prepared_xacts x
  JOIN pg_locks own ON own.pid IS NULL AND own.locktype = 'transactionid' AND own.transactionid = x.transaction
  JOIN pg_locks held ON held.pid IS NULL AND held.virtualtransaction = own.virtualtransaction
  JOIN pg_locks waits ON waits.pid = %(pid)s AND NOT waits.granted AND waits.locktype = held.locktype
    AND (waits.database, waits.relation, waits.page, waits.tuple, waits.transactionid, waits.classid, waits.objid)
      IS NOT DISTINCT FROM
      (held.database, held.relation, held.page, held.tuple, held.transactionid, held.classid, held.objid)
  WHERE EXISTS (SELECT FROM blocker WHERE session_pid = 0)
)
SELECT description FROM (
  SELECT {SESSION_DESCRIPTION} AS description, a.xact_start, session_pid
  FROM blocker LEFT JOIN pg_stat_activity a ON a.pid = session_pid WHERE session_pid <> 0
  UNION ALL SELECT description, NULL, 0 FROM prepared
  UNION ALL SELECT 'a prepared transaction (pg_prepared_xacts lists them)', NULL, 0 FROM blocker
  WHERE session_pid = 0 AND NOT EXISTS (SELECT FROM prepared)
) AS blocking ORDER BY xact_start, session_pid, description
"""  # noqa: S608 - built from constants
_INDEX_BUILD_QUERY = """
SELECT format('%%s: %%s%%s', coalesce(index_relid::regclass::text, relid::regclass::text), phase,
  CASE WHEN blocks_total > 0 THEN format(' %%s %%%%', 100 * blocks_done / blocks_total) END)
FROM pg_stat_progress_create_index WHERE pid = %(pid)s
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitLimits:
    """How long a run waits for other runners, for locks on tables, and for a statement. 0 ms is no limit.

    `retry_pause_seconds` is the pause before the first retry; it doubles from retry to retry. Without `batch_pauses` a
    backfill makes room for no one, as on a copy.
    """

    lock_wait_seconds: float = 60
    lock_timeout_ms: int = 5000
    lock_retries: int = 5
    retry_pause_seconds: float = 0.5
    statement_timeout_ms: int = 0
    batch_pauses: bool = True


class KnownFingerprint:
    """The fingerprint of the ledger between two transactions of a run. It is read once: this run alone has the lock."""

    def __init__(self) -> None:
        self._known: LedgerFingerprint | None = None

    def read(self, session: Session, ledger: Ledger) -> LedgerFingerprint:
        """The fingerprint, read from the table if it is not known."""
        self._known = self._known or read_fingerprint(session, ledger)
        return self._known

    def forget(self) -> None:
        """Read it again next time: something else than a claim may have changed the ledger."""
        self._known = None

    def add_claims(self, claims: int, xid: str) -> None:
        """A transaction, of which pg_current_xact_id() was `xid`, has committed with so many claims."""
        self._known = self._known and self._known.with_claims(claims, xid)


class SessionDefaults:
    """Whether a file has changed what a new session begins with: ALTER DATABASE or ALTER ROLE … SET.

    The session of the run keeps its own, such as its search_path; the next files are to run as they would alone.
    """

    # The settings of the database and the login; of other roles and databases they concern other sessions. As text,
    # since arrays of different lengths make no array.
    query = (
        b"SELECT pg_catalog.array_agg(setconfig::pg_catalog.text ORDER BY setdatabase, setrole)::pg_catalog.text "
        b"FROM pg_catalog.pg_db_role_setting WHERE setdatabase IN (0, (SELECT oid FROM pg_catalog.pg_database "
        b"WHERE datname = pg_catalog.current_database())) "
        b"AND setrole IN (0, pg_catalog.quote_ident(SESSION_USER)::pg_catalog.regrole)"
    )

    def __init__(self) -> None:
        self._first: bytes | None = None
        self._known = False
        self.changed = False

    def compare(self, current: bytes | None) -> None:
        """Compare the answer to the query with the first that was given."""
        self.changed = self._known and current != self._first
        if not self._known:
            self._first, self._known = current, True


@dataclass(frozen=True, slots=True, kw_only=True)
class Executor:
    """What running a file takes. `hooks`, if any, are called around every statement."""

    session: Session
    protocol: SimpleQueryProtocol
    ledger: Ledger
    waits: WaitLimits
    observer: Observer
    activity: ActivityMonitor = field(repr=False)
    hooks: RunHooks | None = None
    fingerprint: KnownFingerprint = field(default_factory=KnownFingerprint)
    session_defaults: SessionDefaults = field(default_factory=SessionDefaults)

    def read_session_defaults(self) -> None:
        """Read what a new session begins with, and compare it with the first time."""
        if not self.session.pooled:  # the sessions of a pooler are older than the run
            self.session_defaults.compare(self.protocol.query(SessionDefaults.query)[-1].get_value(0, 0))

    def report_waiting(self, holder: LockHolder) -> None:
        """Report that this run waits for another runner."""
        self.observer(WaitingForLock(holder=holder))

    def send(
        self,
        migration: Migration,
        message: Message,
        queue: BatchQueue | None = None,
        *,
        builds_index: bool = False,
        hooked: bool = True,
    ) -> pq.abc.PGresult | None:
        """Send a message of a migration; returns the error that stopped it.

        Afterwards `protocol.rows` has the rows of the last statement of the message's head and of the message itself.
        `queue` has the data of COPY, and prepares the next batch while the server works. Hooks are not called unless
        `hooked`.
        Raises psycopg.OperationalError when the connection is lost.
        """
        with self._monitor(migration, message, builds_index=builds_index, hooked=hooked):
            if message.batch.is_copy:
                return self.protocol.copy_in(message.text, queue.copy_data() if queue else ())
            keeps_rows = message.head or message.tail or message.batch.is_check
            kept = (len(message.head) - 1, message.count - 1) if keeps_rows else ()
            return self.protocol.run(message.text, kept=kept, meanwhile=queue.prepare_following if queue else None)

    def statement_error(
        self, migration: Migration, message: Message, error: pq.abc.PGresult, *, aftermath: str | None = None
    ) -> MigrationFailed | psycopg.Error:
        """The error that stopped a message, with its place and remedy; psycopg's for a statement of the runner."""
        place = message.locate(self.protocol.statements_done, error_position(error))
        if place is None:
            return psycopg.errors.error_from_result(error, encoding="utf-8")
        text, failure = locate_error(migration, message.batch, *place, error)
        function = error_field(error, DiagnosticField.SOURCE_FUNCTION)
        hint = remedy_for_error(failure.sqlstate, text, self.ledger, function=function)
        return MigrationFailed(text, failure=failure, aftermath=aftermath, hint=hint)

    @contextmanager
    def _monitor(self, migration: Migration, message: Message, *, builds_index: bool, hooked: bool) -> Iterator[None]:
        """Attribute notices to the statement of the message that runs, and report who blocks it."""

        def on_notice(statements_done: int, notice: Notice) -> None:
            part = message.part_at(statements_done)
            self.observer(
                NoticeReceived(
                    migration=migration,
                    severity=notice.severity,
                    message=notice.message,
                    line=part.line if part else None,
                    detail=notice.detail,
                )
            )

        done, since = 0, time.monotonic()

        def on_idle() -> None:
            nonlocal done, since
            if self.protocol.statements_done != done:
                done, since = self.protocol.statements_done, time.monotonic()
            seconds = time.monotonic() - since
            if phase := self.activity.index_build_progress() if builds_index else "":
                self.observer(IndexBuildProgressed(migration=migration, phase=phase, seconds=seconds))
            if blockers := self.activity.read_blockers():
                self.observer(StatementBlocked(migration=migration, blockers=blockers, seconds=seconds))
            elif not phase and (part := message.part_at(max(done, len(message.head)))):
                index, count = max(0, done - len(message.head)), len(message.batch.statements)
                self.observer(
                    StatementRunning(migration=migration, line=part.line, index=index, count=count, seconds=seconds)
                )

        hooks = self.hooks if hooked and message.batch.statements else None
        if hooks:
            hooks.before(message.batch)
        try:
            with self.protocol.monitored(idle=on_idle, notice=on_notice):
                yield
        finally:
            if hooks:
                hooks.after()


@contextmanager
def open_executor(
    session: Session,
    ledger: Ledger,
    *,
    waits: WaitLimits,
    observer: Observer,
    hooks: RunHooks | None = None,
    monitored: bool = True,
) -> Iterator[Executor]:
    """Yield an executor for a session. Blockers of a statement are looked up before lock_timeout ends the wait.

    Unless it is `monitored`, they are not, and no second connection is opened.
    """
    half_timeout = waits.lock_timeout_ms / 2000
    idle_seconds = min(_IDLE_SECONDS, half_timeout) if half_timeout else _IDLE_SECONDS
    with ActivityMonitor(session, opens_connection=monitored and not session.pooled) as activity:
        yield Executor(
            session=session,
            protocol=SimpleQueryProtocol(session.connection, idle_seconds=idle_seconds),
            ledger=ledger,
            waits=waits,
            observer=observer,
            activity=activity,
            hooks=hooks,
        )


def migration_application_name(migration: Migration) -> str:
    """The application_name of a session that runs a file, which runners that wait for the lock are shown."""
    return f"inv db.migrate {migration.filename}"[:_APPLICATION_NAME_BYTES]


def run_with_retries(executor: Executor, attempt: Callable[[], ResultT]) -> ResultT:
    """Retry `attempt` after a lock timeout, a deadlock or a serialization failure, at most `lock_retries` times.

    `attempt` rolls back when it fails; the pause between attempts grows. Sessions that hold a lock are never
    terminated. Raises what the last attempt raises.
    """
    for count in range(1, executor.waits.lock_retries + 1):
        executor.activity.reset_blockers()
        try:
            return attempt()
        except MigrationFailed as error:
            if error.failure.sqlstate not in _RETRYABLE_SQLSTATES:
                raise
            _pause_before_retry(executor, error, count)
    return attempt()


def _pause_before_retry(executor: Executor, error: MigrationFailed, count: int) -> None:
    longest = min(executor.waits.retry_pause_seconds * 2 ** (count - 1), _LONGEST_PAUSE_SECONDS)
    seconds = longest * random.uniform(0.5, 1)  # noqa: S311 - jitter, no secret
    executor.observer(
        MigrationRetrying(
            file=error.failure.file,
            attempt=count,
            attempts=executor.waits.lock_retries,
            reason=str(error),
            blockers=executor.activity.blockers,
            pause_seconds=seconds,
        )
    )
    time.sleep(seconds)


class ActivityMonitor:
    """Who blocks a session, and how far its index build is, read through a second connection.

    It is opened only when a statement takes long; without it a run loses these lines and nothing else. `blockers` are
    those seen last.
    """

    def __init__(self, session: Session, *, opens_connection: bool = True) -> None:
        self._session = session
        self._opens_connection = opens_connection
        self._connection: Connection | None = None
        self.blockers: tuple[str, ...] = ()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._connection:
            self._connection.close()

    def reset_blockers(self) -> None:
        """Forget the blockers of what ran before."""
        self.blockers = ()

    def read_blockers(self) -> tuple[str, ...]:
        """The sessions that block this one now, a line each; () when there is none, or it cannot be read."""
        lines = self._query_lines(_BLOCKERS_QUERY)
        self.blockers = lines or self.blockers
        return lines

    def index_build_progress(self) -> str:
        """How far the session's index build is; "" when it builds none."""
        return next(iter(self._query_lines(_INDEX_BUILD_QUERY)), "")

    def _query_lines(self, query: str) -> tuple[str, ...]:
        if not self._opens_connection:
            return ()
        try:
            if self._connection is None:
                self._connection = open_connection(self._session.url)
            rows = self._connection.execute(query.encode(), {"pid": self._session.backend_pid}).fetchall()
        except (psycopg.Error, KernelError):
            return ()
        return tuple(mask_passwords(str(row[0])) for row in rows)  # a line quotes the beginning of a query
