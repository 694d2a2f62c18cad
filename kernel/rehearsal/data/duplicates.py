"""The rows that stand in the way of a unique index, a unique constraint, or a primary key."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel.rehearsal.data import alter, violators

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kernel.database import Connection
    from kernel.rehearsal.data.alter import Alter, Token
    from kernel.rehearsal.result import Violation

_INDEX = """
SELECT i.indrelid::regclass::text,
  ARRAY(SELECT pg_get_indexdef(i.indexrelid, k, false) FROM generate_series(1, i.indnkeyatts) AS k),
  pg_get_expr(i.indpred, i.indrelid)
FROM pg_index i
WHERE i.indexrelid = %s AND NOT EXISTS (
  -- Another operator class or collation may call other values equal than the query would.
  SELECT FROM unnest(i.indclass::oid[], i.indcollation::oid[], (i.indkey::int2[])[0:i.indnkeyatts - 1])
    AS k (class, collation_oid, number)
  JOIN pg_opclass o ON o.oid = k.class
  LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number AND k.number > 0
  WHERE NOT o.opcdefault OR a.attcollation IS DISTINCT FROM k.collation_oid AND k.number > 0)
"""
_INDEXES = "SELECT indexrelid FROM pg_index WHERE indrelid = %s::regclass"


def of_constraint(
    connection: Connection, text: bytes, altered: Alter, action: tuple[Token, ...]
) -> Iterator[Violation]:
    """UNIQUE (…) and PRIMARY KEY (…) of plain columns."""
    kind = alter.kind_of(action)
    if kind not in ("UNIQUE", "PRIMARY"):
        return
    rest = alter.constraint_of(action)[1 if kind == "UNIQUE" else 2 :]
    nulls_distinct = True
    if [token.word for token in rest[:3]] == ["NULLS", "NOT", "DISTINCT"]:
        nulls_distinct, rest = False, rest[3:]
    columns = alter.plain_columns(text, rest)
    if columns:
        relation = violators.named(connection, altered.table)
        yield violators.duplicates(
            connection,
            relation,
            f"{'UNIQUE' if kind == 'UNIQUE' else 'PRIMARY KEY'} ({', '.join(columns)})",
            rows=altered.rows(relation),
            expressions=columns,
            nulls_distinct=nulls_distinct,
        )


def of_index(connection: Connection, text: bytes) -> Violation | None:
    """CREATE UNIQUE INDEX: built without UNIQUE, so that the server says over which expressions it is."""
    found = alter.scanned(text)
    words = [token.word for token in found]
    if words[:3] != ["CREATE", "UNIQUE", "INDEX"] or "ON" not in words:
        return None
    at = words.index("ON") + 1
    only = words[at : at + 1] == ["ONLY"]
    end = alter.name_end(found, at + only)
    if end is None:
        return None
    name = alter.text(text, found[at + only : end])
    known = connection.execute(_INDEXES, (name,)).fetchall()
    # Without CONCURRENTLY too, and without a name, which an index that failed may have taken.
    connection.execute(alter.edited(text, dropped=[found[1], *found[3 : at - 1]]))
    built = [row for row in connection.execute(_INDEXES, (name,)).fetchall() if row not in known]
    connection.execute("SELECT set_config('search_path', '', true)")
    index = connection.execute(_INDEX, built[0]).fetchone() if len(built) == 1 else None
    if index is None:
        return None
    relation, expressions, condition = index
    distinct = ["NULLS", "NOT", "DISTINCT"] not in [words[place : place + 3] for place in range(end, len(words))]
    return violators.duplicates(
        connection,
        relation,
        f"unique index on ({', '.join(expressions)})",
        rows=f"{'ONLY ' if only else ''}{relation} AS t",
        expressions=tuple(expressions),
        condition=condition or "",
        nulls_distinct=distinct,
    )
