"""db.preflight: what would be in the way of the pending files now. Reads catalogs and statistics only.

Sessions are never terminated: each obstacle says what ends it.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kernel.db.connection import current_role
from kernel.db.sessions import SESSION_DESCRIPTION
from kernel.errors import LockBusy
from kernel.lint.lock_modes import LOCK_MODE_NAMES, modes_conflict
from kernel.sql.passwords import mask_passwords
from kernel.units import format_bytes, format_quantity, format_seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from kernel.db.connection import Session
    from kernel.lint.expected_locks import ExpectedLock

_OLD_TRANSACTION_SECONDS = 60
_REPLICA_SECONDS = 10
_REPLICA_BYTES = 64 << 20
_FEW_CONNECTIONS = 3
_FREEZE_SHARE = 0.95  # of autovacuum_freeze_max_age
_POLL_SECONDS = 1.0
_LOOPBACK = ("", "localhost", "127.0.0.1", "::1")

# The relations of the files: with partitions and children, and with the tables that foreign keys connect to a dropped
# one. `related` are the tables of indexes and the indexes of tables. `number` counts the expected locks from 1.
_RELATIONS = """
WITH RECURSIVE named AS (
  SELECT number, drops, c.oid
  FROM unnest(%(names)s::text[], %(drops)s::boolean[]) WITH ORDINALITY AS wanted (name, drops, number)
  JOIN (pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace)
    ON n.nspname || '.' || c.relname = name OR (c.relname = name AND pg_table_is_visible(c.oid))
), connected AS (
  SELECT number, oid FROM named
  UNION SELECT number, CASE named.oid WHEN conrelid THEN confrelid ELSE conrelid END
  FROM named JOIN pg_constraint ON named.oid IN (conrelid, confrelid) WHERE drops AND contype = 'f'
), family AS (
  SELECT number, oid FROM connected
  UNION SELECT number, inhrelid FROM family JOIN pg_inherits ON inhparent = oid
), locked AS (
  SELECT number, oid, false AS related FROM family
  UNION SELECT number, indrelid, true FROM family JOIN pg_index ON indexrelid = oid
  UNION SELECT number, indexrelid, true FROM family JOIN pg_index ON indrelid = oid
)
"""
_LOCKS = f"""{_RELATIONS}
SELECT number, related, locked.oid::regclass::text, l.mode, l.granted, coalesce(l.pid, 0), {SESSION_DESCRIPTION},
  CASE WHEN x.gid IS NOT NULL THEN quote_literal(x.gid) WHEN a.application_name = 'pg_dump' THEN 'pg_dump'
    WHEN a.query ~ '^autovacuum: .*\\(to prevent wraparound\\)' THEN 'wraparound'
    WHEN a.backend_type = 'autovacuum worker' THEN 'autovacuum' ELSE '' END
FROM locked
JOIN pg_locks l ON l.locktype = 'relation' AND l.relation = locked.oid
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
CROSS JOIN LATERAL (SELECT l.pid) AS holder (session_pid)
LEFT JOIN pg_stat_activity a ON a.pid = session_pid
-- Until the next restart the locks of a prepared transaction carry the virtual id of the session that prepared it.
LEFT JOIN pg_locks own ON l.pid IS NULL AND own.pid IS NULL AND own.locktype = 'transactionid'
  AND own.virtualtransaction = l.virtualtransaction
LEFT JOIN pg_prepared_xacts x ON x.transaction = own.transactionid
WHERE l.pid IS DISTINCT FROM pg_backend_pid()
ORDER BY number, l.granted DESC, a.xact_start, l.pid, related
"""  # noqa: S608 - built from constants
_FREEZE_DUE = f"""{_RELATIONS}
SELECT DISTINCT c.oid::regclass::text, age(c.relfrozenxid)
FROM locked JOIN pg_class c ON c.oid = locked.oid
WHERE c.relkind IN ('r', 'm') AND age(c.relfrozenxid) > %(share)s * current_setting('autovacuum_freeze_max_age')::bigint
ORDER BY 1
"""  # noqa: S608 - built from constants
# Of one role's sessions the server shows xact_start to itself, its members and pg_read_all_stats only.
_TRANSACTIONS = f"""
SELECT a.pid, {SESSION_DESCRIPTION}, extract(epoch FROM clock_timestamp() - a.xact_start)::float8,
  a.backend_xmin IS NOT NULL, a.application_name = 'pg_dump', a.backend_start IS NULL
FROM pg_stat_activity a CROSS JOIN LATERAL (SELECT a.pid) AS other (session_pid)
WHERE a.datname = current_database() AND a.pid <> pg_backend_pid()
  AND coalesce(a.backend_type, 'client backend') = 'client backend'
  AND (a.backend_start IS NULL OR a.xact_start < clock_timestamp() - make_interval(secs => %s) OR
       (a.application_name = 'pg_dump' AND a.xact_start IS NOT NULL))
ORDER BY a.xact_start, a.pid
"""  # noqa: S608 - built from constants
_PREPARED = """
SELECT quote_literal(gid), owner, extract(epoch FROM clock_timestamp() - prepared)::float8
FROM pg_prepared_xacts WHERE database = current_database() ORDER BY prepared, gid
"""
# The lag is NULL for a role that is not a member of pg_monitor. A standby has no pg_current_wal_lsn().
_REPLICAS = """
SELECT coalesce(nullif(application_name, ''), 'unnamed'), coalesce(host(client_addr), 'local'),
  coalesce(extract(epoch FROM replay_lag), 0)::float8,
  coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn), 0)::bigint
FROM pg_stat_replication WHERE NOT pg_is_in_recovery() ORDER BY pid
"""
_NO_SYNCHRONOUS_STANDBY = """
SELECT current_setting('synchronous_standby_names') FROM (SELECT count(*) AS number FROM pg_stat_replication
  WHERE sync_state IN ('sync', 'quorum')) AS synchronous
WHERE number = 0 AND current_setting('synchronous_standby_names') <> ''
  AND current_setting('synchronous_commit') NOT IN ('off', 'local')
"""
_CONNECTIONS = """
SELECT current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
  - coalesce(current_setting('reserved_connections', true), '0')::int
  - (SELECT count(*) FROM pg_stat_activity WHERE coalesce(backend_type, 'client backend') = 'client backend')
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Obstacle:
    """Something in the way of a run, and what ends it.

    `blocks`: the run would wait for it, or not succeed; otherwise it may make things worse. `kind` is a stable word.
    `filename` and `line` are the place of the statement that would wait, "" and None when it is about the whole run.
    `pid` is 0 when it is not a session.
    """

    kind: str
    message: str
    remedy: str
    blocks: bool = False
    relation: str = ""
    filename: str = ""
    line: int | None = None
    pid: int = 0


def find_obstacles(
    session: Session, locks: Sequence[ExpectedLock], *, needed_bytes: int | None = None
) -> tuple[Obstacle, ...]:
    """What would be in the way of files that take these locks, first what blocks.

    `needed_bytes` is the free disk space that a rehearsal measured, None if none did.
    Raises psycopg.Error when a catalog cannot be read.
    """
    found = [
        *_lock_obstacles(session, locks),
        *_freeze_obstacles(session, locks),
        *_transaction_obstacles(session, waited_for=any(lock.concurrently for lock in locks)),
        *_replica_obstacles(session),
        *_space_obstacles(session, needed_bytes),
        *_connection_obstacles(session),
    ]
    # A session that holds a lock is named once, with the lock.
    holders = {one.pid for one in found if one.pid and one.relation}
    kept = [one for one in found if not (one.pid in holders and not one.relation)]
    return tuple(sorted(kept, key=lambda one: not one.blocks))


def _parameters(locks: Sequence[ExpectedLock]) -> dict[str, list[str] | list[bool]]:
    return {"names": [lock.relation for lock in locks], "drops": [lock.drops for lock in locks]}


def _lock_obstacles(session: Session, locks: Sequence[ExpectedLock]) -> Iterator[Obstacle]:
    """An obstacle for each session with locks that conflict with those of the files, at the first of its relations."""
    relations: dict[tuple[int, str], list[str]] = {}
    first: dict[tuple[int, str], tuple[ExpectedLock, Any]] = {}
    for row in session.connection.execute(_LOCKS.encode(), _parameters(locks)).fetchall():
        number, related, relation, held_mode, _granted, pid, _description, sort = row
        lock = locks[number - 1]
        mode = lock.related_mode if related else lock.mode
        if not mode or held_mode not in LOCK_MODE_NAMES or not modes_conflict(mode, LOCK_MODE_NAMES[held_mode]):
            continue
        key = (pid, sort if not pid else "")
        first.setdefault(key, (lock, row))
        if relation not in relations.setdefault(key, []):
            relations[key].append(relation)
    for key, (lock, row) in first.items():
        yield _lock_obstacle(lock, row, others=len(relations[key]) - 1)


def _lock_obstacle(lock: ExpectedLock, row: Sequence[Any], *, others: int) -> Obstacle:
    _number, related, relation, held_mode, granted, pid, description, sort = row
    mode = lock.related_mode if related else lock.mode
    who = mask_passwords(description) if pid else f"the prepared transaction {sort}"
    verb = "holds" if granted else "waits for"
    more = f", and locks on {format_quantity(others, 'more relation')}" if others else ""
    kind, remedy, blocks = "lock", f"let it end, or end it: SELECT pg_terminate_backend({pid})", True
    if not pid:
        kind, remedy = "prepared-transaction", f"end it: COMMIT PREPARED {sort} or ROLLBACK PREPARED {sort}"
    elif sort == "pg_dump":
        kind, remedy = "dump", "wait until the dump is done"
    elif sort == "wraparound":
        kind, remedy = "vacuum", "wait until it is done; ending it lets it begin again"
    elif sort == "autovacuum":
        kind, remedy, blocks = "vacuum", "none needed: autovacuum gives way to a lock request", False
    return Obstacle(
        kind=kind,
        message=f"{relation}: {mode} would wait for {who}, which {verb} {LOCK_MODE_NAMES[held_mode]}{more}",
        remedy=remedy,
        blocks=blocks,
        relation=relation,
        filename=lock.filename,
        line=lock.line,
        pid=pid,
    )


def _freeze_obstacles(session: Session, locks: Sequence[ExpectedLock]) -> Iterator[Obstacle]:
    parameters = {**_parameters(locks), "share": _FREEZE_SHARE}
    for relation, age in session.connection.execute(_FREEZE_DUE.encode(), parameters).fetchall():
        yield Obstacle(
            kind="vacuum",
            message=f"{relation}: a vacuum to prevent wraparound, which does not give way, is due "
            f"({format_quantity(age, 'transaction')} old)",
            remedy=f"run VACUUM (FREEZE) {relation} before",
            relation=relation,
        )


def _transaction_obstacles(session: Session, *, waited_for: bool) -> Iterator[Obstacle]:
    """Transactions that are old, dumps, prepared transactions, and sessions that this role cannot see."""
    hidden = 0
    rows = session.connection.execute(_TRANSACTIONS.encode(), (_OLD_TRANSACTION_SECONDS,)).fetchall()
    for pid, description, seconds, has_snapshot, is_dump, is_hidden in rows:
        if is_hidden:
            hidden += 1
            continue
        waits = waited_for and has_snapshot
        effect = "CREATE or DROP INDEX CONCURRENTLY waits for it" if waits else "keeps old rows from being vacuumed"
        yield Obstacle(
            kind="dump" if is_dump else "transaction",
            message=f"a transaction of {format_seconds(seconds)}: {mask_passwords(description)}; {effect}",
            remedy="wait until the dump is done"
            if is_dump
            else f"let it end, or end it: SELECT pg_terminate_backend({pid})",
            blocks=waits,
            pid=pid,
        )
    if hidden:
        yield Obstacle(
            kind="hidden-sessions",
            message=f"{format_quantity(hidden, 'session')} of other roles cannot be looked into",
            remedy=f"let an administrator run: GRANT pg_read_all_stats TO {current_role(session)}",
        )
    for gid, owner, seconds in session.connection.execute(_PREPARED).fetchall():
        yield Obstacle(
            kind="prepared-transaction",
            message=f"the prepared transaction {gid} of role {owner} is {format_seconds(seconds)} old",
            remedy=f"end it: COMMIT PREPARED {gid} or ROLLBACK PREPARED {gid}",
            blocks=waited_for,
        )


def _replica_obstacles(session: Session) -> Iterator[Obstacle]:
    for name, host, seconds, size in session.connection.execute(_REPLICAS).fetchall():
        if seconds > _REPLICA_SECONDS or size > _REPLICA_BYTES:
            lag = f"{format_seconds(seconds)} and {format_bytes(size)}"
            yield Obstacle(
                kind="replica",
                message=f"the replica {name} ({host}) has a replay lag of {lag}",
                remedy="wait until it has caught up; a large change would increase the lag",
            )
    for (names,) in session.connection.execute(_NO_SYNCHRONOUS_STANDBY).fetchall():
        yield Obstacle(
            kind="replica",
            message=f"no synchronous standby is connected, and synchronous_standby_names is {names}: COMMIT would wait",
            remedy="connect the standby, or change synchronous_standby_names",
            blocks=True,
        )


def _space_obstacles(session: Session, needed_bytes: int | None) -> Iterator[Obstacle]:
    if needed_bytes is None:
        return
    free = _free_bytes(session)
    if free is None:
        yield Obstacle(
            kind="disk",
            message=f"the rehearsal needed {format_bytes(needed_bytes)}; free space is not visible from here",
            remedy="look on the server itself",
        )
    elif free < needed_bytes:
        yield Obstacle(
            kind="disk",
            message=f"the rehearsal needed {format_bytes(needed_bytes)}, and the server has {format_bytes(free)} free",
            remedy="make room first",
            blocks=True,
        )


def _free_bytes(session: Session) -> int | None:
    """Free space for the data of a server on this machine; None for another one, or when its directory is hidden."""
    host = session.connection.info.host
    if not (host in _LOOPBACK or host.startswith(("/", "@"))):
        return None
    row = session.connection.execute(
        "SELECT setting FROM pg_settings WHERE name = 'data_directory'"  # no row for a role that may not see it
    ).fetchone()
    try:
        # A tunnel or a container ends at another machine, on which the server's pid means another process.
        is_local = Path(f"/proc/{session.backend_pid}/comm").read_text(encoding="ascii").startswith("postgres")
        state = os.statvfs(row[0]) if row and is_local else None
    except OSError:
        return None
    return state.f_bavail * state.f_frsize if state else None


def _connection_obstacles(session: Session) -> Iterator[Obstacle]:
    ((left,),) = session.connection.execute(_CONNECTIONS).fetchall()
    if left < _FEW_CONNECTIONS:
        yield Obstacle(
            kind="connections",
            message=f"{format_quantity(max(0, left), 'connection')} left on the server; a run uses up to 2",
            remedy="close other connections, or raise max_connections",
        )


def wait_until_calm(
    session: Session,
    locks: Sequence[ExpectedLock],
    *,
    wait_seconds: float,
    waiting: Callable[[Sequence[Obstacle], float], None],
) -> None:
    """Wait until nothing blocks files that take these locks, at most `wait_seconds`.

    `waiting` is called with what blocks and the seconds waited. Raises LockBusy, which names what is in the way.
    """
    began = time.monotonic()
    while blocking := [one for one in find_obstacles(session, locks) if one.blocks]:
        waited = time.monotonic() - began
        if waited >= wait_seconds:
            lines = "\n".join(f"  {one.message}; {one.remedy}" for one in blocking)
            raise LockBusy(f"not started: {session.name} was not calm for {format_seconds(waited)}:\n{lines}")
        waiting(blocking, waited)
        time.sleep(min(_POLL_SECONDS, wait_seconds - waited))
