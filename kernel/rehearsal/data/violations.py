"""All the rows that stand in the way when a migration failed on data, not just the first that the server met.

The failed statement is taken as far again as it goes without looking at rows, in a transaction that is rolled back:
constraints NOT VALID, a unique index as a plain one. The catalog then says what rows have to be counted for. What has
an unusual shape gives (): no number is better than a wrong one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import psycopg

from kernel.db.connection import open_session, with_runner_settings
from kernel.rehearsal.data.alter_statement import (
    added_column_without_value,
    added_constraint,
    added_constraint_kind,
    altered_column,
    edit_statement,
    find_name_end,
    fold_identifier,
    parse_alter_table,
    plain_column_names,
    scan_statement,
    token_text,
)
from kernel.rehearsal.result import Violation
from kernel.sql.classify import StatementEffect, statement_effect

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kernel.db.connection import Connection
    from kernel.errors import Failure
    from kernel.rehearsal.data.alter_statement import AlterTableStatement, StatementToken


# Queries for the rows that stand in the way of a constraint: how many, and which.
#
# A query is text over names that the server quoted, with their schemas, so that people can run it anywhere.


# Of a CHECK, its expression; of a FOREIGN KEY, for which rows there has to be another one, and which.
# MATCH SIMPLE asks nothing of a row with a NULL in it, MATCH FULL of one that is NULL throughout.
_NOT_VALID_CONSTRAINTS = """
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
_QUALIFIED_NAME = """
SELECT format('%%I.%%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.oid = %s::regclass
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class NotValidConstraint:
    """A constraint that old rows were never checked for: `rows` is FROM what, `condition` what violates it."""

    oid: int
    relation: str
    name: str
    from_item: str
    condition: str


def read_not_valid_constraints(connection: Connection) -> tuple[NotValidConstraint, ...]:
    """The CHECK and FOREIGN KEY constraints that are NOT VALID; the session's search path has to be empty."""
    return tuple(
        NotValidConstraint(
            oid=oid,
            relation=relation,
            name=name,
            from_item=f"{'ONLY ' if only else ''}{relation} AS t",
            condition=condition,
        )
        for oid, relation, name, only, condition in connection.execute(_NOT_VALID_CONSTRAINTS.encode()).fetchall()
    )


def count_constraint_violations(connection: Connection, one: NotValidConstraint) -> Violation:
    """The rows that violate it, 0 for none."""
    return count_matching_rows(connection, one.relation, one.name, rows=one.from_item, condition=one.condition)


def count_matching_rows(
    connection: Connection, relation: str, constraint: str, *, rows: str, condition: str
) -> Violation:
    """The rows of a relation for which a condition holds."""
    behind = f"FROM {rows} WHERE {condition}"
    return Violation(
        relation=relation,
        constraint=constraint,
        rows=fetch_count(connection, f"SELECT count(*) {behind}"),
        query=f"SELECT * {behind}",
    )


def count_duplicate_rows(
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
        rows=fetch_count(connection, f"SELECT coalesce(sum(copies), 0)::bigint FROM ({groups}) AS t"),  # noqa: S608 - as above
        query=query,
    )


def fetch_count(connection: Connection, query: str) -> int:
    """The number that a query gives. Raises psycopg.Error."""
    row = connection.execute(query.encode()).fetchone()
    return int(row[0]) if row else 0


def qualified_table_name(connection: Connection, name: str) -> str:
    """The table that a statement calls `name`, with its schema. Raises psycopg.Error."""
    row = connection.execute(_QUALIFIED_NAME, (name,)).fetchone()
    return str(row[0]) if row else name


# The rows that stand in the way of a unique index, a unique constraint, or a primary key.


_UNIQUE_INDEX = """
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
_TABLE_INDEXES = "SELECT indexrelid FROM pg_index WHERE indrelid = %s::regclass"


def unique_constraint_violations(
    connection: Connection, text: bytes, altered: AlterTableStatement, action: tuple[StatementToken, ...]
) -> Iterator[Violation]:
    """UNIQUE (…) and PRIMARY KEY (…) of plain columns."""
    kind = added_constraint_kind(action)
    if kind not in ("UNIQUE", "PRIMARY"):
        return
    rest = added_constraint(action)[1 if kind == "UNIQUE" else 2 :]
    nulls_distinct = True
    if [token.word for token in rest[:3]] == ["NULLS", "NOT", "DISTINCT"]:
        nulls_distinct, rest = False, rest[3:]
    columns = plain_column_names(text, rest)
    if columns:
        relation = qualified_table_name(connection, altered.table)
        yield count_duplicate_rows(
            connection,
            relation,
            f"{'UNIQUE' if kind == 'UNIQUE' else 'PRIMARY KEY'} ({', '.join(columns)})",
            rows=altered.from_item(relation),
            expressions=columns,
            nulls_distinct=nulls_distinct,
        )


def unique_index_violation(connection: Connection, text: bytes) -> Violation | None:
    """CREATE UNIQUE INDEX: built without UNIQUE, so that the server says over which expressions it is."""
    found = scan_statement(text)
    words = [token.word for token in found]
    if words[:3] != ["CREATE", "UNIQUE", "INDEX"] or "ON" not in words:
        return None
    at = words.index("ON") + 1
    only = words[at : at + 1] == ["ONLY"]
    end = find_name_end(found, at + only)
    if end is None:
        return None
    name = token_text(text, found[at + only : end])
    known = connection.execute(_TABLE_INDEXES, (name,)).fetchall()
    # Without CONCURRENTLY too, and without a name, which an index that failed may have taken.
    connection.execute(edit_statement(text, dropped=[found[1], *found[3 : at - 1]]))
    built = [row for row in connection.execute(_TABLE_INDEXES, (name,)).fetchall() if row not in known]
    connection.execute("SELECT set_config('search_path', '', true)")
    index = connection.execute(_UNIQUE_INDEX, built[0]).fetchone() if len(built) == 1 else None
    if index is None:
        return None
    relation, expressions, condition = index
    distinct = ["NULLS", "NOT", "DISTINCT"] not in [words[place : place + 3] for place in range(end, len(words))]
    return count_duplicate_rows(
        connection,
        relation,
        f"unique index on ({', '.join(expressions)})",
        rows=f"{'ONLY ' if only else ''}{relation} AS t",
        expressions=tuple(expressions),
        condition=condition or "",
        nulls_distinct=distinct,
    )


# The rows that stand in the way of another type: their values are none of it.


# A variable of plpgsql is assigned by the casts that ALTER TYPE uses, which refuse what an explicit cast cuts off.
_CAST_TEST_FUNCTION = """CREATE FUNCTION pg_temp.fits({relation}) RETURNS boolean LANGUAGE plpgsql AS $fits$
#variable_conflict use_column
DECLARE fitting {kind};
BEGIN SELECT ({expression}) INTO fitting FROM (SELECT ($1).*) AS {bare}; RETURN true;
EXCEPTION WHEN data_exception THEN RETURN false; END $fits$"""


def cast_violations(
    connection: Connection, text: bytes, altered: AlterTableStatement, action: tuple[StatementToken, ...]
) -> Iterator[Violation]:
    """ALTER COLUMN … TYPE: the rows whose value the new type does not take, tried one by one."""
    column, rest = altered_column(text, action)
    words = [token.word for token in rest]
    if words[:3] == ["SET", "DATA", "TYPE"]:
        rest, words = rest[2:], words[2:]
    if words[:1] != ["TYPE"]:
        return
    cut = next((at for at, word in enumerate(words) if word in ("USING", "COLLATE")), len(words))
    kind = token_text(text, rest[1:cut])
    using = words.index("USING") + 1 if "USING" in words else len(words)
    expression = token_text(text, rest[using:]) or column
    relation = qualified_table_name(connection, altered.table)
    function = _CAST_TEST_FUNCTION.format(relation=relation, kind=kind, expression=expression, bare=altered.bare_name)
    if "$fits$" in kind + expression:
        return
    connection.execute("SAVEPOINT fits")
    connection.execute(function.encode())
    rows = altered.from_item(relation)
    found = count_matching_rows(connection, relation, f"{column} {kind}", rows=rows, condition="NOT pg_temp.fits(t)")
    connection.execute("ROLLBACK TO fits")
    yield replace(found, query=f"{function};\n{found.query}")


_NOT_NULL_VIOLATION = "23502"
_UNIQUE_VIOLATION = "23505"
_DATA_EXCEPTION_CLASS = "22"  # the class: values that a type does not take
_CHECK_OR_FOREIGN_KEY_VIOLATION = ("23503", "23514")
_ELLIPSIS = "…"  # stands for what was cut off or masked
_VALIDATE_CONSTRAINT = ["VALIDATE", "CONSTRAINT"]


def find_violations(
    url: str, failure: Failure, *, statement: bytes | None = None, ahead: Sequence[bytes] = ()
) -> tuple[Violation, ...]:
    """The rows in the way of the failed statement, () when its shape does not tell or there are none any more.

    `url` is the database that it failed in. `statement` is its full text, where the failure's is cut short or masked;
    `ahead` are the statements of the same file that were rolled back with it. Raises DatabaseUnreachable.
    """
    text = statement if statement is not None else (failure.statement or "").encode()
    if not text or (statement is None and _ELLIPSIS.encode() in text):
        return ()
    if any(
        statement_effect(one) not in (StatementEffect.PLAIN, StatementEffect.SETTING, StatementEffect.LEXICAL)
        for one in ahead
    ):
        return ()  # it would end our transaction, and could not be taken back
    with open_session(url) as session:
        connection = with_runner_settings(session, statement_timeout_ms=0).connection
        connection.execute("BEGIN")
        try:
            for one in ahead:
                connection.execute(one)
            found = tuple(_violations_for_sqlstate(connection, text, failure.sqlstate or ""))
        except psycopg.Error:
            return ()  # what cannot be taken so far again tells nothing about rows
        finally:
            if not connection.broken:
                connection.execute("ROLLBACK")
    return tuple(one for one in found if one.rows)


def _violations_for_sqlstate(connection: Connection, text: bytes, state: str) -> Iterator[Violation]:
    altered = parse_alter_table(text)
    if altered is None:
        if state == _UNIQUE_VIOLATION and (unique := unique_index_violation(connection, text)) is not None:
            yield unique
    elif state in _CHECK_OR_FOREIGN_KEY_VIOLATION:
        yield from _constraint_violations(connection, text, altered)
    elif state in (_NOT_NULL_VIOLATION, _UNIQUE_VIOLATION):
        for action in altered.actions:
            yield from _null_violations(connection, text, altered, action)
            if state == _UNIQUE_VIOLATION:
                yield from unique_constraint_violations(connection, text, altered, action)
    elif state.startswith(_DATA_EXCEPTION_CLASS):
        for action in altered.actions:
            yield from cast_violations(connection, text, altered, action)


def _constraint_violations(connection: Connection, text: bytes, altered: AlterTableStatement) -> Iterator[Violation]:
    """CHECK and FOREIGN KEY: those that the statement validates, and those that it adds, once they are NOT VALID."""
    words = [[token.word for token in action] for action in altered.actions]
    validated = {
        fold_identifier(action[2])
        for action, one in zip(altered.actions, words, strict=True)
        if one[:-1] == _VALIDATE_CONSTRAINT
    }
    added = [action for action in altered.actions if added_constraint_kind(action) in ("CHECK", "FOREIGN")]
    relation = qualified_table_name(connection, altered.table)
    known = {one.oid for one in _read_with_schema_names(connection)}
    if added and len(added) == len(altered.actions):  # other actions may change what the constraint is about
        ends = [
            action[-1].end for action, one in zip(altered.actions, words, strict=True) if one[-2:] != ["NOT", "VALID"]
        ]
        connection.execute(edit_statement(text, added=[(end, b" NOT VALID") for end in ends]))
    for one in _read_with_schema_names(connection):
        if one.oid not in known or (one.relation == relation and one.name in validated):
            yield count_constraint_violations(connection, one)


def _read_with_schema_names(connection: Connection) -> tuple[NotValidConstraint, ...]:
    """As violators.unvalidated, the names spelled with their schemas; the search path stays what it is."""
    connection.execute("SAVEPOINT path")
    connection.execute("SELECT set_config('search_path', '', true)")
    found = read_not_valid_constraints(connection)
    connection.execute("ROLLBACK TO path")
    return found


def _null_violations(
    connection: Connection, text: bytes, altered: AlterTableStatement, action: tuple[StatementToken, ...]
) -> Iterator[Violation]:
    """SET NOT NULL, the columns of a primary key, and ADD COLUMN … NOT NULL without a value for it."""
    relation = qualified_table_name(connection, altered.table)
    rows = altered.from_item(relation)
    column, rest = altered_column(text, action)
    words = [token.word for token in rest]
    columns = [column] if words == ["SET", "NOT", "NULL"] else []
    if added_constraint_kind(action) == "PRIMARY":
        columns = list(plain_column_names(text, added_constraint(action)[2:]))
    for one in columns:
        yield count_matching_rows(connection, relation, f"{one} NOT NULL", rows=rows, condition=f"t.{one} IS NULL")
    if (added := added_column_without_value(text, action)) is not None:
        yield count_matching_rows(connection, relation, f"{added} NOT NULL", rows=rows, condition="true")
