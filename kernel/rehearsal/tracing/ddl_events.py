"""Event triggers that tell of DDL wherever it hides: in DO blocks, in functions, in the cascade of a DROP.

They say it in messages to the client and write nothing: one that wrote to a table would break DROP INDEX CONCURRENTLY.
INFO, and not NOTICE, which pg_dump's files turn off (client_min_messages).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql

if TYPE_CHECKING:
    from kernel.db.connection import Connection


_SCHEMA = "aibos_kernel_witness"
_PREFIX = "aibos-kernel-witness"
_COMMAND, _REWRITE = "command", "rewrite"
# pg_event_trigger_ddl_commands() names each command and its object, pg_event_trigger_dropped_objects() what went:
# `original` is what was named, the others went along. Source: PostgreSQL documentation, "Event Trigger Functions".
_CREATE_SQL = f"""
CREATE SCHEMA {_SCHEMA};
CREATE FUNCTION {_SCHEMA}.ended() RETURNS event_trigger LANGUAGE plpgsql AS $$
DECLARE one pg_catalog.record;
BEGIN
  FOR one IN SELECT * FROM pg_catalog.pg_event_trigger_ddl_commands() LOOP
    RAISE INFO '{_PREFIX} {_COMMAND} %', pg_catalog.concat_ws(' ', one.command_tag, one.object_identity);
  END LOOP;
END $$;
CREATE FUNCTION {_SCHEMA}.dropped() RETURNS event_trigger LANGUAGE plpgsql AS $$
DECLARE one pg_catalog.record;
BEGIN
  FOR one IN SELECT * FROM pg_catalog.pg_event_trigger_dropped_objects() WHERE original LOOP
    RAISE INFO '{_PREFIX} {_COMMAND} DROP %',
      pg_catalog.concat_ws(' ', pg_catalog.upper(one.object_type), one.object_identity);
  END LOOP;
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
"""  # noqa: S608 - names of ours
_DROP_SQL = f"SET client_min_messages = error; DROP SCHEMA IF EXISTS {_SCHEMA} CASCADE"


@dataclass(frozen=True, slots=True)
class DdlEvent:
    """What a message of ours tells: a command ("ALTER TABLE public.orders"), or the OID of a table to be rewritten."""

    command: str = ""
    rewritten_oid: int = 0


def create_event_triggers(connection: Connection) -> str:
    """Make the event triggers in a database; "" or why they cannot be."""
    try:
        drop_event_triggers(connection)
        with connection.transaction():
            connection.execute(sql.SQL(_CREATE_SQL))
    except psycopg.Error as error:
        return f"DDL inside of DO blocks and functions is not told apart: {error.diag.message_primary or error}"
    return ""


def drop_event_triggers(connection: Connection) -> None:
    """Take them away. Raises psycopg.Error."""
    connection.execute(sql.SQL(_DROP_SQL))


def parse_ddl_notice(message: str) -> DdlEvent | None:
    """What one of our messages says; None for anybody else's."""
    prefix, _, said = message.partition(" ")
    if prefix != _PREFIX:
        return None
    what, _, value = said.partition(" ")
    if what == _REWRITE:
        return DdlEvent(rewritten_oid=int(value))
    return DdlEvent(command=value)
