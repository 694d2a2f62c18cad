"""Queries for the rows that stand in the way of a constraint: how many, and which.

A query is text over names that the server quoted, with their schemas, so that people can run it anywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kernel.rehearsal.result import Violation

if TYPE_CHECKING:
    from kernel.database import Connection

# Of a CHECK, its expression; of a FOREIGN KEY, for which rows there has to be another one, and which.
# MATCH SIMPLE asks nothing of a row with a NULL in it, MATCH FULL of one that is NULL throughout.
_UNVALIDATED = """
SELECT c.oid::bigint, c.conrelid::regclass::text, c.conname, c.connoinherit,
  CASE c.contype WHEN 'c' THEN format('NOT (%s)', pg_get_expr(c.conbin, c.conrelid))
  ELSE (
    SELECT CASE c.confmatchtype
        WHEN 'f' THEN format('NOT (%s) AND NOT EXISTS (', string_agg(format('t.%I IS NULL', a.attname), ' AND '))
        ELSE format('%s AND NOT EXISTS (', string_agg(format('t.%I IS NOT NULL', a.attname), ' AND ' ORDER BY k.place))
      END
      || format('SELECT FROM %s AS p WHERE %s)', c.confrelid::regclass,
        string_agg(format('p.%I OPERATOR(%I.%s) t.%I', b.attname, n.nspname, o.oprname, a.attname), ' AND '
          ORDER BY k.place))
    FROM unnest(c.conkey, c.confkey, c.conpfeqop) WITH ORDINALITY AS k (one, other, operator, place)
    JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = k.one
    JOIN pg_attribute b ON b.attrelid = c.confrelid AND b.attnum = k.other
    JOIN pg_operator o ON o.oid = k.operator JOIN pg_namespace n ON n.oid = o.oprnamespace)
  END
FROM pg_constraint c
WHERE NOT c.convalidated AND c.contype IN ('c', 'f') AND c.conrelid <> 0 AND c.conislocal  -- children inherit theirs
ORDER BY 2, 3
"""
_QUALIFIED = """
SELECT format('%%I.%%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.oid = %s::regclass
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unvalidated:
    """A constraint that old rows were never checked for: `rows` is FROM what, `condition` what violates it."""

    oid: int
    relation: str
    name: str
    rows: str
    condition: str


def unvalidated(connection: Connection) -> tuple[Unvalidated, ...]:
    """The CHECK and FOREIGN KEY constraints that are NOT VALID; the session's search path has to be empty."""
    return tuple(
        Unvalidated(
            oid=oid,
            relation=relation,
            name=name,
            rows=f"{'ONLY ' if only else ''}{relation} AS t",
            condition=condition,
        )
        for oid, relation, name, only, condition in connection.execute(_UNVALIDATED.encode()).fetchall()
    )


def of_constraint(connection: Connection, one: Unvalidated) -> Violation:
    """The rows that violate it, 0 for none."""
    return where(connection, one.relation, one.name, rows=one.rows, condition=one.condition)


def where(connection: Connection, relation: str, constraint: str, *, rows: str, condition: str) -> Violation:
    """The rows of a relation for which a condition holds."""
    behind = f"FROM {rows} WHERE {condition}"
    return Violation(
        relation=relation,
        constraint=constraint,
        rows=counted(connection, f"SELECT count(*) {behind}"),
        query=f"SELECT * {behind}",
    )


def duplicates(
    connection: Connection,
    relation: str,
    constraint: str,
    *,
    rows: str,
    expressions: tuple[str, ...],
    condition: str = "",
    nulls_distinct: bool = True,
) -> Violation:
    """The rows that are not alone with their key, for a unique index over the expressions."""
    conditions = [f"({one}) IS NOT NULL" for one in expressions] if nulls_distinct else []
    whole = " AND ".join([*conditions, *([f"({condition})"] if condition else [])]) or "true"
    key = ", ".join(f"({one})" for one in expressions)
    query = (
        f"SELECT * FROM (SELECT *, count(*) OVER (PARTITION BY {key}) AS copies FROM {rows} WHERE {whole}) AS t "  # noqa: S608 - as above
        "WHERE copies > 1"
    )
    groups = f"SELECT count(*) AS copies FROM {rows} WHERE {whole} GROUP BY {key} HAVING count(*) > 1"  # noqa: S608 - as above
    return Violation(
        relation=relation,
        constraint=constraint,
        rows=counted(connection, f"SELECT coalesce(sum(copies), 0)::bigint FROM ({groups}) AS t"),  # noqa: S608 - as above
        query=query,
    )


def counted(connection: Connection, query: str) -> int:
    """The number that a query gives. Raises psycopg.Error."""
    row = connection.execute(query.encode()).fetchone()
    return int(row[0]) if row else 0


def named(connection: Connection, name: str) -> str:
    """The table that a statement calls `name`, with its schema. Raises psycopg.Error."""
    row = connection.execute(_QUALIFIED, (name,)).fetchone()
    return str(row[0]) if row else name
