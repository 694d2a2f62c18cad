"""Connecting with psycopg: sessions, their settings, and errors with a remedy. No message contains a password."""

from __future__ import annotations

import os
import re
import socket
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import PGconn, Ping

from kernel.config.ledger_name import DEFAULT_LEDGER
from kernel.config.settings import URL_NAMES
from kernel.db.missing_grant import INSUFFICIENT_PRIVILEGE, missing_grant
from kernel.db.pooler import pooler_dedicates_session
from kernel.errors import DatabaseRefused, DatabaseUnreachable, Problem, SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from kernel.config.ledger_name import LedgerName
    from kernel.config.settings import Settings

Connection = psycopg.Connection[tuple[Any, ...]]

_CONNECT_SECONDS = 10
_LOCK_NOT_AVAILABLE = "55P03"
_END_SECONDS = 1.0
# NULL where the server's version has no such setting.
_OTHER_TIMEOUTS = """
SELECT name FROM unnest(ARRAY['idle_session_timeout', 'idle_in_transaction_session_timeout', 'transaction_timeout'])
AS name WHERE current_setting(name, true) <> '0'
"""
# While a server or its network starts, and when all of its sessions are taken.
_PASSING_REASON = re.compile(
    r"Connection refused|on socket .* failed: No such file|could not translate host name|failed to resolve host"
    r"|Network is unreachable|No route to host|timeout expired|connection timeout|Connection reset by peer"
    r"|server closed the connection unexpectedly|too many clients|remaining connection slots|too many connections"
)
_WAIT_POLL_SECONDS = 0.25
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
# where the default of the system is two hours. Both ends probe: the client here, the server by CLIENT_KEEPALIVES.
_KEEPALIVES = {"keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3}
CLIENT_KEEPALIVES = tuple(b"SET tcp_%b = %d" % (name.encode(), value) for name, value in _KEEPALIVES.items())
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
    session = start_session(url, variable=variable, role=role, migrations_table=migrations_table)
    try:
        with translate_errors(session.connection, session.name):
            yield session
    finally:
        end_session(session.connection)


def start_session(
    url: str, *, variable: str = "the URL", role: str = "", migrations_table: LedgerName = DEFAULT_LEDGER
) -> Session:
    """Connect as `open_session` does, for a session that the caller ends with `end_session`."""
    connection = open_connection(url, variable=variable)
    name = f"{connection.info.host}:{connection.info.port}/{connection.info.dbname}"
    try:
        with translate_errors(connection, name):
            session = replace(_inspect_session(connection, url, name), migrations_table=migrations_table)
            return _set_role(session, role) if role else session
    except BaseException:
        end_session(connection)
        raise


def end_session(connection: Connection) -> None:
    """Close a connection, and wait until the server has ended its session, for a second at most.

    A server ends a session a moment after its client has left; until then it counts against limits of connections, and
    keeps its locks.
    """
    ended: socket.socket | None = None
    if not connection.closed:
        with suppress(OSError):  # a system that cannot duplicate a socket
            ended = socket.socket(fileno=os.dup(connection.fileno()))
    connection.close()
    if ended is None:
        return
    deadline = time.monotonic() + _END_SECONDS
    with ended, suppress(OSError):  # TimeoutError is one
        while (left := deadline - time.monotonic()) > 0:
            ended.settimeout(left)
            if not ended.recv(4096):
                return


@contextmanager
def translate_errors(connection: Connection, name: str) -> Iterator[None]:
    """Raise DatabaseUnreachable or DatabaseRefused for a psycopg.Error in the block; `name` is the database's."""
    try:
        yield
    except psycopg.Error as error:
        raise _refused_error(connection, name, error) from error


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
    grant = _connect_grant(text, error.pgconn.user.decode(errors="replace") if error.pgconn else "")
    return DatabaseUnreachable(text, hint=grant or (causes[0] if causes else "check the URL with psql"))


def _connect_grant(message: str, user: str) -> str:
    """What lets a role connect that the server knows and does not admit; "" for other reasons."""
    if found := re.search(r'permission denied for database "([^"]+)"', message):
        database = format_identifier(found[1])
        return f"let the owner of the database run: GRANT CONNECT ON DATABASE {database} TO {format_identifier(user)}"
    if found := re.search(r'role "([^"]+)" is not permitted to log in', message):
        return f"let an administrator run: ALTER ROLE {format_identifier(found[1])} LOGIN"
    return ""


def _one_line(text: str) -> str:
    """The lines of a message of libpq as sentences on one."""
    lines = [" ".join(line.split()) for line in text.splitlines()]
    sentences = [line if line.endswith((".", "?", "!", ":", ",")) else f"{line}." for line in lines if line]
    return " ".join(sentences).removesuffix(".")


def _refused_error(connection: Connection, name: str, error: psycopg.Error) -> DatabaseUnreachable | DatabaseRefused:
    reason = error.diag.message_primary or " ".join(str(error).split())
    if connection.broken:
        return DatabaseUnreachable(f"{name}: the connection was lost: {reason}", hint="see the server's log")
    code = f" ({error.sqlstate})" if error.sqlstate else ""
    hint = missing_grant(connection, reason) if error.sqlstate == INSUFFICIENT_PRIVILEGE else ""
    if error.sqlstate == _LOCK_NOT_AVAILABLE:
        hint = (
            "another session has locked a table in ACCESS EXCLUSIVE mode; see pg_locks, and run again when it has ended"
        )
    return DatabaseRefused(f"{name}: {reason}{code}", hint=hint or error.diag.message_hint)


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
        pooled=pid != info.backend_pid and not pooler_dedicates_session(connection, pid, lambda: open_connection(url)),
        backend_pid=pid,
    )


def _read_backend_pid(connection: Connection) -> int:
    ((pid,),) = connection.execute("SELECT pg_backend_pid()").fetchall()
    return int(pid)


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
        *(() if session.connection.info.host.startswith(("/", "@")) else CLIENT_KEEPALIVES),
    )
    for runner_settings in ((*watch, *timeouts), timeouts):
        try:
            session.connection.execute(b"; ".join(runner_settings))
        except psycopg.errors.InvalidParameterValue:
            continue  # a server on a platform that cannot watch a socket; it notices a killed runner later
        return replace(session, runner_settings=(*session.runner_settings, *runner_settings))
    return session


def _other_timeouts(session: Session) -> list[bytes]:
    """The timeouts that the role or the database has set, and that would end a run between or in its statements."""
    return [name.encode() for (name,) in session.connection.execute(_OTHER_TIMEOUTS).fetchall()]


@contextmanager
def open_configured_session(
    settings: Settings, *, say: Callable[[str], None], wait_seconds: float = 0
) -> Iterator[Session]:
    """Connect to the database of the settings, or to the embedded development server when they name none.

    `say` receives a line about the embedded server and its data directory. A server that does not accept connections
    yet is waited for, at most `wait_seconds`; negative is without limit.

    Raises DatabaseUnreachable, ProgramsMissing, ServerFailed, DatabaseRefused, SettingsError.
    """
    with configured_database_url(settings, say=say) as url:
        variable = settings.database_variable or ""
        if wait_seconds:
            wait_for_server(url, variable=variable, seconds=wait_seconds, say=say)
        with open_session(
            url, variable=variable, role=settings.role, migrations_table=settings.migrations_table
        ) as session:
            yield session


def wait_for_server(url: str, *, variable: str, seconds: float, say: Callable[[str], None]) -> None:
    """Wait until the server accepts a connection, at most `seconds`; negative is without limit.

    `say` receives a line with the reason, whenever it changes. Raises DatabaseUnreachable with the last reason, at once
    for one that waiting does not change, such as a wrong password; SettingsError.
    """
    deadline = time.monotonic() + seconds
    shown = ""
    while True:
        try:
            open_connection(url, variable=variable).close()
        except DatabaseUnreachable as error:
            if (seconds >= 0 and time.monotonic() >= deadline) or not _may_accept_later(url, str(error)):
                raise
            if shown != str(error):
                shown = str(error)
                say(f"waiting for the server: {shown}")
            time.sleep(_WAIT_POLL_SECONDS)
        else:
            return


def _may_accept_later(url: str, reason: str) -> bool:
    """Whether a connection was refused for a reason that passes by itself when a server, or its network, has started.

    libpq's own messages are in English. That the server is starting up it knows by the SQLSTATE, in any language.
    Source: PostgreSQL documentation, "PQping": PQPING_REJECT.
    """
    if _PASSING_REASON.search(reason):
        return True
    try:
        return PGconn.ping(url.encode()) == Ping.REJECT
    except psycopg.OperationalError:
        return False


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
