"""One query in one session: prepared, explained, and executed where that is harmless.

Sources: PostgreSQL documentation, "PREPARE" and "EXPLAIN"; RevalidateCachedQuery of plancache.c, which refuses a
statement whose result is not what it was when it was prepared.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psycopg
from psycopg import pq, sql

from kernel.rehearsal.queries.change import Column, Plan, Refusal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kernel.database import Connection
    from kernel.rehearsal.queries.query import Query

# Nobody waits for a query here, nor does one here wait for anybody for long.
_SETTINGS = """
SET plan_cache_mode = force_generic_plan; SET statement_timeout = '2s'; SET lock_timeout = '2s';
SET idle_in_transaction_session_timeout = 0; SET client_min_messages = error
"""
_NAMES = "SELECT format_type(oid::oid, modifier) FROM unnest(%s::int8[], %s::int4[]) AS asked (oid, modifier)"
# Messages of these classes quote names and types. All others may quote a row: feature not supported, no such schema,
# syntax and access.
_NAMING = ("0A", "3F", "42")


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A statement of the session: how many parameters it has, and the columns of its result."""

    name: str
    parameters: int
    columns: tuple[Column, ...]


class Desk:
    """A session in autocommit, in which nothing is ever written."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._types: dict[tuple[int, int], str] = {}
        self._count = 0
        connection.execute(_SETTINGS)

    @property
    def lost(self) -> bool:
        """Whether the session is gone."""
        return self._connection.broken

    def prepare(self, query: Query) -> Prepared:
        """Prepare a query; the server infers the types of its parameters. Raises psycopg.Error."""
        self._count += 1
        name = f"rehearsed_{self._count}"
        pgconn = self._connection.pgconn
        _checked(pgconn.prepare(name.encode(), query.text.encode()))
        described = _checked(pgconn.describe_prepared(name.encode()))
        fields = [
            ((described.fname(at) or b"").decode(), (described.ftype(at), described.fmod(at)))
            for at in range(described.nfields)
        ]
        self._learn({its_type for _, its_type in fields})
        columns = tuple(Column(name=column, type=self._types[its_type]) for column, its_type in fields)
        return Prepared(name=name, parameters=described.nparams, columns=columns)

    def explain(self, prepared: Prepared, *, executed: bool) -> Plan:
        """The plan of a prepared statement; with `executed` it is run to its end too. Raises psycopg.Error."""
        nulls = ", ".join(["NULL"] * prepared.parameters)
        statement = sql.SQL("EXECUTE {}{}").format(
            sql.Identifier(prepared.name), sql.SQL(f"({nulls})" if nulls else "")
        )
        with self._reading():
            ((plans,),) = self._connection.execute(sql.SQL("EXPLAIN (FORMAT json) ") + statement).fetchall()
            options = sql.SQL("EXPLAIN (ANALYZE, TIMING off, SUMMARY off) " if executed else "EXPLAIN ")
            lines = self._connection.execute(options + statement).fetchall()
        # What a rule makes of a query may be several plans, or none.
        cost = sum(one["Plan"]["Total Cost"] for one in plans if "Plan" in one)
        return Plan(cost=cost, text="\n".join(line for (line,) in lines))

    def forget(self, prepared: Prepared) -> None:
        """Let go of a statement."""
        self._connection.execute(sql.SQL("DEALLOCATE {}").format(sql.Identifier(prepared.name)))

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """A transaction that cannot write, and is taken back."""
        self._connection.execute("BEGIN READ ONLY")
        try:
            yield
        finally:
            if not self._connection.broken:
                self._connection.execute("ROLLBACK")

    def _learn(self, types: set[tuple[int, int]]) -> None:
        """The names of types, by their OID and modifier: later the type may be gone."""
        unknown = sorted(types - self._types.keys())
        if unknown:
            rows = self._connection.execute(
                _NAMES,
                ([oid for oid, _ in unknown], [modifier for _, modifier in unknown]),
            ).fetchall()
            self._types |= dict(zip(unknown, (name for (name,) in rows), strict=True))


def refusal(error: psycopg.Error) -> Refusal:
    """What is told of an error: no message that may quote a row."""
    code = error.sqlstate or "08006"
    name = type(error).__name__
    return Refusal(sqlstate=code, message=(code[:2] in _NAMING and error.diag.message_primary) or name)


def _checked(result: pq.abc.PGresult) -> pq.abc.PGresult:
    if result.status == pq.ExecStatus.FATAL_ERROR:
        raise psycopg.errors.error_from_result(result, encoding="utf-8")
    return result
