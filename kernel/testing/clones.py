"""Make and drop clones while tests run: the server works on a statement whose result is read only when it is needed.

Each of two sessions has at most one statement in progress: CREATE DATABASE for the next test, DROP DATABASE for the
test before.
"""

from __future__ import annotations

import secrets
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import psycopg
from psycopg import pq, sql
from psycopg.generators import fetch_many

from kernel.db.connection import translate_errors
from kernel.rehearsal.prod_copy.databases import clone_database, clone_statement
from kernel.testing.registry import NAME_PREFIX, Kind

if TYPE_CHECKING:
    from collections.abc import Callable

    from kernel.db.connection import Session
    from kernel.testing.registry import Registry


@dataclass(kw_only=True)
class Clones:
    """The clones of one process. `creating` and `dropping` are sessions that nothing else uses."""

    registry: Registry
    creating: Session
    dropping: Session
    drop_now: Callable[[str], None]
    """Drop a database and wait until it is gone."""
    _last_template: str = ""
    _next: tuple[str, str] | None = None  # a template, and its clone that is being created
    _dropped: list[str] = field(default_factory=list)  # the last may be in progress

    def take(self, template: str, key: str) -> str:
        """Return the name of a new clone of `template`, and begin the next if this is not the first in succession.

        Raises DatabaseUnreachable, DatabaseRefused.
        """
        name = self._take_next(template)
        if name is None:
            name = self._add_name(key)
            clone_database(self.creating, template, name)
        if template == self._last_template:
            self._next = template, self._add_name(key)
            self._begin(self.creating, clone_statement(self.creating.connection, *self._next))
        self._last_template = template
        return name

    def drop(self, name: str) -> None:
        """Begin to drop a clone, even if sessions are still connected to it."""
        self._finish_drop()
        self._dropped.append(name)
        self._begin(self.dropping, sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def close(self) -> None:
        """Wait for the statements in progress; drop the clone that no test took, and those that could not be dropped.

        Raises DatabaseUnreachable, DatabaseRefused.
        """
        self._finish_drop()
        if self._next is not None:
            with suppress(psycopg.Error):
                self._finish(self.creating)
            self._dropped.append(self._next[1])
            self._next = None
        for name in self._dropped:
            self.drop_now(name)

    def _add_name(self, key: str) -> str:
        name = f"{NAME_PREFIX}{secrets.token_hex(8)}"
        self.registry.add(name, Kind.CLONE, key)
        return name

    def _take_next(self, template: str) -> str | None:
        if self._next is None:
            return None
        made_of, name = self._next
        self._next = None
        with translate_errors(self.creating.connection, self.creating.name):
            self._finish(self.creating)
        if made_of == template:
            return name
        self.drop(name)
        return None

    def _finish_drop(self) -> None:
        """Read the result of the DROP DATABASE in progress; when it failed, `close` tries again."""
        if self._dropped and self.dropping.connection.pgconn.transaction_status == pq.TransactionStatus.ACTIVE:
            with suppress(psycopg.Error):
                self._finish(self.dropping)
                self.registry.forget(self._dropped.pop())

    def _begin(self, session: Session, statement: sql.Composed) -> None:
        session.connection.pgconn.send_query(statement.as_bytes(session.connection))
        session.connection.pgconn.flush()

    def _finish(self, session: Session) -> None:
        """Wait for the statement in progress. Raises psycopg.Error."""
        for result in session.connection.wait(fetch_many(session.connection.pgconn)):
            if result.status == pq.ExecStatus.FATAL_ERROR:
                raise psycopg.errors.error_from_result(result)
