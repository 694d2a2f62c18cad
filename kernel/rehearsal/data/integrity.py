"""Faults of the schema of the clone: sequences that lag, invalid indexes, constraints, keys near their limit."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql

from kernel.rehearsal.data.connections import Row, fetch_rows, open_connection_pair
from kernel.rehearsal.data.row_constraints import (
    count_constraint_violations,
    count_duplicates,
    count_matching_rows,
    read_row_constraints,
    read_unique_keys,
)
from kernel.rehearsal.data.tables import pair_tables, read_tables

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kernel.db.connection import Connection
    from kernel.rehearsal.data.connections import ConnectionPair
    from kernel.rehearsal.data.tables import TablePair
    from kernel.rehearsal.result import Violation


NEAR_LIMIT_RATIO = 0.8  # of what the type holds

# Integer columns that are a key of their own, or have a sequence that counts up: (column, index or sequence, …).
# Of all tables but partitions, or of the tables with the OIDs of the parameter.
_COUNTERS = sql.SQL("""
SELECT c.oid::bigint, a.attnum, n.nspname, c.relname, a.attname,
  format('%%I.%%I.%%I', n.nspname, c.relname, a.attname), format_type(a.atttypid, NULL),
  (2::numeric ^ (8 * a.attlen - 1) - 1)::bigint, s.nspname, s.relname,
  s.oid IS NOT NULL AND pg_sequence_last_value(s.oid) IS NOT NULL, s.seqincrement
FROM pg_attribute a
JOIN pg_class c ON c.oid = a.attrelid AND c.relkind IN ('r', 'p') AND c.relpersistence <> 't'
  AND CASE WHEN %(tables)s::int8[] IS NULL THEN NOT c.relispartition ELSE c.oid::int8 = ANY (%(tables)s::int8[]) END
JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN LATERAL (
  SELECT q.oid, m.nspname, q.relname, p.seqincrement FROM pg_depend d
  JOIN pg_class q ON q.oid = d.objid AND q.relkind = 'S'
  JOIN pg_sequence p ON p.seqrelid = q.oid AND p.seqincrement > 0 AND NOT p.seqcycle
  JOIN pg_namespace m ON m.oid = q.relnamespace
  WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')
    AND d.refobjid = c.oid AND d.refobjsubid = a.attnum LIMIT 1) s ON true
WHERE a.attnum > 0 AND NOT a.attisdropped AND a.atttypid IN ('int2'::regtype, 'int4'::regtype, 'int8'::regtype)
  AND n.nspname NOT IN ('pg_catalog', 'information_schema')
  AND (s.oid IS NOT NULL OR EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisunique AND i.indisvalid
    AND i.indpred IS NULL AND i.indnkeyatts = 1 AND i.indkey[0] = a.attnum))
ORDER BY 6
""")


@dataclass(frozen=True, slots=True, kw_only=True)
class SequenceBehind:
    """A sequence whose next value is not above its column's maximum: an INSERT will fail, or repeat a key."""

    sequence: str
    column: str
    next_value: int
    max_value: int
    in_production: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyNearLimit:
    """A key near the greatest value of its type."""

    column: str
    type: str
    max_value: int
    type_limit: int
    in_production: bool = False


# By table, column number and kind: names may change, and a partition may be detached.
CounterProblems = dict[tuple[int, int, type], SequenceBehind | KeyNearLimit]


def find_counter_problems(connection: Connection, *, tables: list[int] | None = None) -> CounterProblems:
    """The sequences that lag their column, and the keys near their limit; of `tables`, or of all but partitions."""
    found: CounterProblems = {}
    for row in connection.execute(_COUNTERS, {"tables": tables}).fetchall():
        oid, number, schema, table, column, label, kind, limit, sequence_schema, sequence, called, step = row
        column_name = sql.Identifier(column)
        ((greatest,),) = fetch_rows(
            connection, sql.SQL("SELECT max({}) FROM {}").format(column_name, sql.Identifier(schema, table))
        )
        if greatest is None:
            continue
        if sequence is not None:
            name = sql.Identifier(sequence_schema, sequence)
            ((last, quoted),) = fetch_rows(
                connection,
                sql.SQL("SELECT last_value, format('%I.%I', {}::text, {}::text) FROM {}").format(
                    sql.Literal(sequence_schema), sql.Literal(sequence), name
                ),
            )
            next_value = last + step if called else last
            if next_value <= greatest:
                found[oid, number, SequenceBehind] = SequenceBehind(
                    sequence=quoted, column=label, next_value=next_value, max_value=greatest
                )
        if greatest > limit * NEAR_LIMIT_RATIO:
            found[oid, number, KeyNearLimit] = KeyNearLimit(
                column=label, type=kind, max_value=greatest, type_limit=limit
            )
    return found


# A row each: (child table, parent table, constraint, columns).
_UNINDEXED_FOREIGN_KEYS = sql.SQL("""
SELECT c.conrelid::regclass::text, c.confrelid::regclass::text, quote_ident(c.conname),
  (SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY k.place)
    FROM unnest(c.conkey) WITH ORDINALITY AS k (number, place)
    JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = k.number)
FROM pg_constraint c WHERE c.contype = 'f' AND NOT EXISTS (
  SELECT FROM pg_index i WHERE i.indrelid = c.conrelid AND i.indisvalid AND i.indpred IS NULL
    AND (i.indkey::int2[])[0:cardinality(c.conkey) - 1] @> c.conkey)
ORDER BY 1, 3
""")


@dataclass(frozen=True, slots=True, kw_only=True)
class UnindexedForeignKey:
    """A foreign key without an index that begins with its `columns`, which are SQL text with commas."""

    table: str
    parent: str
    name: str
    columns: str


# A row each: (table, kind, OID, name, definition without the table's name).
_SAFEGUARDS = sql.SQL("""
SELECT c.conrelid::bigint, CASE c.contype WHEN 'p' THEN 'primary key' WHEN 'u' THEN 'unique constraint'
    WHEN 'f' THEN 'foreign key' WHEN 'c' THEN 'check' ELSE 'exclusion constraint' END,
  c.oid::bigint, quote_ident(c.conname), pg_get_constraintdef(c.oid)
FROM pg_constraint c WHERE c.conrelid <> 0 AND c.contype IN ('p', 'u', 'f', 'c', 'x')
UNION ALL
SELECT t.tgrelid::bigint, 'trigger', t.oid::bigint, quote_ident(t.tgname), t.tgfoid::regproc || ' ' || t.tgtype
FROM pg_trigger t WHERE NOT t.tgisinternal
UNION ALL
SELECT d.adrelid::bigint, 'default', 0, quote_ident(a.attname), a.attname FROM pg_attrdef d
JOIN pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum WHERE a.attgenerated = ''
UNION ALL
SELECT a.attrelid::bigint, 'default', 0, quote_ident(a.attname), a.attname FROM pg_attribute a
WHERE a.attidentity <> '' AND NOT a.attisdropped
UNION ALL
SELECT a.attrelid::bigint, 'not null', 0, quote_ident(a.attname), a.attname FROM pg_attribute a
WHERE a.attnotnull AND a.attnum > 0 AND NOT a.attisdropped
""")


@dataclass(frozen=True, slots=True, kw_only=True)
class LostSafeguard:
    """A constraint, trigger or default of a table or column that still exists, which the clone no longer has.

    `kind` is primary key, unique constraint, foreign key, check, exclusion constraint, trigger, default or not null.
    """

    table: str
    kind: str
    name: str


def find_lost_safeguards(tables: tuple[TablePair, ...], before: list[Row], after: list[Row]) -> Iterator[LostSafeguard]:
    """The safeguards that the clone lacks: it has neither the same object nor one of the same definition on the table.

    `before` and `after` are rows of _SAFEGUARDS. Any default of a column counts as the same.
    """
    present = {(kind, oid) for _, kind, oid, _, _ in after if oid}
    definitions = {(table, kind, definition) for table, kind, _, _, definition in after}
    for table in tables:
        if table.before is None or table.after is None:
            continue
        renamed = {column.before.name: column.after.name for column in table.shared_columns}
        for oid, kind, object_oid, name, definition in before:
            if oid != table.before.head.oid or (kind, object_oid) in present:
                continue
            wanted = definition
            if not object_oid:
                if definition not in renamed:
                    continue  # the column is dropped
                wanted = renamed[definition]
            if (table.after.head.oid, kind, wanted) not in definitions:
                yield LostSafeguard(table=table.head.quoted, kind=kind, name=name)


_INVALID_INDEXES = sql.SQL("""
SELECT i.indexrelid::bigint, i.indexrelid::regclass::text, i.indrelid::regclass::text FROM pg_index i
WHERE NOT i.indisvalid ORDER BY 2
""")


@dataclass(frozen=True, slots=True, kw_only=True)
class InvalidIndex:
    """An index that is INVALID: no query uses it, every write maintains it."""

    index: str
    table: str
    in_production: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class UnvalidatedConstraint:
    """A constraint that is NOT VALID, and the rows that violate it, 0 of them if it could be validated."""

    violation: Violation
    in_production: bool


def count_refused_rows(
    both: ConnectionPair, tables: tuple[TablePair, ...], before: list[Row], after: list[Row]
) -> Iterator[Violation]:
    """The rows of production that new constraints of the clone refuse: the running version writes such rows.

    `before` and `after` are rows of _SAFEGUARDS. `constraint` of a result is the name of a constraint, or of a column
    that is NOT NULL now. A constraint on what production does not have is left out.
    """
    not_null_before, not_null_after = (
        {(oid, column) for oid, kind, _, _, column in rows if kind == "not null"} for rows in (before, after)
    )
    for table in tables:
        if table.before is None or table.after is None:
            continue
        old, new, relation = table.before.head.oid, table.after.head.oid, table.head.quoted
        for pair in table.shared_columns:
            if (new, pair.after.name) in not_null_after and (old, pair.before.name) not in not_null_before:
                yield count_matching_rows(
                    both.template,
                    relation,
                    pair.before.quoted,
                    rows=f"{relation} AS t",
                    condition=f"t.{pair.before.quoted} IS NULL",
                )
    known = {one.oid for valid in (True, False) for one in read_row_constraints(both.template, validated=valid)}
    for constraint in read_row_constraints(both.clone, validated=True):
        if constraint.oid not in known:
            with suppress(psycopg.ProgrammingError):  # it is about what production does not have
                yield count_constraint_violations(both.template, constraint)
    known_keys = {replace(key, name="") for key in read_unique_keys(both.template)}
    for key in read_unique_keys(both.clone):
        if replace(key, name="") not in known_keys:
            with suppress(psycopg.ProgrammingError):  # the same
                yield count_duplicates(both.template, key, key.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class IntegrityReport:
    """All faults, each kind ordered by name; `in_production` says that production has the fault already."""

    sequences_behind: tuple[SequenceBehind, ...]
    keys_near_limit: tuple[KeyNearLimit, ...]
    invalid_indexes: tuple[InvalidIndex, ...]
    unvalidated_constraints: tuple[UnvalidatedConstraint, ...]
    lost_safeguards: tuple[LostSafeguard, ...]
    unindexed_foreign_keys: tuple[UnindexedForeignKey, ...] = ()
    refused_rows: tuple[Violation, ...] = ()


def check_integrity(template: str, clone: str, *, jobs: int = 2) -> IntegrityReport:
    """Compare the faults of the clone with those of the template, both given by URL. Raises as `check_data`."""
    with open_connection_pair(template, clone, jobs=jobs) as both:
        tables = pair_tables(read_tables(both.template), read_tables(both.clone))
        found = find_counter_problems(both.clone)
        known = find_counter_problems(both.template, tables=sorted({oid for oid, _, _ in found}))
        counters = [replace(one, in_production=key in known) for key, one in found.items()]
        safeguards = fetch_rows(both.template, _SAFEGUARDS), fetch_rows(both.clone, _SAFEGUARDS)
        old_invalid = {row[0] for row in fetch_rows(both.template, _INVALID_INDEXES)}
        old_unvalidated = {one.oid for one in read_row_constraints(both.template, validated=False)}
        return IntegrityReport(
            sequences_behind=tuple(one for one in counters if isinstance(one, SequenceBehind)),
            keys_near_limit=tuple(one for one in counters if isinstance(one, KeyNearLimit)),
            invalid_indexes=tuple(
                InvalidIndex(index=index, table=table, in_production=oid in old_invalid)
                for oid, index, table in fetch_rows(both.clone, _INVALID_INDEXES)
            ),
            unvalidated_constraints=tuple(
                UnvalidatedConstraint(
                    violation=count_constraint_violations(both.clone, one), in_production=one.oid in old_unvalidated
                )
                for one in read_row_constraints(both.clone, validated=False)
            ),
            lost_safeguards=tuple(find_lost_safeguards(tables, *safeguards)),
            refused_rows=tuple(one for one in count_refused_rows(both, tables, *safeguards) if one.rows),
            unindexed_foreign_keys=tuple(
                UnindexedForeignKey(table=table, parent=parent, name=name, columns=columns)
                for table, parent, name, columns in fetch_rows(both.clone, _UNINDEXED_FOREIGN_KEYS)
            ),
        )
