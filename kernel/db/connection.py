"""Connecting with psycopg: sessions, their settings, and errors with a remedy. No message contains a password."""

from __future__ import annotations

import re
import select
import time
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from kernel.config.ledger_name import DEFAULT_LEDGER
from kernel.config.settings import URL_NAMES
from kernel.errors import DatabaseRefused, DatabaseUnreachable, Problem, SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from kernel.config.ledger_name import LedgerName
    from kernel.config.settings import Settings

Connection = psycopg.Connection[tuple[Any, ...]]

_CONNECT_SECONDS = 10
_PROBE_ROUNDS = 3
_PROBE_SECONDS = 2.0
# NULL where the server's version has no such setting.
_OTHER_TIMEOUTS = """
SELECT name FROM unnest(ARRAY['idle_session_timeout', 'idle_in_transaction_session_timeout', 'transaction_timeout'])
AS name WHERE current_setting(name, true) <> '0'
"""
_PLAIN_NAME = re.compile(r"[a-z_][a-z0-9_$]*")
_REMEDY_BY_CAUSE = (
    ("password authentication failed", "check user and password of the URL"),
    ("no password supplied", "the URL needs a password, or PGPASSWORD or a .pgpass file has to give it"),
    (
        "no pg_hba.conf entry",
        "the server does not admit this user from here: see its pg_hba.conf, or add sslmode=require",
    ),
    ("root certificate file", "give sslrootcert of the URL the path of the file, or get the file from the provider"),
    ("private key file", "check sslkey of the URL, and that only you can read the file"),
    ("certificate", "check sslmode and sslrootcert of the URL"),
    ("definition of service", "check the service's name, and the file ~/.pg_service.conf or PGSERVICEFILE"),
    ("does not exist", "check the name in the URL, or create it with createdb or createuser"),
    (
        "Connection refused",
        "check that the server runs, and host and port of the URL; with no URL set, an embedded server is used",
    ),
    ("No such file or directory", "check that the server runs, and the socket directory"),
    ("could not translate host name", "check the host name in the URL"),
    ("failed to resolve host", "check the host name in the URL"),
    ("timeout", "check host and port of the URL, and that a firewall lets this machine through"),
    ("SSL", "check sslmode and sslrootcert of the URL"),
    ("too many clients", "wait, or close other connections"),
    ("remaining connection slots", "wait, or close other connections"),
)
# A machine that vanishes from the network closes no connection. Probes after 30 s of silence find it within a minute,
# where the default of the system is two hours. Both ends probe: the client here, the server by _CLIENT_KEEPALIVES.
_KEEPALIVES = {"keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3}
_CLIENT_KEEPALIVES = tuple(b"SET tcp_%b = %d" % (name.encode(), value) for name, value in _KEEPALIVES.items())
# The server notices within a second that a runner was killed, and lets go of its locks.
_CHECK_CLIENT_CONNECTION = b"SET client_connection_check_interval = '1s'"


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A connection in autocommit. `name` is host:port/dbname, without secrets.

    `pooled`: a pooler in between shares its sessions with other clients after each transaction; nothing may be left in
    them. A pooler in session mode gives a session for the whole connection, and is no matter.
    `backend_pid` is the server's, which a pooler does not pass on. `migrations_table` is the ledger's name.
    `runner_settings` are the statements that restore the settings of the runner after RESET ALL, `transaction_settings`
    those that set them in a transaction, where nothing may be left in the session. `role` is the one set
    after connecting, "" for the role that the connection began with.
    """

    connection: Connection
    url: str = field(repr=False)
    name: str
    pooled: bool
    backend_pid: int
    migrations_table: LedgerName = DEFAULT_LEDGER
    runner_settings: tuple[bytes, ...] = ()
    transaction_settings: tuple[bytes, ...] = ()
    role: str = ""

    @property
    def reset_role(self) -> tuple[bytes, ...]:
        """The statements that give a session the role of the runner again, whatever a file has set.

        RESET ROLE returns to the role that the connection began with. ROLE NONE would be the login, which may have no
        privileges: see "SET ROLE" in PostgreSQL's documentation.
        """
        return (b"RESET SESSION AUTHORIZATION", b"SET ROLE " + self._quoted_role if self.role else b"RESET ROLE")

    @property
    def local_role(self) -> tuple[bytes, ...]:
        """The same until the transaction ends, after which the session has the role of the file again."""
        role = self._quoted_role if self.role else b"TO DEFAULT"
        return (b"SET LOCAL SESSION AUTHORIZATION DEFAULT", b"SET LOCAL ROLE " + role)

    @property
    def _quoted_role(self) -> bytes:
        return sql.Identifier(self.role).as_bytes()


@contextmanager
def open_session(
    url: str, *, variable: str = "the URL", role: str = "", migrations_table: LedgerName = DEFAULT_LEDGER
) -> Iterator[Session]:
    """Connect, and close at the end; `variable` is what messages call the URL, `migrations_table` names the ledger.

    `role` is the role to set, if any.

    Raises DatabaseUnreachable, DatabaseRefused, or SettingsError when libpq cannot read the URL. A
    psycopg.Error that leaves the block becomes one of the first two.
    """
    connection = open_connection(url, variable=variable)
    name = f"{connection.info.host}:{connection.info.port}/{connection.info.dbname}"
    try:
        session = replace(_inspect_session(connection, url, name), migrations_table=migrations_table)
        yield _set_role(session, role) if role else session
    except psycopg.Error as error:
        raise _refused_error(name, error, lost=connection.broken) from error
    finally:
        connection.close()


def open_connection(url: str, *, variable: str = "the URL") -> Connection:
    """Open a connection in autocommit, without prepared statements, which poolers do not carry.

    `variable` is what messages call the URL. Raises DatabaseUnreachable, SettingsError.
    """
    try:
        parameters = conninfo_to_dict(url)
    except psycopg.ProgrammingError as error:
        # libpq quotes the part that it could not read, which may be the password.
        problem = Problem(message=f"{variable} is no connection URL that libpq reads; check its special characters")
        raise SettingsError([problem]) from error
    for name, value in {"connect_timeout": _CONNECT_SECONDS, **_KEEPALIVES}.items():
        parameters.setdefault(name, value)
    parameters["client_encoding"] = "UTF8"  # the encoding of the files, which are sent unchanged
    parameters.setdefault("application_name", "inv db")
    if "," in str(parameters.get("host", "")):
        parameters.setdefault("target_session_attrs", "read-write")
    try:
        return psycopg.connect(**parameters, autocommit=True, prepare_threshold=None)  # type: ignore[arg-type]  # ints and strings, as libpq takes them
    except psycopg.Error as error:
        raise _unreachable_error(error, parameters) from error


def _unreachable_error(error: psycopg.Error, parameters: Mapping[str, object]) -> DatabaseUnreachable:
    text = _one_line(str(error))
    if password := str(parameters.get("password") or ""):
        text = text.replace(password, "…")
    causes = [remedy for sign, remedy in _REMEDY_BY_CAUSE if sign in text]
    return DatabaseUnreachable(text, hint=causes[0] if causes else "check the URL with psql")


def _one_line(text: str) -> str:
    """The lines of a message of libpq as sentences on one."""
    lines = [" ".join(line.split()) for line in text.splitlines()]
    sentences = [line if line.endswith((".", "?", "!", ":", ",")) else f"{line}." for line in lines if line]
    return " ".join(sentences).removesuffix(".")


def _refused_error(name: str, error: psycopg.Error, *, lost: bool) -> DatabaseUnreachable | DatabaseRefused:
    reason = error.diag.message_primary or " ".join(str(error).split())
    if lost:
        return DatabaseUnreachable(f"{name}: the connection was lost: {reason}", hint="see the server's log")
    code = f" ({error.sqlstate})" if error.sqlstate else ""
    return DatabaseRefused(f"{name}: {reason}{code}", hint=error.diag.message_hint)


def _inspect_session(connection: Connection, url: str, name: str) -> Session:
    info = connection.info
    if info.parameter_status("standard_conforming_strings") == "off":
        raise DatabaseRefused(
            f"{name}: standard_conforming_strings is off, which changes what a backslash in a migration means; "
            "turn it on: ALTER DATABASE … SET standard_conforming_strings = on"
        )
    pid = _read_backend_pid(connection)
    return Session(
        connection=connection,
        url=url,
        name=name,
        pooled=pid != info.backend_pid and not _pooler_dedicates_session(connection, url, pid),
        backend_pid=pid,
    )


def _read_backend_pid(connection: Connection) -> int:
    ((pid,),) = connection.execute("SELECT pg_backend_pid()").fetchall()
    return int(pid)


def _pooler_dedicates_session(connection: Connection, url: str, pid: int) -> bool:
    """Whether a pooler keeps the server's session `pid` for this connection alone, as in session mode.

    In transaction mode the session is free between transactions. A second connection that begins a transaction then
    gets this session, which poolers prefer as the one used last, or another client has it, and this connection goes on
    in another one. In session mode neither happens, and a second connection for which the pool has no session left
    waits while this one is served. When in doubt the answer is False, which forbids more and harms nothing.
    """
    for _ in range(_PROBE_ROUNDS):
        try:
            other = open_connection(url)
        except (DatabaseUnreachable, SettingsError):
            return False
        try:
            other.pgconn.send_query(b"BEGIN; SELECT pg_backend_pid()")
            other_pid = _wait_for_pid(other, seconds=_PROBE_SECONDS)
            connection.pgconn.send_query(b"SELECT pg_backend_pid()")
            own_pid = _wait_for_pid(connection, seconds=_PROBE_SECONDS)
        except psycopg.Error:
            return False
        finally:
            other.close()
        if own_pid is None:  # it waited for the session of the other, which is free now
            _wait_for_pid(connection, seconds=None)
        if own_pid != pid or other_pid == pid:
            return False
        if other_pid is None:
            return True
    return True


def _wait_for_pid(connection: Connection, *, seconds: float | None) -> int | None:
    """The answer to a query for the pid; None when there is none within `seconds`. Raises psycopg.Error."""
    pgconn = connection.pgconn
    deadline = None if seconds is None else time.monotonic() + seconds
    pid: int | None = None
    while True:
        while pgconn.is_busy():
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            if not select.select([pgconn.socket], [], [], left)[0]:
                return None
            pgconn.consume_input()
        result = pgconn.get_result()
        if result is None:
            return pid
        if result.status == psycopg.pq.ExecStatus.FATAL_ERROR:
            raise psycopg.errors.error_from_result(result)
        if result.ntuples:
            pid = int(result.get_value(0, 0) or 0)


def _set_role(session: Session, role: str) -> Session:
    """Set a role for the session. Raises DatabaseRefused, with its remedy."""
    session = replace(session, role=role)
    name, user = format_identifier(role), format_identifier(session.connection.info.user)
    if session.pooled:
        raise DatabaseRefused(
            f"{session.name}: KERNEL_ROLE: a pooler shares its sessions, which keep no role; "
            f"set MIGRATION_DATABASE_URL to the server itself, or run: ALTER ROLE {user} SET role = {name}"
        )
    try:
        session.connection.execute(b"; ".join(session.reset_role))
    except psycopg.errors.InvalidParameterValue as error:
        raise DatabaseRefused(
            f"{session.name}: KERNEL_ROLE: there is no role {name}; correct the setting, or create the role"
        ) from error
    except psycopg.errors.InsufficientPrivilege as error:
        raise DatabaseRefused(
            f"{session.name}: KERNEL_ROLE: {user} may not become {name}; "
            f"let an administrator run: GRANT {name} TO {user}"
        ) from error
    return session


def current_role(session: Session) -> str:
    """The role whose privileges count in a session, quoted for a statement in a message."""
    try:
        ((role,),) = session.connection.execute("SELECT current_user").fetchall()
    except psycopg.Error:  # the transaction has failed
        role = session.role or session.connection.info.user
    return format_identifier(role)


def format_identifier(name: str) -> str:
    """An identifier for a statement in a message: quoted only where it needs quotes."""
    return name if _PLAIN_NAME.fullmatch(name) else sql.Identifier(name).as_string()


def with_runner_settings(session: Session, *, statement_timeout_ms: int) -> Session:
    """Set the settings of a runner; through a pooler, which shares its sessions, only in each transaction."""
    others = _other_timeouts(session)
    if session.pooled:
        return replace(session, transaction_settings=tuple(b"SET LOCAL %b = 0" % name for name in others))
    timeouts = (b"SET statement_timeout = %d" % statement_timeout_ms, *(b"SET %b = 0" % name for name in others))
    # A Unix socket has no keepalives.
    watch = (
        _CHECK_CLIENT_CONNECTION,
        *(() if session.connection.info.host.startswith(("/", "@")) else _CLIENT_KEEPALIVES),
    )
    for runner_settings in ((*watch, *timeouts), timeouts):
        try:
            session.connection.execute(b"; ".join(runner_settings))
        except psycopg.errors.InvalidParameterValue:
            continue  # a server on a platform that cannot watch a socket; it notices a killed runner later
        return replace(session, runner_settings=runner_settings)
    return session


def _other_timeouts(session: Session) -> list[bytes]:
    """The timeouts that the role or the database has set, and that would end a run between or in its statements."""
    return [name.encode() for (name,) in session.connection.execute(_OTHER_TIMEOUTS).fetchall()]


def refuse_read_only(session: Session) -> None:
    """Raise DatabaseRefused when the server takes no writes, or is a standby."""
    row = session.connection.execute(
        "SELECT pg_is_in_recovery(), current_setting('transaction_read_only') = 'on'"
    ).fetchone()
    if row and row[0]:
        raise DatabaseRefused(f"{session.name} is a standby, which takes no writes; give the URL of its primary")
    if row and row[1]:
        raise DatabaseRefused(
            f"{session.name} is read-only (default_transaction_read_only is on); "
            "give the URL of a server that takes writes"
        )


@contextmanager
def open_configured_session(settings: Settings, *, say: Callable[[str], None]) -> Iterator[Session]:
    """Connect to the database of the settings, or to the embedded development server when they name none.

    `say` receives a line about the embedded server and its data directory.

    Raises DatabaseUnreachable, ProgramsMissing, ServerFailed, DatabaseRefused, SettingsError.
    """
    with (
        configured_database_url(settings, say=say) as url,
        open_session(
            url,
            variable=settings.database_variable or "",
            role=settings.role,
            migrations_table=settings.migrations_table,
        ) as session,
    ):
        yield session


@contextmanager
def configured_database_url(settings: Settings, *, say: Callable[[str], None]) -> Iterator[str]:
    """The connection URL of `open_configured_session`; the server runs at least until the block ends.

    Raises ProgramsMissing, ServerFailed.
    """
    if settings.database_url is not None:
        if settings.database_variable not in URL_NAMES:
            say(f"no database URL is set: the database is that of {settings.database_variable}")
        yield settings.database_url
        return
    from kernel.postgres.development import development_server  # noqa: PLC0415 - production never needs it

    with development_server(settings.root, data_dir=settings.data_dir, bindir=settings.pg_bindir) as server:
        say(
            f"no database URL is set: embedded PostgreSQL ({server.programs.origin}), its data in {server.data}; "
            "set DATABASE_URL for another database"
        )
        yield server.url
