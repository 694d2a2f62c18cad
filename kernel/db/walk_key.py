"""The key that a backfill walks: what the catalog says against it, and the ranges of the rows that are there.

A range is after one key and up to another, both of them keys of rows: gaps cost nothing, and rows of an equal key are
in the same range. Keys are kept as text that does not depend on the settings of a session.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import psycopg
from psycopg import sql

from kernel.errors import Problem
from kernel.migrations.backfill import called_functions, quoted_name
from kernel.migrations.range_safety import RANGE_RULE, assigned_functions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kernel.db.connection import Connection
    from kernel.migrations.backfill import Backfill
    from kernel.sql.reader import Word


_NUMBERS = ("int2", "int4", "int8")
_WITH_ZONE = "timestamptz"
_TYPES = (*_NUMBERS, "numeric", "uuid", "text", "varchar", "bpchar", "date", "timestamp", _WITH_ZONE)
_KINDS = {"v": "a view", "f": "a foreign table", "m": "a materialized view", "S": "a sequence", "c": "a type"}
_LOOK_TIMEOUT = b"SET LOCAL lock_timeout = '1s'"
_COLUMN = """
SELECT c.oid::bigint, c.relkind::text, c.oid = to_regclass(%(named)s), a.attnotnull,
  (SELECT typname FROM pg_type WHERE oid = coalesce(nullif(t.typbasetype, 0), t.oid)),
  EXISTS (
    SELECT FROM pg_index i JOIN pg_class ic ON ic.oid = i.indexrelid JOIN pg_am ON pg_am.oid = ic.relam
      JOIN pg_opclass o ON o.oid = i.indclass[0]
    WHERE i.indrelid = c.oid AND i.indkey[0] = a.attnum AND i.indisvalid AND i.indpred IS NULL
      AND amname = 'btree' AND o.opcdefault AND i.indcollation[0] = a.attcollation
  )
FROM pg_class c
  LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = %(column)s AND a.attnum > 0 AND NOT a.attisdropped
  LEFT JOIN pg_type t ON t.oid = a.atttypid
WHERE c.oid = to_regclass(%(table)s)
"""
_FUNCTIONS = """
SELECT CASE WHEN pg_function_is_visible(p.oid) THEN proname ELSE nspname || '.' || proname END,
  bool_and(provolatile = 'v'), bool_and(prokind IN ('a', 'w'))
FROM pg_proc p JOIN pg_namespace n ON n.oid = pronamespace WHERE proname = ANY (%s) GROUP BY 1
"""
# A unique index of columns that are all given; one of expressions may be.
_UNIQUE_OF_GIVEN = """
SELECT EXISTS (
  SELECT FROM pg_index i WHERE i.indrelid = to_regclass(%(table)s) AND (i.indisunique OR i.indisexclusion)
    AND NOT EXISTS (
      SELECT FROM pg_attribute a WHERE a.attrelid = i.indrelid AND a.attname <> ALL (%(given)s)
        AND a.attnum = ANY ((i.indkey::int2[])[0:i.indnkeyatts - 1])
    )
), to_regclass(%(table)s) IS NOT NULL
"""


class KeyRange(NamedTuple):
    """A range of keys up to `end`, and how many there are in it."""

    end: str
    rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WalkKey:
    """A key that can be walked: `table` as it stands in the statement, and the type of the column."""

    table: str
    reference: str
    column: str
    type_name: str

    def condition(self, connection: Connection, after: str | None, until: str) -> bytes:
        """The condition of a range."""
        name = f"{self.reference}.{_column_name(self.column)}".encode()
        upper = b"%b <= %b" % (name, self._literal(connection, until))
        return upper if after is None else b"%b > %b AND %b" % (name, self._literal(connection, after), upper)

    def last_key(self, connection: Connection) -> str | None:
        """The last key of the table, None for a table without rows, and where it is NULL in some."""
        query = b"SELECT %b FROM %b ORDER BY %b DESC LIMIT 1"
        row = connection.execute(query % (self._as_text(self._name), self._table, self._name)).fetchone()
        return row[0] if row else None

    def has_null_keys(self, connection: Connection) -> bool:
        """Whether there are rows in which the key is NULL; waits for the table as long as any statement does."""
        query = b"SELECT FROM %b WHERE %b IS NULL LIMIT 1"
        return connection.execute(query % (self._table, self._name)).fetchone() is not None

    def next_range(self, connection: Connection, after: str | None, upper: str, rows: int) -> KeyRange | None:
        """The range of the next `rows` keys, up to `upper`; None where no key is left."""
        row = connection.execute(self.next_range_query(connection, after, upper, rows)).fetchone()
        return KeyRange(*row) if row else None

    def next_range_query(self, connection: Connection, after: str | None, upper: str, rows: int) -> bytes:
        """The query of `next_range`."""
        condition = b"%b <= %b" % (self._name, self._literal(connection, upper))
        if after is not None:
            condition = b"%b > %b AND %b" % (self._name, self._literal(connection, after), condition)
        return (
            b"SELECT %b, n FROM (SELECT %b AS key, row_number() OVER (ORDER BY %b) AS n FROM %b WHERE %b "
            b"ORDER BY %b LIMIT %d) AS batch ORDER BY n DESC LIMIT 1"
        ) % (self._as_text(b"key"), self._name, self._name, self._table, condition, self._name, rows)

    def estimated_rows(self, connection: Connection) -> int:
        """The planner's estimate of the rows of the table."""
        query = b"EXPLAIN (FORMAT JSON) SELECT FROM %b" % self._table
        (document,) = connection.execute(query).fetchone() or ([{"Plan": {"Plan Rows": 0}}],)
        return int(document[0]["Plan"]["Plan Rows"])

    @property
    def _name(self) -> bytes:
        return quoted_name(self.column).encode()  # it may be a reserved word, which only a qualified name may be

    @property
    def _table(self) -> bytes:
        return self.table.encode()

    def _literal(self, connection: Connection, value: str) -> bytes:
        if self.type_name in _NUMBERS:
            return b"%d" % int(value)
        literal = sql.Literal(value).as_bytes(connection)
        if self.type_name == _WITH_ZONE:
            return b"(%b::timestamp AT TIME ZONE 'UTC')" % literal
        return literal + b"::" + self.type_name.encode()

    def _as_text(self, name: bytes) -> bytes:
        """The expression for a key as text, the same one whatever DateStyle and TimeZone are set to."""
        return b"to_json(%b%b) #>> '{}'" % (name, b" AT TIME ZONE 'UTC'" if self.type_name == _WITH_ZONE else b"")


def _column_name(column: str) -> str:
    plain = column.isascii() and column.isidentifier() and column == column.lower()
    return column if plain else quoted_name(column)


def find_walk_key(
    connection: Connection, backfill: Backfill, file: str, *, looks_at_rows: bool
) -> tuple[WalkKey | None, tuple[Problem, ...]]:
    """The key of a backfill, None with the reasons why it cannot be walked. Reads only; None without its table.

    With `looks_at_rows` the rows are searched for a key that is NULL, as far as privileges and locks allow.
    """
    options, statement = backfill.options, backfill.statement
    found = connection.execute(
        _COLUMN, {"table": statement.table, "named": options.table, "column": options.column}
    ).fetchone()
    if found is None:
        message = f"by={options.key}: there is no table {statement.table}"
        return None, (Problem(message=message, file=file, line=options.line),)
    _oid, kind, is_named, not_null, type_name, has_index = found
    problems: list[str] = []
    is_source = statement.verb == "INSERT" and kind == "m"
    if kind not in ("r", "p") and not is_source:
        problems.append(f"by={options.key}: {statement.table} is {_KINDS.get(kind, 'no table')}; name a table")
    elif not is_named:
        problems.append(f"by={options.key}: {statement.table} in the statement is another table")
    elif type_name is None:
        problems.append(f"by={options.key}: {statement.table} has no column {options.column}")
    elif type_name not in _TYPES:
        problems.append(
            f"by={options.key}: keys of type {type_name} are not walked; name one of a number, text, uuid or time"
        )
    elif not has_index:
        problems.append(
            f"by={options.key}: no valid B-tree index begins with it, so that every batch would read the whole table; "
            "name an indexed key, or create the index in an earlier file"
        )
    elif not not_null and looks_at_rows and _has_null_keys(connection, statement.table, options.column):
        problems.append(null_keys_problem(backfill, file).message)
    located = [Problem(message=message, file=file, line=options.line) for message in problems]
    located += _statement_problems(connection, backfill, file)
    if located:
        return None, tuple(located)
    key = WalkKey(table=statement.table, reference=statement.reference, column=options.column, type_name=type_name)
    return key, ()


def null_keys_problem(backfill: Backfill, file: str) -> Problem:
    """The problem of a key that is NULL in some rows."""
    message = (
        f"by={backfill.options.key}: there are rows in which it is NULL, which are in no range; "
        "name another key, or fill it in an earlier file"
    )
    return Problem(message=message, file=file, line=backfill.options.line)


def _has_null_keys(connection: Connection, table: str, column: str) -> bool:
    query = b"SELECT FROM %b WHERE %b IS NULL LIMIT 1" % (table.encode(), quoted_name(column).encode())
    try:
        with connection.transaction():
            connection.execute(_LOOK_TIMEOUT)
            return connection.execute(query).fetchone() is not None
    except (psycopg.errors.InsufficientPrivilege, psycopg.errors.LockNotAvailable):
        return False


def _statement_problems(connection: Connection, backfill: Backfill, file: str) -> Iterator[Problem]:
    """Yield what is wrong with the statement, as far as functions and unique keys of this database decide it."""
    statement, part = backfill.statement, backfill.part
    calls = {word.begin: name for name, word in called_functions(statement)}
    bare = sorted({name.rpartition(".")[2] for name in calls.values()})
    rows = connection.execute(_FUNCTIONS, (bare,)).fetchall() if bare else []
    volatile = {name for name, is_volatile, _ in rows if is_volatile}
    aggregates = {name for name, _, is_aggregate in rows if is_aggregate}

    def problem(word: Word, message: str) -> Problem:
        line, column = part.place_of(word.begin)
        return Problem(message=message, file=file, line=line, column=column)

    for word in statement.outer_select:
        if calls.get(word.begin) in aggregates:
            message = f"{word.text}() would have a value for each range; compute it in one transaction"
            yield problem(word, message)
    unprotected = () if backfill.allowed else (*assigned_functions(statement), *statement.condition)
    for word in unprotected:
        if (name := calls.get(word.begin, "")) in volatile:
            yield problem(
                word,
                f"{name}() is VOLATILE: when a range runs again, it may have another value; declare it STABLE or "
                f"IMMUTABLE if it is, or say why it is safe: -- migrate: allow={RANGE_RULE} reason",
            )
    conflict = statement.clauses.get("CONFLICT", ())
    if not backfill.allowed and [word.key for word in conflict[:1]] == ["DO"]:
        given = [word.text for word in statement.clauses["INTO"] if word.is_name]
        row = connection.execute(_UNIQUE_OF_GIVEN, {"table": statement.target, "given": given}).fetchone()
        if given and row == (False, True):
            yield problem(
                statement.words[0],
                f"no unique key of {statement.target} is of the columns {', '.join(given)}, so that ON CONFLICT never "
                "applies and a range that runs again inserts its rows again; add the key, or WHERE NOT EXISTS (…)",
            )
