"""Count the rows that made a migration fail, all of them and not just the first that the server met.

The failed statement is repeated in a transaction that is rolled back, without the part that reads rows: constraints as
NOT VALID, a unique index as a plain one. The catalog then gives the expressions to count rows by. A statement of an
unusual shape gives (): no number is better than a wrong one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import psycopg

from kernel.db.connection import open_session, with_runner_settings
from kernel.lint.action import Action, read_column_definition
from kernel.lint.actions import read_actions
from kernel.rehearsal.result import Violation
from kernel.sql.classify import StatementEffect, statement_effect
from kernel.sql.reader import WordReader, contains_words, read_words, split_at_commas

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kernel.db.connection import Connection
    from kernel.errors import Failure
    from kernel.sql.reader import Word


_NOT_NULL_VIOLATION = "23502"
_UNIQUE_VIOLATION = "23505"
_DATA_EXCEPTION_CLASS = "22"  # the class: values that a type does not take
_CHECK_OR_FOREIGN_KEY_VIOLATION = ("23503", "23514")
_ELLIPSIS = "…"  # stands for what was cut off or masked
_REPEATABLE_EFFECTS = (StatementEffect.PLAIN, StatementEffect.SETTING, StatementEffect.LEXICAL)

# All names come quoted from the server or as the migration has them, and are put together as text.
# ruff: noqa: S608


def find_violations(
    url: str, failure: Failure, *, statement: bytes | None = None, ahead: Sequence[bytes] = ()
) -> tuple[Violation, ...]:
    """Rows that violate what the failed statement asks, () when its shape is unknown or no such row is left.

    `url` is the database that it failed in. `statement` is its full text, where the failure's is cut short or masked;
    `ahead` are the statements of the same file that were rolled back with it. Raises DatabaseUnreachable.
    """
    text = statement if statement is not None else (failure.statement or "").encode()
    if not text or (statement is None and _ELLIPSIS.encode() in text):
        return ()
    if any(statement_effect(earlier) not in _REPEATABLE_EFFECTS for earlier in ahead):
        return ()  # it would end our transaction, and could not be rolled back
    with open_session(url) as session:
        connection = with_runner_settings(session, statement_timeout_ms=0).connection
        connection.execute("BEGIN")
        try:
            for earlier in ahead:
                connection.execute(earlier)
            found = tuple(_violations_for_sqlstate(connection, text, failure.sqlstate or ""))
        except psycopg.Error:
            return ()  # a statement that cannot be repeated says nothing about rows
        finally:
            if not connection.broken:
                connection.execute("ROLLBACK")
    return tuple(violation for violation in found if violation.rows)


def _violations_for_sqlstate(connection: Connection, text: bytes, state: str) -> Iterator[Violation]:
    altered = _parse_alter_table(text)
    if altered is None:
        if state == _UNIQUE_VIOLATION and (unique := _unique_index_violation(connection, text)) is not None:
            yield unique
        return
    relation = _qualified_table_name(connection, altered.table)
    if state in _CHECK_OR_FOREIGN_KEY_VIOLATION:
        yield from _constraint_violations(connection, altered, relation)
        return
    for clause in altered.clauses:
        if state in (_NOT_NULL_VIOLATION, _UNIQUE_VIOLATION):
            yield from _null_violations(connection, altered, clause, relation)
        if state == _UNIQUE_VIOLATION:
            yield from _unique_constraint_violations(connection, altered, clause, relation)
        if state.startswith(_DATA_EXCEPTION_CLASS):
            yield from _cast_violations(connection, altered, clause, relation)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Clause:
    """A clause of ALTER TABLE: its words, and the action that the linter reads in it, None where it reads none."""

    words: tuple[Word, ...]
    action: Action | None

    @property
    def verb(self) -> str:
        return self.action.verb if self.action else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _AlterTable:
    """An ALTER TABLE: the table as written, `bare_name` without its schema, and its clauses."""

    statement: bytes
    table: str
    bare_name: str
    only: bool
    clauses: tuple[_Clause, ...]

    def from_item(self, relation: str) -> str:
        """The FROM item of its rows, as `t`; `relation` is the table under its qualified name."""
        return _from_item(relation, only=self.only)

    def text(self, words: Sequence[Word]) -> str:
        """The statement's text from the first of these words to the last, "" for none."""
        return _text(self.statement, words)

    def column(self, clause: _Clause, name: str) -> str:
        """A column as the clause has it, with its quotes; `name` is as the catalog has it."""
        return self.text([next(word for word in clause.words if word.is_name and word.text == name)])


def _parse_alter_table(statement: bytes) -> _AlterTable | None:
    """None for any other statement."""
    words = read_words(statement)
    reader = WordReader(words)
    if not reader.take("ALTER", "TABLE"):
        return None
    reader.take("IF", "EXISTS")
    only, begin = reader.take("ONLY"), reader.index
    if not reader.take_name():
        return None
    head = words[: reader.index]
    reader.take("*")
    clauses = []
    for clause in split_at_commas(reader.take_rest()):
        actions = tuple(read_actions((*head, *clause)))
        clauses.append(_Clause(words=clause, action=actions[0] if len(actions) == 1 else None))
    table = _text(statement, head[begin:])
    return _AlterTable(
        statement=statement, table=table, bare_name=_text(statement, head[-1:]), only=only, clauses=tuple(clauses)
    )


def _text(statement: bytes, words: Sequence[Word]) -> str:
    return statement[words[0].begin : words[-1].end].decode(errors="replace") if words else ""


def _from_item(relation: str, *, only: bool) -> str:
    return f"{'ONLY ' if only else ''}{relation} AS t"


def _qualified_table_name(connection: Connection, name: str) -> str:
    """The table that a statement calls `name`, with its schema. Raises psycopg.Error."""
    query = """
    SELECT format('%%I.%%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.oid = %s::regclass"""
    row = connection.execute(query, (name,)).fetchone()
    return str(row[0]) if row else name


def _null_violations(
    connection: Connection, altered: _AlterTable, clause: _Clause, relation: str
) -> Iterator[Violation]:
    """SET NOT NULL, the columns of a primary key, and ADD COLUMN … NOT NULL without a default."""
    action = clause.action
    rows = altered.from_item(relation)
    if action is None:
        return
    if action.verb == "add column":
        definition = read_column_definition(action.words)
        if definition.clauses.isdisjoint({"default", "identity", "stored", "virtual"}) and (
            "not null" in definition.clauses and "serial" not in definition.type
        ):
            name = altered.column(clause, action.name)
            yield _count_matching_rows(connection, relation, f"{name} NOT NULL", rows=rows, condition="true")
        return
    columns = {"set not null": (action.name,), "add primary key": action.columns}.get(action.verb, ())
    for name in (altered.column(clause, column) for column in columns):
        yield _count_matching_rows(connection, relation, f"{name} NOT NULL", rows=rows, condition=f"t.{name} IS NULL")


def _unique_constraint_violations(
    connection: Connection, altered: _AlterTable, clause: _Clause, relation: str
) -> Iterator[Violation]:
    """UNIQUE (…) and PRIMARY KEY (…)."""
    if clause.verb not in ("add unique", "add primary key") or clause.action is None or not clause.action.columns:
        return
    columns = tuple(altered.column(clause, column) for column in clause.action.columns)
    yield _count_duplicate_rows(
        connection,
        relation,
        f"{clause.verb.removeprefix('add ').upper()} ({', '.join(columns)})",
        rows=altered.from_item(relation),
        expressions=columns,
        nulls_distinct=not contains_words(clause.words, "NULLS", "NOT", "DISTINCT"),
    )


# An assignment in plpgsql casts as ALTER TYPE does, and refuses what an explicit cast would truncate.
_CAST_TEST_FUNCTION = """CREATE FUNCTION pg_temp.fits({relation}) RETURNS boolean LANGUAGE plpgsql AS $fits$
#variable_conflict use_column
DECLARE fitting {type};
BEGIN SELECT ({expression}) INTO fitting FROM (SELECT ($1).*) AS {bare_name}; RETURN true;
EXCEPTION WHEN data_exception THEN RETURN false; END $fits$"""


def _cast_violations(
    connection: Connection, altered: _AlterTable, clause: _Clause, relation: str
) -> Iterator[Violation]:
    """ALTER COLUMN … TYPE: the rows whose value the new type does not take, each of them tried."""
    if clause.verb != "change type" or clause.action is None:
        return
    column = altered.column(clause, clause.action.name)
    new_type = altered.text(clause.action.words)
    reader = WordReader(clause.words)
    reader.take_until("USING")
    # A string's word begins after its quote: the expression is what follows USING.
    using = clause.words[reader.index].end if reader.key else clause.words[-1].end
    expression = altered.statement[using : clause.words[-1].end].decode(errors="replace").strip() or column
    if "$fits$" in new_type + expression:
        return
    function = _CAST_TEST_FUNCTION.format(
        relation=relation, type=new_type, expression=expression, bare_name=altered.bare_name
    )
    connection.execute("SAVEPOINT fits")
    connection.execute(function.encode())
    found = _count_matching_rows(
        connection,
        relation,
        f"{column} {new_type}",
        rows=altered.from_item(relation),
        condition="NOT pg_temp.fits(t)",
    )
    connection.execute("ROLLBACK TO fits")
    yield replace(found, query=f"{function};\n{found.query}")


def _constraint_violations(connection: Connection, altered: _AlterTable, relation: str) -> Iterator[Violation]:
    """CHECK and FOREIGN KEY: those that the statement validates, and those that it adds, as NOT VALID."""
    validated = {clause.action.name for clause in altered.clauses if clause.action and clause.verb == "validate"}
    known = {constraint.oid for constraint in _read_with_schema_names(connection)}
    # Other actions may change what the constraint is about.
    if all(clause.verb in ("add check", "add foreign key") for clause in altered.clauses):
        connection.execute(_as_not_valid(altered))
    for constraint in _read_with_schema_names(connection):
        if constraint.oid not in known or (constraint.relation == relation and constraint.name in validated):
            yield count_constraint_violations(connection, constraint)


def _as_not_valid(altered: _AlterTable) -> bytes:
    """The statement with NOT VALID at the end of each clause that has none."""
    text = altered.statement
    for clause in reversed(altered.clauses):
        if clause.action and "not valid" not in clause.action.traits:
            end = clause.words[-1].end
            text = text[:end] + b" NOT VALID" + text[end:]
    return text


def _read_with_schema_names(connection: Connection) -> tuple[NotValidConstraint, ...]:
    """The NOT VALID constraints, names with their schemas; the search path is restored."""
    connection.execute("SAVEPOINT path")
    connection.execute("SELECT set_config('search_path', '', true)")
    found = read_not_valid_constraints(connection)
    connection.execute("ROLLBACK TO path")
    return found


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


def _unique_index_violation(connection: Connection, text: bytes) -> Violation | None:
    """CREATE UNIQUE INDEX: the index is built without UNIQUE, so that the server gives its expressions."""
    words = read_words(text)
    reader = WordReader(words)
    if not reader.take("CREATE", "UNIQUE", "INDEX"):
        return None
    reader.take_until("ON")
    reader.take("ON")
    definition = reader.index
    only, begin = reader.take("ONLY"), reader.index
    if not reader.take_name():
        return None
    name = _text(text, words[begin : reader.index])
    known = connection.execute(_TABLE_INDEXES, (name,)).fetchall()
    # Without CONCURRENTLY too, and without a name, which an index that failed may have taken.
    connection.execute(b"CREATE INDEX ON " + text[words[definition].begin :])
    built = [row for row in connection.execute(_TABLE_INDEXES, (name,)).fetchall() if row not in known]
    connection.execute("SELECT set_config('search_path', '', true)")
    index = connection.execute(_UNIQUE_INDEX, built[0]).fetchone() if len(built) == 1 else None
    if index is None:
        return None
    relation, expressions, condition = index
    return _count_duplicate_rows(
        connection,
        relation,
        f"unique index on ({', '.join(expressions)})",
        rows=_from_item(relation, only=only),
        expressions=tuple(expressions),
        condition=condition or "",
        nulls_distinct=not contains_words(words, "NULLS", "NOT", "DISTINCT"),
    )


# Of a CHECK, its expression; of a FOREIGN KEY, the condition that a row refers to no parent.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class NotValidConstraint:
    """A constraint that is NOT VALID: `condition` holds for the rows of `from_item` that violate it."""

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
            from_item=_from_item(relation, only=only),
            condition=condition,
        )
        for oid, relation, name, only, condition in connection.execute(_NOT_VALID_CONSTRAINTS.encode()).fetchall()
    )


def count_constraint_violations(connection: Connection, one: NotValidConstraint) -> Violation:
    """Count the rows that violate a constraint; `rows` of the result is 0 for none."""
    return _count_matching_rows(connection, one.relation, one.name, rows=one.from_item, condition=one.condition)


def _count_matching_rows(
    connection: Connection, relation: str, constraint: str, *, rows: str, condition: str
) -> Violation:
    """Count the rows of a relation for which a condition holds."""
    source = f"FROM {rows} WHERE {condition}"
    return Violation(
        relation=relation,
        constraint=constraint,
        rows=_fetch_count(connection, f"SELECT count(*) {source}"),
        query=f"SELECT * {source}",
    )


def _count_duplicate_rows(
    connection: Connection,
    relation: str,
    constraint: str,
    *,
    rows: str,
    expressions: tuple[str, ...],
    condition: str = "",
    nulls_distinct: bool = True,
) -> Violation:
    """Count the rows that share their key with another row, for a unique index over the expressions."""
    conditions = [f"({one}) IS NOT NULL" for one in expressions] if nulls_distinct else []
    whole = " AND ".join([*conditions, *([f"({condition})"] if condition else [])]) or "true"
    key = ", ".join(f"({one})" for one in expressions)
    query = (
        f"SELECT * FROM (SELECT *, count(*) OVER (PARTITION BY {key}) AS copies FROM {rows} WHERE {whole}) AS t "
        "WHERE copies > 1"
    )
    groups = f"SELECT count(*) AS copies FROM {rows} WHERE {whole} GROUP BY {key} HAVING count(*) > 1"
    return Violation(
        relation=relation,
        constraint=constraint,
        rows=_fetch_count(connection, f"SELECT coalesce(sum(copies), 0)::bigint FROM ({groups}) AS t"),
        query=query,
    )


def _fetch_count(connection: Connection, query: str) -> int:
    """The number that a query returns. Raises psycopg.Error."""
    row = connection.execute(query.encode()).fetchone()
    return int(row[0]) if row else 0
