"""The constraints of a database as its catalog describes them, and the rows that violate them.

A unique key is a unique index, of a constraint or alone. One with another operator class or collation than its columns
is left out: it may call other values equal than a query would.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kernel.rehearsal.result import Violation

if TYPE_CHECKING:
    from kernel.db.connection import Connection


# All names come quoted from the server, and are put together as text.
# ruff: noqa: S608


def from_item(relation: str, *, only: bool) -> str:
    """The relation for FROM, with the alias t."""
    return f"{'ONLY ' if only else ''}{relation} AS t"


# Of a CHECK, its expression; of a FOREIGN KEY, the condition that a row refers to no parent.
# MATCH SIMPLE asks nothing of a row with a NULL in it, MATCH FULL of one that is NULL throughout.
_CONSTRAINTS = """
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
WHERE c.convalidated = {validated} AND c.contype IN ('c', 'f') AND c.conrelid <> 0
  AND c.conislocal  -- children inherit theirs
ORDER BY 2, 3
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class RowConstraint:
    """A CHECK or FOREIGN KEY: `condition` holds for the rows of `from_item` that violate it."""

    oid: int
    relation: str
    name: str
    from_item: str
    condition: str


def read_row_constraints(connection: Connection, *, validated: bool) -> tuple[RowConstraint, ...]:
    """The CHECK and FOREIGN KEY constraints, valid or NOT VALID ones; the session's search path has to be empty."""
    return tuple(
        RowConstraint(
            oid=oid,
            relation=relation,
            name=name,
            from_item=from_item(relation, only=only),
            condition=condition,
        )
        for oid, relation, name, only, condition in connection.execute(
            _CONSTRAINTS.format(validated=validated).encode()
        ).fetchall()
    )


def count_constraint_violations(connection: Connection, one: RowConstraint) -> Violation:
    """Count the rows that violate a constraint; `rows` of the result is 0 for none."""
    return count_matching_rows(connection, one.relation, one.name, rows=one.from_item, condition=one.condition)


def count_matching_rows(
    connection: Connection, relation: str, constraint: str, *, rows: str, condition: str
) -> Violation:
    """Count the rows of a relation for which a condition holds."""
    source = f"FROM {rows} WHERE {condition}"
    return Violation(
        relation=relation,
        constraint=constraint,
        rows=int(connection.execute(f"SELECT count(*) {source}".encode()).fetchall()[0][0]),
        query=f"SELECT * {source}",
    )


_UNIQUE_KEYS = """
SELECT i.indexrelid::bigint, i.indrelid::regclass::text, quote_ident(x.relname),
  ARRAY(SELECT pg_get_indexdef(i.indexrelid, k, false) FROM generate_series(1, i.indnkeyatts) AS k),
  coalesce(pg_get_expr(i.indpred, i.indrelid), ''),
  NOT coalesce((to_jsonb(i) ->> 'indnullsnotdistinct')::boolean, false)  -- since PostgreSQL 15
FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid JOIN pg_namespace n ON n.oid = x.relnamespace
WHERE CASE WHEN %(oid)s::bigint IS NULL
    THEN i.indisunique AND i.indisvalid AND NOT x.relispartition AND n.nspname !~ '^(pg_|information_schema$)'
    ELSE i.indexrelid = %(oid)s::bigint END
  AND NOT EXISTS (
    SELECT FROM unnest(i.indclass::oid[], i.indcollation::oid[], (i.indkey::int2[])[0:i.indnkeyatts - 1])
      AS k (class, collation_oid, number)
    JOIN pg_opclass o ON o.oid = k.class
    LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number AND k.number > 0
    WHERE NOT o.opcdefault OR a.attcollation IS DISTINCT FROM k.collation_oid AND k.number > 0)
ORDER BY 2, 3
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class UniqueKey:
    """The expressions of which no two rows of a relation, of those for which `condition` holds, have the same values.

    `name` is that of the index or constraint, quoted where SQL needs it.
    """

    relation: str
    name: str
    expressions: tuple[str, ...]
    condition: str = ""
    nulls_distinct: bool = True


def read_unique_keys(connection: Connection, *, index_oid: int | None = None) -> tuple[UniqueKey, ...]:
    """The valid unique indexes, or the one index with this OID, unique or not; the search path has to be empty."""
    return tuple(
        UniqueKey(
            relation=relation,
            name=name,
            expressions=tuple(expressions),
            condition=condition,
            nulls_distinct=nulls_distinct,
        )
        for _oid, relation, name, expressions, condition, nulls_distinct in connection.execute(
            _UNIQUE_KEYS.encode(), {"oid": index_oid}
        ).fetchall()
    )


def count_duplicates(connection: Connection, key: UniqueKey, constraint: str, *, only: bool = False) -> Violation:
    """Count the rows that share their key with another row, and the groups that they form; `only` as in FROM ONLY."""
    rows = from_item(key.relation, only=only)
    conditions = [f"({one}) IS NOT NULL" for one in key.expressions] if key.nulls_distinct else []
    whole = " AND ".join([*conditions, *([f"({key.condition})"] if key.condition else [])]) or "true"
    columns = ", ".join(f"({one})" for one in key.expressions)
    query = (
        f"SELECT * FROM (SELECT *, count(*) OVER (PARTITION BY {columns}) AS copies FROM {rows} WHERE {whole}) AS t "
        "WHERE copies > 1"
    )
    groups = f"SELECT count(*) AS copies FROM {rows} WHERE {whole} GROUP BY {columns} HAVING count(*) > 1"
    counts = connection.execute(f"SELECT coalesce(sum(copies), 0)::bigint, count(*) FROM ({groups}) AS t".encode())
    ((row_count, group_count),) = counts.fetchall()
    return Violation(relation=key.relation, constraint=constraint, rows=row_count, groups=group_count, query=query)
