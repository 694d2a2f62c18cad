"""Count the rows that made a migration fail, all of them and not just the first that the server met.

The failed statement is repeated in a transaction that is rolled back, without the part that reads rows: constraints as
NOT VALID, a unique index as a plain one. The catalog then gives the expressions to count rows by. A statement of an
unusual shape gives (): no number is better than a wrong one.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import psycopg

from kernel.db.connection import open_session, with_runner_settings
from kernel.lint.action import read_column_definition
from kernel.rehearsal.alter_table import StatementText, parse_alter_table
from kernel.rehearsal.data.row_constraints import (
    UniqueKey,
    count_constraint_violations,
    count_duplicates,
    count_matching_rows,
    from_item,
    read_row_constraints,
    read_unique_keys,
)
from kernel.sql.classify import StatementEffect, statement_effect
from kernel.sql.reader import WordReader, contains_words

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kernel.db.connection import Connection
    from kernel.errors import Failure
    from kernel.rehearsal.alter_table import AlterTable, AlterTableAction
    from kernel.rehearsal.data.row_constraints import RowConstraint
    from kernel.rehearsal.result import Violation


_NOT_NULL_VIOLATION = "23502"
_UNIQUE_VIOLATION = "23505"
_DATA_EXCEPTION_CLASS = "22"  # the class: values that a type does not take
_CHECK_OR_FOREIGN_KEY_VIOLATION = ("23503", "23514")
_ELLIPSIS = "…"  # stands for what was cut off or masked
_REPEATABLE_EFFECTS = (
    StatementEffect.PLAIN,
    StatementEffect.SETTING,
    StatementEffect.LOCAL_SEARCH_PATH,
    StatementEffect.LEXICAL,
    StatementEffect.SCHEMA,
    StatementEffect.LARGE_OBJECT,
)

# All names come quoted from the server or as the migration has them, and are put together as text.


def find_violations(url: str, failure: Failure, *, ahead: Sequence[bytes] = ()) -> tuple[Violation, ...]:
    """Rows that violate what the failed statement asks, () when its shape is unknown or no such row is left.

    `url` is the database that it failed in. `ahead` are the statements of the same file that were rolled back with it.
    A statement that is cut short or masked gives (). Each has a check, if its query runs before the file as well.
    Raises DatabaseUnreachable.
    """
    text = (failure.statement or "").encode()
    if not text or _ELLIPSIS.encode() in text:
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
        return tuple(_with_check(connection, violation) for violation in found if violation.rows)


def _with_check(connection: Connection, violation: Violation) -> Violation:
    """The violation with a check, if its query is one statement that finds what it needs before the file runs."""
    if not violation.query.startswith("SELECT"):
        return violation
    condition = f"SELECT NOT EXISTS ({violation.query});"
    try:
        connection.execute(f"EXPLAIN {condition}".encode())
    except psycopg.Error:
        return violation
    broken = violation.constraint or "what the statement below requires"
    message = " ".join(f"no row of {violation.relation} violates {broken}".split())  # a quoted name may have line ends
    return replace(violation, check=f"-- migrate: check {message}\n{condition}")


def _violations_for_sqlstate(connection: Connection, text: bytes, state: str) -> Iterator[Violation]:
    altered = parse_alter_table(text)
    if altered is None:
        if state == _UNIQUE_VIOLATION and (unique := _unique_index_violation(connection, text)) is not None:
            yield unique
        return
    relation = _qualified_table_name(connection, altered.table)
    if state in _CHECK_OR_FOREIGN_KEY_VIOLATION:
        yield from _constraint_violations(connection, altered, relation)
        return
    for action in altered.actions:
        if state in (_NOT_NULL_VIOLATION, _UNIQUE_VIOLATION):
            yield from _null_violations(connection, altered, action, relation)
        if state == _UNIQUE_VIOLATION:
            yield from _unique_constraint_violations(connection, altered, action, relation)
        if state.startswith(_DATA_EXCEPTION_CLASS):
            yield from _cast_violations(connection, altered, action, relation)


def _column_as_written(altered: AlterTable, action: AlterTableAction, name: str) -> str:
    """A column as the action has it, with its quotes; `name` is as the catalog has it."""
    return altered.written([next(word for word in altered.words_of(action) if word.is_name and word.text == name)])


def _qualified_table_name(connection: Connection, name: str) -> str:
    """The table that a statement calls `name`, with its schema. Raises psycopg.Error."""
    query = """
    SELECT format('%%I.%%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.oid = %s::regclass"""
    row = connection.execute(query, (name,)).fetchone()
    return str(row[0]) if row else name


def _null_violations(
    connection: Connection, altered: AlterTable, action: AlterTableAction, relation: str
) -> Iterator[Violation]:
    """SET NOT NULL, the columns of a primary key, and ADD COLUMN … NOT NULL without a default."""
    read, condition = action.action, "t.{} IS NULL"
    columns = {"set not null": (read.name,), "add primary key": read.columns}.get(read.verb, ())
    if read.verb == "add column":
        definition = read_column_definition(read.words)
        if definition.clauses.isdisjoint({"default", "identity", "stored", "virtual"}) and (
            "not null" in definition.clauses and "serial" not in definition.type
        ):
            columns, condition = (read.name,), "true"
    rows = from_item(relation, only=altered.only)
    for name in (_column_as_written(altered, action, column) for column in columns):
        yield count_matching_rows(connection, relation, f"{name} NOT NULL", rows=rows, condition=condition.format(name))


def _unique_constraint_violations(
    connection: Connection, altered: AlterTable, action: AlterTableAction, relation: str
) -> Iterator[Violation]:
    """UNIQUE (…) and PRIMARY KEY (…)."""
    if action.action.verb not in ("add unique", "add primary key") or not action.action.columns:
        return
    columns = tuple(_column_as_written(altered, action, column) for column in action.action.columns)
    key = UniqueKey(
        relation=relation,
        name="",
        expressions=columns,
        nulls_distinct=not contains_words(altered.words_of(action), "NULLS", "NOT", "DISTINCT"),
    )
    constraint = f"{action.action.verb.removeprefix('add ').upper()} ({', '.join(columns)})"
    yield count_duplicates(connection, key, constraint, only=altered.only)


# An assignment in plpgsql casts as ALTER TYPE does, and refuses what an explicit cast would truncate.
_CAST_TEST_FUNCTION = """CREATE FUNCTION pg_temp.fits({relation}) RETURNS boolean LANGUAGE plpgsql AS $fits$
#variable_conflict use_column
DECLARE fitting {type};
BEGIN SELECT ({expression}) INTO fitting FROM (SELECT ($1).*) AS {bare_name}; RETURN true;
EXCEPTION WHEN data_exception THEN RETURN false; END $fits$"""


def _cast_violations(
    connection: Connection, altered: AlterTable, action: AlterTableAction, relation: str
) -> Iterator[Violation]:
    """ALTER COLUMN … TYPE: the rows whose value the new type does not take, each of them tried."""
    if action.action.verb != "change type":
        return
    column = _column_as_written(altered, action, action.action.name)
    new_type = altered.written(action.action.words)
    reader = WordReader(altered.words_of(action))
    reader.take_until("USING")
    expression = altered.statement.text(action.begin + reader.index + 1, action.end) or column
    if "$fits$" in new_type + expression:
        return
    function = _CAST_TEST_FUNCTION.format(
        relation=relation, type=new_type, expression=expression, bare_name=altered.written(altered.name[-1:])
    )
    connection.execute("SAVEPOINT fits")
    connection.execute(function.encode())
    found = count_matching_rows(
        connection,
        relation,
        f"{column} {new_type}",
        rows=from_item(relation, only=altered.only),
        condition="NOT pg_temp.fits(t)",
    )
    connection.execute("ROLLBACK TO fits")
    yield replace(found, query=f"{function};\n{found.query}")


def _constraint_violations(connection: Connection, altered: AlterTable, relation: str) -> Iterator[Violation]:
    """CHECK and FOREIGN KEY: those that the statement validates, and those that it adds, as NOT VALID."""
    validated = {one.action.name for one in altered.actions if one.action.verb == "validate"}
    known = {constraint.oid for constraint in _read_with_schema_names(connection)}
    # Other actions may change what the constraint is about.
    if all(one.action.verb in ("add check", "add foreign key") for one in altered.actions):
        connection.execute(_as_not_valid(altered))
    for constraint in _read_with_schema_names(connection):
        if constraint.oid not in known or (constraint.relation == relation and constraint.name in validated):
            yield count_constraint_violations(connection, constraint)


def _as_not_valid(altered: AlterTable) -> bytes:
    """The statement with NOT VALID at the end of each action that has none."""
    text = altered.statement.sql
    for one in reversed(altered.actions):
        if "not valid" not in one.action.traits:
            end = altered.statement.words[one.end - 1].end
            text = text[:end] + b" NOT VALID" + text[end:]
    return text


def _read_with_schema_names(connection: Connection) -> tuple[RowConstraint, ...]:
    """The NOT VALID constraints, names with their schemas; the search path is restored."""
    connection.execute("SAVEPOINT path")
    connection.execute("SELECT set_config('search_path', '', true)")
    found = read_row_constraints(connection, validated=False)
    connection.execute("ROLLBACK TO path")
    return found


_TABLE_INDEXES = "SELECT indexrelid::bigint FROM pg_index WHERE indrelid = %s::regclass"


def _unique_index_violation(connection: Connection, text: bytes) -> Violation | None:
    """CREATE UNIQUE INDEX: the index is built without UNIQUE, so that the server gives its expressions."""
    statement = StatementText(text)
    reader = statement.reader()
    if not reader.take("CREATE", "UNIQUE", "INDEX"):
        return None
    reader.take_until("ON")
    reader.take("ON")
    definition = reader.index
    only, begin = reader.take("ONLY"), reader.index
    if not reader.take_name():
        return None
    name = statement.text(begin, reader.index)
    known = connection.execute(_TABLE_INDEXES, (name,)).fetchall()
    # Without CONCURRENTLY too, and without a name, which an index that failed may have taken.
    connection.execute(b"CREATE INDEX ON " + text[statement.words[definition].begin :])
    built = [row for row in connection.execute(_TABLE_INDEXES, (name,)).fetchall() if row not in known]
    connection.execute("SELECT set_config('search_path', '', true)")
    keys = read_unique_keys(connection, index_oid=built[0][0]) if len(built) == 1 else ()
    for key in keys:
        nulls_distinct = not contains_words(statement.words, "NULLS", "NOT", "DISTINCT")
        constraint = f"unique index on ({', '.join(key.expressions)})"
        return count_duplicates(connection, replace(key, nulls_distinct=nulls_distinct), constraint, only=only)
    return None
