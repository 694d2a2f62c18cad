"""The state of a session that statements of a file leave to those after them, as the server lists it.

It includes what a DO block or a function made: objects in the temporary schema, settings and roles, prepared
statements, cursors WITH HOLD, and advisory locks of the session. It ends with the session, so that it is saved with the
progress of a file outside of a transaction, and compared with the session that goes on with the file.

The server has no list of custom settings (`app.tenant`): those are looked up that the file or a function of the
database sets by name. It lists neither the values of currval() and lastval(), which fail in another session, nor what
libraries and procedural languages keep in memory. LISTEN is left out, since no statement depends on it.
Source: PostgreSQL documentation, "System Views"; "SET", "CREATE TABLE" (TEMPORARY), "Advisory Locks".
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql

from kernel.migrations.autocommit import custom_settings
from kernel.migrations.script import open_script
from kernel.sql.classify import StatementEffect, statement_effect
from kernel.sql.lexer import PartKind

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from psycopg.pq.abc import PGresult

    from kernel.apply.executor import Executor
    from kernel.migrations.script import Script


# The state as it was read last in the same transaction, for the statement that saves it as another role.
READ_STATE = "pg_catalog.current_setting('inv_db.session_state')::pg_catalog.jsonb"
# pg_settings has neither of the roles; the last can be set by a superuser only.
_SETTINGS = ("role", "session_authorization", "session_replication_role")
# Of the settings that a user can change, those that can change what a statement does. The runner sets the timeouts and
# the watch of the connection.
_FIRST_SETTINGS = """
SELECT name, pg_catalog.hashtextextended(coalesce(pg_catalog.current_setting(name, true), ''), 0) FROM (
  SELECT name FROM pg_catalog.pg_settings WHERE context = 'user' AND name !~
    '^(application_name|client_connection_|debug_|effective_|enable_|geqo|jit|log_|parallel_|tcp_|trace_|transaction_)'
    AND name !~ '_(cost|mem|timeout|workers|workers_per_gather)$'
  UNION SELECT pg_catalog.unnest({names}::pg_catalog.text[])
) AS settings(name)"""
# An item is a name and, after a line feed, the hash of a value, which may be secret.
_READ = """
SELECT pg_catalog.set_config('inv_db.session_state', (
  SELECT coalesce(pg_catalog.jsonb_object_agg(item, coalesce(
    pg_catalog.jsonb_extract_path({made}::pg_catalog.jsonb, item), pg_catalog.to_jsonb({number}::pg_catalog.int4)
  )), '{{}}')::pg_catalog.text
  FROM (
    SELECT pg_catalog.concat(name, pg_catalog.chr(10), pg_catalog.hashtextextended(value, 0)) AS item FROM (
      SELECT pg_catalog.concat('temporary ', o.type, ' ',
        pg_catalog.regexp_replace(o.identity, '^pg_temp[_0-9]*[.]', '')) AS name, '' AS value
      FROM pg_catalog.pg_depend d, pg_catalog.pg_identify_object(d.classid, d.objid, 0) o
      WHERE d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_namespace'::pg_catalog.regclass::pg_catalog.oid
        AND d.refobjid OPERATOR(pg_catalog.=) pg_catalog.pg_my_temp_schema()
      UNION ALL
      SELECT pg_catalog.concat('prepared statement ', name), statement FROM pg_catalog.pg_prepared_statements
      UNION ALL
      SELECT pg_catalog.concat('cursor ', name), statement FROM pg_catalog.pg_cursors WHERE is_holdable
      UNION ALL
      SELECT pg_catalog.concat('advisory lock ', CASE WHEN objsubid OPERATOR(pg_catalog.=) 1
        THEN pg_catalog.concat(pg_catalog.int8or(
          pg_catalog.int8shl(classid::pg_catalog.int8, 32), objid::pg_catalog.int8))
        ELSE pg_catalog.concat(classid, ', ', objid) END), ''
      FROM pg_catalog.pg_locks
      WHERE locktype OPERATOR(pg_catalog.=) 'advisory' AND pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid()
      UNION ALL
      SELECT pg_catalog.concat('setting ', name), coalesce(pg_catalog.current_setting(name, true), '')
      FROM ROWS FROM (
        pg_catalog.unnest({names}::pg_catalog.text[]), pg_catalog.unnest({hashes}::pg_catalog.int8[])
      ) AS settings(name, hash)
      WHERE pg_catalog.hashtextextended(coalesce(pg_catalog.current_setting(name, true), ''), 0)
        OPERATOR(pg_catalog.<>) hash
    ) AS listed
  ) AS items
  WHERE item OPERATOR(pg_catalog.<>) ALL ({before}::pg_catalog.text[])
), true)"""
_SETTING_FUNCTIONS = (
    b"SELECT prosrc FROM pg_catalog.pg_proc WHERE pronamespace <> 'pg_catalog'::pg_catalog.regnamespace "
    rb"AND prosrc ~* 'set_config|\mset\s+((session|local)\s+)?[a-z_][\w$]*[.]'"
)
_NAME = re.compile(r'"((?:[^"]|"")+)"|([\w$]+)(?:\(.*)?$')


class SessionState:
    """The state of a session but for what it had at first: items, with the number of the statement that made each.

    What a transaction of the file makes, its BEGIN makes. `known` is the state of a former session, to tell its places.
    """

    def __init__(self, executor: Executor, script: Script, known: Mapping[str, int] | None) -> None:
        self._executor = executor
        self._known = set((known or {}).values())
        self._number = 0
        self._place = ""
        self._places: dict[int, str] = {}
        self._repeated: set[int] = set()
        try:
            self._first = self._first_settings((*_SETTINGS, *script.custom_settings, *_names_in_functions(executor)))
        except psycopg.errors.InsufficientPrivilege:  # to read the setting of an extension
            self._first = self._first_settings(_SETTINGS)
        self._before: tuple[str, ...] = ()
        self._before = tuple(self.read({}))

    def begin(self, number: int, place: str) -> None:
        """Note where the statements that follow are."""
        self._number, self._place = number, place
        if number in self._known:
            self._places[number] = place

    def note_repeated(self) -> None:
        """Note that the next run repeats what sets something here."""
        self._repeated.add(self._number)

    def statement(self, made: Mapping[str, int] | None) -> bytes:
        """The statement that returns the state as JSON; items that are not in `made` are of this place."""
        values = {
            "made": json.dumps(made or {}),
            "number": self._number,
            "names": list(self._first),
            "hashes": list(self._first.values()),
            "before": list(self._before),
        }
        return sql.SQL(_READ).format(**values).as_bytes(self._executor.session.connection)

    def _first_settings(self, names: Sequence[str]) -> dict[str, int]:
        """The hashes of these settings and of those that pg_settings has."""
        query = sql.SQL(_FIRST_SETTINGS).format(names=list(names))
        return dict(self._executor.session.connection.execute(query).fetchall())

    def parse(self, answer: PGresult) -> dict[str, int]:
        """The state in the answer to `statement`."""
        state: dict[str, int] = json.loads(answer.get_value(0, 0) or b"{}")
        if self._number in state.values():
            self._places[self._number] = self._place
        return state

    def read(self, made: Mapping[str, int] | None) -> dict[str, int]:
        """The state now."""
        return self.parse(self._executor.protocol.query(self.statement(made))[-1])

    def differences(self, saved: Mapping[str, int]) -> tuple[list[str], list[str]]:
        """(items of a saved state that the session has not, settings that differ otherwise from the saved state)."""
        state = self.read(saved)
        names = {item_name(item) for item in state}
        unchanged = {
            f"setting {name}\n{value}" for name, value in self._first.items() if f"setting {name}" not in names
        }
        lost = [item for item in saved if item not in state and item not in self._before and item not in unchanged]
        lost_names = {item_name(item) for item in lost}
        return lost, [item for item in state if item not in saved and item_name(item) not in lost_names]

    def to_be_lost(self, state: Mapping[str, int] | None) -> list[str]:
        """The items of a state that end with the session, and that the next run does not restore by repeating SET."""
        return items_to_be_lost(state or {}, self._repeated)

    def describe(self, item: str, state: Mapping[str, int] | None) -> str:
        """An item of a state, with its place."""
        place = self._places.get((state or {}).get(item, 0))
        return f"the {item_name(item)}{f' of {place}' if place else ''}"


def items_to_be_lost(state: Mapping[str, int], repeated: set[int]) -> list[str]:
    """The items of a state that the next run does not restore by repeating the statements of these numbers."""
    return [item for item, number in state.items() if not _is_setting(item) or number not in repeated]


def item_name(item: str) -> str:
    """The name of an item of a state, such as "temporary table ids"."""
    return " ".join(item.rpartition("\n")[0].split())  # an identifier may contain a line feed


def line_that_may_need(script: Script, path: Path, *, finished: int, items: Iterable[str]) -> int | None:
    """The line of the first statement after the `finished` ones that may need one of the items; None if none can.

    Any statement can run a function that needs them, except those that cannot run in a transaction: they need a setting
    or a lock, or an object that they name. Raises OSError.
    """
    names = [
        None if _is_setting(item) or item.startswith("advisory lock ") else _object_name(item_name(item))
        for item in items
    ]
    with open_script(script, path) as reading:
        number = 0
        for part in reading.parts:
            if part.kind is PartKind.STATEMENT:
                number += 1
                if number > finished and (
                    statement_effect(part.sql) is not StatementEffect.OUTSIDE
                    or any(name is None or name in part.sql.decode(errors="replace").lower() for name in names)
                ):
                    return part.line
    return None


def _is_setting(item: str) -> bool:
    return item.startswith("setting ")


def _object_name(name: str) -> str:
    found = _NAME.search(name)
    return (found[1] or found[2] if found else name).lower()


def _names_in_functions(executor: Executor) -> tuple[str, ...]:
    """The custom settings that functions of the database set."""
    sources = executor.protocol.query(_SETTING_FUNCTIONS)[-1]
    return custom_settings(sources.get_value(row, 0) or b"" for row in range(sources.ntuples))
