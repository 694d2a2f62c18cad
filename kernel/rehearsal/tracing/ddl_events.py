"""Event triggers that report all DDL commands, also those in DO blocks, in functions and in the cascade of a DROP.

They send messages to the client and write nothing: a trigger that wrote to a table would break DROP INDEX CONCURRENTLY.
The level is INFO, and not NOTICE, which pg_dump's files turn off (client_min_messages).
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql

if TYPE_CHECKING:
    from kernel.db.connection import Connection


_SCHEMA = "aibos_kernel_trace"
_PREFIX = "aibos-kernel-trace"
_COMMAND, _REWRITE, _CASCADE = "command", "rewrite", "cascade"
# Of the dropped objects, `original` are those that the command named; the others were dropped with them.
# Source: PostgreSQL documentation, "Event Trigger Functions".
_CREATE_SQL = f"""
CREATE SCHEMA {_SCHEMA};
CREATE FUNCTION {_SCHEMA}.ended() RETURNS event_trigger LANGUAGE plpgsql AS $$
DECLARE event pg_catalog.record;
BEGIN
  FOR event IN SELECT * FROM pg_catalog.pg_event_trigger_ddl_commands() LOOP
    RAISE INFO '{_PREFIX} {_COMMAND} %', pg_catalog.concat_ws(' ', event.command_tag, event.object_identity);
  END LOOP;
END $$;
CREATE FUNCTION {_SCHEMA}.dropped() RETURNS event_trigger LANGUAGE plpgsql AS $$
DECLARE event pg_catalog.record; others pg_catalog.json;
BEGIN
  FOR event IN SELECT * FROM pg_catalog.pg_event_trigger_dropped_objects() WHERE original LOOP
    RAISE INFO '{_PREFIX} {_COMMAND} DROP %',
      pg_catalog.concat_ws(' ', pg_catalog.upper(event.object_type), event.object_identity);
  END LOOP;
  SELECT pg_catalog.json_agg(pg_catalog.concat_ws(' ', object_type, object_identity)) INTO others
  FROM pg_catalog.pg_event_trigger_dropped_objects() WHERE NOT original AND NOT is_temporary;
  IF others IS NOT NULL THEN
    RAISE INFO '{_PREFIX} {_CASCADE} %', others;
  END IF;
END $$;
CREATE FUNCTION {_SCHEMA}.rewriting() RETURNS event_trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE INFO '{_PREFIX} {_REWRITE} %', pg_catalog.int8(pg_catalog.pg_event_trigger_table_rewrite_oid());
END $$;
CREATE EVENT TRIGGER {_SCHEMA}_ended ON ddl_command_end EXECUTE FUNCTION {_SCHEMA}.ended();
CREATE EVENT TRIGGER {_SCHEMA}_dropped ON sql_drop EXECUTE FUNCTION {_SCHEMA}.dropped();
CREATE EVENT TRIGGER {_SCHEMA}_rewriting ON table_rewrite EXECUTE FUNCTION {_SCHEMA}.rewriting();
ALTER EVENT TRIGGER {_SCHEMA}_ended ENABLE ALWAYS;
ALTER EVENT TRIGGER {_SCHEMA}_dropped ENABLE ALWAYS;
ALTER EVENT TRIGGER {_SCHEMA}_rewriting ENABLE ALWAYS;
"""  # noqa: S608 - constants
_DROP_SQL = f"SET client_min_messages = error; DROP SCHEMA IF EXISTS {_SCHEMA} CASCADE"


def create_event_triggers(connection: Connection) -> str:
    """Create the event triggers in a database; the reason why they cannot be created, or ""."""
    try:
        drop_event_triggers(connection)
        with connection.transaction():
            connection.execute(sql.SQL(_CREATE_SQL))
    except psycopg.Error as error:
        return f"DDL inside DO blocks and functions is not traced: {error.diag.message_primary or error}"
    return ""


def drop_event_triggers(connection: Connection) -> None:
    """Drop the event triggers. Raises psycopg.Error."""
    connection.execute(sql.SQL(_DROP_SQL))


def parse_ddl_notice(message: str) -> str | int | tuple[str, ...] | None:
    """The event of a message: a command ("ALTER TABLE public.orders"), the OID of a rewritten table, dropped objects.

    None for a message that is not of these triggers.
    """
    prefix, _, event = message.partition(" ")
    if prefix != _PREFIX:
        return None
    kind, _, value = event.partition(" ")
    if kind == _CASCADE:
        return tuple(json.loads(value))
    return int(value) if kind == _REWRITE else value
