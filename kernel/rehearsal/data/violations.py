"""All the rows that stand in the way when a migration failed on data, not just the first that the server met.

The failed statement is taken as far again as it goes without looking at rows, in a transaction that is rolled back:
constraints NOT VALID, a unique index as a plain one. The catalog then says what rows have to be counted for. What has
an unusual shape gives (): no number is better than a wrong one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg

from kernel import database
from kernel.rehearsal.data import alter, casts, duplicates, violators
from kernel.sql import effect
from kernel.sql.effect import Effect

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kernel.database import Connection
    from kernel.errors import Failure
    from kernel.rehearsal.data.alter import Alter, Token
    from kernel.rehearsal.result import Violation

_NULL = "23502"
_DUPLICATE = "23505"
_DATA = "22"  # the class: values that a type does not take
_CONSTRAINT = ("23503", "23514")
_ELLIPSIS = "…"  # stands for what was cut off or masked
_VALIDATE = ["VALIDATE", "CONSTRAINT"]


def of(
    url: str, failure: Failure, *, statement: bytes | None = None, ahead: Sequence[bytes] = ()
) -> tuple[Violation, ...]:
    """The rows in the way of the failed statement, () when its shape does not tell or there are none any more.

    `url` is the database that it failed in. `statement` is its full text, where the failure's is cut short or masked;
    `ahead` are the statements of the same file that were rolled back with it. Raises DatabaseUnreachable.
    """
    text = statement if statement is not None else (failure.statement or "").encode()
    if not text or (statement is None and _ELLIPSIS.encode() in text):
        return ()
    if any(effect.of(one) not in (Effect.PLAIN, Effect.SETTING, Effect.LEXICAL) for one in ahead):
        return ()  # it would end our transaction, and could not be taken back
    with database.session(url) as session:
        connection = database.settled(session, statement_timeout_ms=0).connection
        connection.execute("BEGIN")
        try:
            for one in ahead:
                connection.execute(one)
            found = tuple(_violations(connection, text, failure.sqlstate or ""))
        except psycopg.Error:
            return ()  # what cannot be taken so far again tells nothing about rows
        finally:
            if not connection.broken:
                connection.execute("ROLLBACK")
    return tuple(one for one in found if one.rows)


def _violations(connection: Connection, text: bytes, state: str) -> Iterator[Violation]:
    altered = alter.read(text)
    if altered is None:
        if state == _DUPLICATE and (unique := duplicates.of_index(connection, text)) is not None:
            yield unique
    elif state in _CONSTRAINT:
        yield from _constraints(connection, text, altered)
    elif state in (_NULL, _DUPLICATE):
        for action in altered.actions:
            yield from _nulls(connection, text, altered, action)
            if state == _DUPLICATE:
                yield from duplicates.of_constraint(connection, text, altered, action)
    elif state.startswith(_DATA):
        for action in altered.actions:
            yield from casts.refused(connection, text, altered, action)


def _constraints(connection: Connection, text: bytes, altered: Alter) -> Iterator[Violation]:
    """CHECK and FOREIGN KEY: those that the statement validates, and those that it adds, once they are NOT VALID."""
    words = [[token.word for token in action] for action in altered.actions]
    validated = {
        alter.folded(action[2]) for action, one in zip(altered.actions, words, strict=True) if one[:-1] == _VALIDATE
    }
    added = [action for action in altered.actions if alter.kind_of(action) in ("CHECK", "FOREIGN")]
    relation = violators.named(connection, altered.table)
    known = {one.oid for one in _unvalidated(connection)}
    if added and len(added) == len(altered.actions):  # other actions may change what the constraint is about
        ends = [
            action[-1].end for action, one in zip(altered.actions, words, strict=True) if one[-2:] != ["NOT", "VALID"]
        ]
        connection.execute(alter.edited(text, added=[(end, b" NOT VALID") for end in ends]))
    for one in _unvalidated(connection):
        if one.oid not in known or (one.relation == relation and one.name in validated):
            yield violators.of_constraint(connection, one)


def _unvalidated(connection: Connection) -> tuple[violators.Unvalidated, ...]:
    """As violators.unvalidated, the names spelled with their schemas; the search path stays what it is."""
    connection.execute("SAVEPOINT path")
    connection.execute("SELECT set_config('search_path', '', true)")
    found = violators.unvalidated(connection)
    connection.execute("ROLLBACK TO path")
    return found


def _nulls(connection: Connection, text: bytes, altered: Alter, action: tuple[Token, ...]) -> Iterator[Violation]:
    """SET NOT NULL, the columns of a primary key, and ADD COLUMN … NOT NULL without a value for it."""
    relation = violators.named(connection, altered.table)
    rows = altered.rows(relation)
    column, rest = alter.column_of(text, action)
    words = [token.word for token in rest]
    columns = [column] if words == ["SET", "NOT", "NULL"] else []
    if alter.kind_of(action) == "PRIMARY":
        columns = list(alter.plain_columns(text, alter.constraint_of(action)[2:]))
    for one in columns:
        yield violators.where(connection, relation, f"{one} NOT NULL", rows=rows, condition=f"t.{one} IS NULL")
    if (added := alter.empty_column(text, action)) is not None:
        yield violators.where(connection, relation, f"{added} NOT NULL", rows=rows, condition="true")
