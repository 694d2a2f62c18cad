"""Refuse a database that takes no writes: a standby, or one where a setting makes every transaction read-only."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel.db.connection import format_identifier
from kernel.errors import DatabaseRefused

if TYPE_CHECKING:
    from kernel.db.connection import Session


_SETTING = "default_transaction_read_only"
# CASE: pg_settings builds a row for every setting of the server.
_READ_STATE = """
SELECT pg_is_in_recovery(), current_setting('transaction_read_only') = 'on',
  CASE WHEN current_setting('transaction_read_only') = 'on' THEN
    (SELECT source FROM pg_settings WHERE name = 'default_transaction_read_only' AND setting = 'on') END,
  session_user, current_database()
"""
# By the source in pg_settings: the command that takes the setting away, for the session's role and database.
_RESET_BY_SOURCE = {
    "database": "ALTER DATABASE {database} RESET",
    "user": "ALTER ROLE {role} RESET",
    "database user": "ALTER ROLE {role} IN DATABASE {database} RESET",
    "global": "ALTER ROLE ALL RESET",
}


def refuse_read_only(session: Session) -> None:
    """Raise DatabaseRefused when the server takes no writes, or is a standby."""
    if _is_reported_writable(session):
        return
    row = session.connection.execute(_READ_STATE).fetchone()
    if row is None:
        return
    is_standby, is_read_only, source, role, database = row
    if is_standby:
        raise DatabaseRefused(f"{session.name} is a standby, which takes no writes; give the URL of its primary")
    if is_read_only:
        remedy = _remedy(source, role=format_identifier(role), database=format_identifier(database))
        raise DatabaseRefused(f"{session.name} is read-only ({_SETTING} is on{remedy}")


def _is_reported_writable(session: Session) -> bool:
    """Whether the server has reported so by itself, as servers since 14 do; a pooler may pass on an old report."""
    info = session.connection.info
    reported = map(info.parameter_status, ("in_hot_standby", _SETTING))
    return info.backend_pid == session.backend_pid and list(reported) == ["off", "off"]


def _remedy(source: str | None, *, role: str, database: str) -> str:
    """Where the setting comes from, and what to do; in a read-only transaction the server resets nothing."""
    if source in _RESET_BY_SOURCE:
        reset = _RESET_BY_SOURCE[source].format(role=role, database=database)
        return (
            f", by {reset.removesuffix(' RESET')} SET); find out why, then turn it off in psql: "
            f"SET {_SETTING} = off; {reset} {_SETTING}"
        )
    if source == "client":
        return ", by the connection); take it out of the options of the URL, or of PGOPTIONS"
    return f"); find out why, and turn {_SETTING} off in the configuration of the server"
