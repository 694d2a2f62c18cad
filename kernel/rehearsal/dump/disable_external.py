"""Disable everything in a copy of production that would reach other systems.

Guarantees during a rehearsal, and how they are kept:

- Foreign tables: every foreign-data wrapper loses its handler, without which the server refuses to use its tables.
  That includes file_fdw, which reads files and runs programs.
- dblink accepts the name of a foreign server as a connection: the values of all options of servers and user mappings
  are replaced. Passwords are among them, and are therefore not in a copy that is kept.
- Subscriptions are disabled, without a slot, and have no address. Those of dumps are not restored.
- Jobs of pg_cron are deactivated; besides, the server would have to preload pg_cron to run them.
- A publication sends nothing without a subscriber. Event triggers stay enabled: production's migrations fire them too.
- COPY with a program, pg_read_file, lo_export and untrusted languages are refused to all roles except superusers and
  members of pg_execute_server_program and similar roles. Code of the dump never runs as one while it loads (see
  common.roles). If the rehearsal runs as a superuser, a trigger of the dump that a migration fires is that superuser:
  rehearse as an ordinary owner of the database where the migrations allow it. The server's account then is the limit.
- dblink to another address: refused to ordinary roles unless the address demands a password, and contains one. For
  superusers it is open, as is every extension that opens connections (http, plpython3u): these are named in a warning.
  A throwaway server listens on no network.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, LiteralString

from psycopg import sql

from kernel.db.connection import open_session

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kernel.db.connection import Connection


DISABLED = "disarmed"
_DISABLED_HOST = "/disarmed"  # a host that begins with a slash is a folder of sockets: no DNS query
_HOST = "host"

_WRAPPERS = "SELECT fdwname::text FROM pg_foreign_data_wrapper WHERE fdwhandler <> 0 OR fdwvalidator <> 0 ORDER BY 1"
_SERVERS = "SELECT srvname::text, coalesce(srvoptions, '{}') FROM pg_foreign_server ORDER BY 1"
_MAPPINGS = """
SELECT srvname::text, CASE umuser WHEN 0 THEN NULL ELSE usename::text END, coalesce(umoptions, '{}')
FROM pg_user_mappings ORDER BY 1, 2
"""
_SUBSCRIPTIONS = """
SELECT subname::text FROM pg_subscription
WHERE subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND (subenabled OR subslotname IS NOT NULL OR subconninfo <> %s) ORDER BY 1
"""
# Only the extension's table: on one that the dump created, its triggers would run as our user.
_CRON_JOBS = """
SELECT 1 FROM pg_attribute a
JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = a.attrelid AND d.deptype = 'e'
WHERE a.attrelid = to_regclass('cron.job') AND a.attname = 'active'
"""
_TRIGGER_STATES: dict[str, LiteralString] = {"O": "ENABLE", "R": "ENABLE REPLICA", "A": "ENABLE ALWAYS"}
_EVENT_TRIGGERS = "SELECT evtname::text, evtenabled::text FROM pg_event_trigger WHERE evtenabled <> 'D' ORDER BY 1"
_NETWORK_EXTENSIONS = (
    *("dblink", "http", "pg_net", "plpython3u", "plperlu", "pltclu", "plsh", "pljava", "aws_s3", "aws_lambda", "plr"),
    *("pgsql-http", "pg_background", "plproxy", "pgagent", "adminpack"),
)
_EXTENSIONS = "SELECT extname::text FROM pg_extension WHERE extname = ANY(%s) ORDER BY 1"


def disable_external_access(url: str) -> tuple[str, ...]:
    """Disable access to other systems in the copy at `url`; returns sentences on what was done and what remains.

    One transaction; () where there was nothing to do. Idempotent.
    Raises DatabaseUnreachable, and DatabaseRefused when the user is no superuser.
    """
    with open_session(url) as session:
        connection = session.connection
        # The copy may contain operators that match our queries better than PostgreSQL's (CVE-2018-1058).
        connection.execute("SET search_path = pg_catalog, pg_temp")
        with connection.transaction(), _event_triggers_disabled(connection):
            done = (
                *_disable_wrappers(connection),
                *_clear_servers(connection),
                *_clear_user_mappings(connection),
                *_disable_subscriptions(connection),
                *_disable_cron_jobs(connection),
            )
        return (*done, *_warn_of_extensions(connection))


@contextmanager
def _event_triggers_disabled(connection: Connection) -> Iterator[None]:
    """Event triggers would run their functions as our user; commands on event triggers fire none."""
    triggers = connection.execute(_EVENT_TRIGGERS).fetchall()
    for name, _ in triggers:
        connection.execute(sql.SQL("ALTER EVENT TRIGGER {} DISABLE").format(sql.Identifier(name)))
    yield
    for name, state in triggers:
        alter = sql.SQL("ALTER EVENT TRIGGER {} {}").format(sql.Identifier(name), sql.SQL(_TRIGGER_STATES[state]))
        connection.execute(alter)


def _disable_wrappers(connection: Connection) -> list[str]:
    names = [name for (name,) in connection.execute(_WRAPPERS).fetchall()]
    for name in names:
        # Without the validator, which would require a host, a file or a program that exists.
        alter = sql.SQL("ALTER FOREIGN DATA WRAPPER {} NO HANDLER NO VALIDATOR")
        connection.execute(alter.format(sql.Identifier(name)))
    return [f"foreign tables of {', '.join(names)} cannot be read or written"] if names else []


def _clear_servers(connection: Connection) -> list[str]:
    changed = []
    for name, options in connection.execute(_SERVERS).fetchall():
        alter = sql.SQL("ALTER SERVER {}").format(sql.Identifier(name))
        # Without a host, a connection would go to a server on this machine.
        if _replace_options(connection, alter, options, needed=(_HOST,)):
            changed.append(name)
    return [f"foreign servers have no address any more: {', '.join(changed)}"] if changed else []


def _clear_user_mappings(connection: Connection) -> list[str]:
    changed = []
    for server, user, options in connection.execute(_MAPPINGS).fetchall():
        role = sql.Identifier(user) if user else sql.SQL("PUBLIC")
        alter = sql.SQL("ALTER USER MAPPING FOR {} SERVER {}").format(role, sql.Identifier(server))
        if _replace_options(connection, alter, options, needed=()):
            changed.append(f"{user or 'PUBLIC'} on {server}")
    return [f"user mappings have no users and passwords any more: {', '.join(changed)}"] if changed else []


def _replace_options(
    connection: Connection, alter: sql.Composed, options: list[str], *, needed: tuple[str, ...]
) -> bool:
    """Replace the value of every option, and add those that are needed; returns whether anything changed."""
    current = dict(option.split("=", 1) for option in options)
    wanted = {name: _DISABLED_HOST if name == _HOST else DISABLED for name in (*current, *needed)}
    changes = [
        sql.SQL("{} {} {}").format(
            sql.SQL("SET" if name in current else "ADD"), sql.Identifier(name), sql.Literal(value)
        )
        for name, value in wanted.items()
        if current.get(name) != value
    ]
    if changes:
        connection.execute(sql.SQL("{} OPTIONS ({})").format(alter, sql.SQL(", ").join(changes)))
    return bool(changes)


def _disable_subscriptions(connection: Connection) -> list[str]:
    seen = connection.execute("SELECT has_column_privilege('pg_subscription', 'subconninfo', 'SELECT')").fetchone()
    if seen != (True,):
        return []  # a user who may not see them cannot create any, and dumps do not bring any
    address = f"host={_DISABLED_HOST} dbname={DISABLED}"
    names = [name for (name,) in connection.execute(_SUBSCRIPTIONS, (address,)).fetchall()]
    for name in names:
        alter = sql.SQL("ALTER SUBSCRIPTION {} ").format(sql.Identifier(name))
        connection.execute(alter + sql.SQL("DISABLE"))
        # Dropping a subscription with a slot would connect to the publisher, to drop the slot.
        connection.execute(alter + sql.SQL("SET (slot_name = NONE)"))
        connection.execute(alter + sql.SQL("CONNECTION {}").format(sql.Literal(address)))
    return [f"subscriptions are disabled and have no address any more: {', '.join(names)}"] if names else []


def _disable_cron_jobs(connection: Connection) -> list[str]:
    if not connection.execute(_CRON_JOBS).fetchone():
        return []
    count = connection.execute("UPDATE cron.job SET active = false WHERE active").rowcount
    return [f"jobs of pg_cron are switched off: {count}"] if count else []


def _warn_of_extensions(connection: Connection) -> list[str]:
    names = [name for (name,) in connection.execute(_EXTENSIONS, (list(_NETWORK_EXTENSIONS),)).fetchall()]
    return [f"extensions with which a superuser still reaches out: {', '.join(names)}"] if names else []
