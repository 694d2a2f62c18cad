"""Foreign keys of large tables, proven by a query of our own, which the server runs on several processors.

ADD FOREIGN KEY checks the rows by a query that is asked for one row, and such a query never runs in parallel
(RI_Initial_Check in ri_triggers.c, ExecutePlan in execMain.c). So the key is added NOT VALID, which binds every row
from then on; the same question is asked of the rows that are there, as the role that loads; and when it finds none, the
catalog is told that the key is valid, by the superuser of a server of our own. That is what VALIDATE CONSTRAINT would
do, and it leaves the catalog as one that was added valid does. Whatever does not fit is added as the dump has it, so
that the server itself says what is wrong.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import psycopg

from kernel.rehearsal.dump.plain.classify import classify_statement, match_foreign_key
from kernel.rehearsal.dump.plain.load_state import catalog_transaction
from kernel.rehearsal.dump.plain.workers import LoadJob

if TYPE_CHECKING:
    import re
    from collections.abc import Sequence

    from kernel.db.connection import Connection
    from kernel.rehearsal.dump.plain.contents import DumpStatement
    from kernel.rehearsal.dump.plain.load_state import LoadState
    from kernel.rehearsal.dump.plain.workers import LoadConnection


PARALLEL_CHECK_MIN_BYTES = 32 << 20  # of the table in the dump: below that, asking takes longer than it saves

_NOT_VALID = b" NOT VALID;"
# Between ordinary tables, whose keys have no others beneath them. An operator is given the types that it is for, as
# ri_GenerateQual does; of polymorphic ones (arrays, enums, ranges) and of different collations the server knows more.
# Where rows have policies, the question might not see all of them.
_VIOLATIONS_QUERY = """
SELECT c.oid, format(
  'SELECT pg_catalog.count(*) FROM ONLY %%I.%%I f LEFT JOIN ONLY %%I.%%I p ON %%s WHERE p.%%I IS NULL AND (%%s)',
  fn.nspname, f.relname, pn.nspname, p.relname, string_agg(k.met, ' AND ' ORDER BY k.place),
  min(k.key) FILTER (WHERE k.place = 1),
  string_agg(k.given, CASE c.confmatchtype WHEN 'f' THEN ' OR ' ELSE ' AND ' END ORDER BY k.place))
FROM pg_constraint c
JOIN pg_class f ON f.oid = c.conrelid JOIN pg_namespace fn ON fn.oid = f.relnamespace
JOIN pg_class p ON p.oid = c.confrelid JOIN pg_namespace pn ON pn.oid = p.relnamespace
CROSS JOIN LATERAL (
  SELECT place, pa.attname::text AS key, format('f.%%I IS NOT NULL', fa.attname) AS given,
    format('p.%%I::%%I.%%I OPERATOR(%%I.%%s) f.%%I::%%I.%%I',
      pa.attname, ln.nspname, l.typname, n.nspname, o.oprname, fa.attname, rn.nspname, r.typname) AS met,
    pa.attcollation = fa.attcollation AND l.typtype <> 'p' AND r.typtype <> 'p' AS plain
  FROM unnest(c.conkey, c.confkey, c.conpfeqop) WITH ORDINALITY AS u (foreign_column, key_column, operator, place)
  JOIN pg_attribute fa ON fa.attrelid = c.conrelid AND fa.attnum = foreign_column
  JOIN pg_attribute pa ON pa.attrelid = c.confrelid AND pa.attnum = key_column
  JOIN pg_operator o ON o.oid = operator JOIN pg_namespace n ON n.oid = o.oprnamespace
  JOIN pg_type l ON l.oid = o.oprleft JOIN pg_namespace ln ON ln.oid = l.typnamespace
  JOIN pg_type r ON r.oid = o.oprright JOIN pg_namespace rn ON rn.oid = r.typnamespace
) k
WHERE c.conrelid = to_regclass(%s) AND c.conname = (parse_ident(%s))[1] AND c.contype = 'f' AND NOT c.convalidated
  AND f.relkind = 'r' AND p.relkind = 'r' AND NOT f.relrowsecurity AND NOT p.relrowsecurity
GROUP BY c.oid, c.confmatchtype, fn.nspname, f.relname, pn.nspname, p.relname
HAVING bool_and(k.plain)
"""
_MARK_VALIDATED = "UPDATE pg_constraint SET convalidated = true WHERE oid = %s AND contype = 'f' AND NOT convalidated"


@dataclass(frozen=True, slots=True, kw_only=True)
class UnvalidatedKey:
    """A foreign key that is there, and whose rows are still to be looked at: `question` counts those that break it."""

    constraint_oid: int
    violations_query: str
    drop_statement: bytes


def add_unvalidated_key(
    hand: LoadConnection, superuser: Connection, statement: re.Match[bytes]
) -> UnvalidatedKey | None:
    """Add the key that shape.key matched as a promise; None when it does not fit, and then nothing is there.

    Raises RestoreFailed when the server cannot go on.
    """
    if hand.run(statement[0].removesuffix(b";") + _NOT_VALID):
        return None
    withdrawal = b"ALTER TABLE ONLY %b DROP CONSTRAINT %b" % (statement["exclusive"], statement["name"])
    with catalog_transaction(superuser):
        names = (statement["exclusive"].decode(errors="replace"), statement["name"].decode(errors="replace"))
        found = superuser.execute(_VIOLATIONS_QUERY, names).fetchone()
    if found is None:
        hand.run(withdrawal)
        return None
    constraint, question = found
    return UnvalidatedKey(constraint_oid=constraint, violations_query=question, drop_statement=withdrawal)


def has_no_violations(hand: LoadConnection, promise: UnvalidatedKey) -> bool:
    """Whether no row breaks the key, by the rights and the settings of the role that loads; False when unknown."""
    try:
        return hand.connection.execute(promise.violations_query.encode()).fetchone() == (0,)
    except psycopg.Error:
        return False  # short of memory, a function of the dump's own: the statement as written will tell


def mark_validated(superuser: Connection, promise: UnvalidatedKey) -> bool:
    """Have the catalog say that the key is valid; False when it is gone. Raises psycopg.Error."""
    with catalog_transaction(superuser):
        return superuser.execute(_MARK_VALIDATED, (promise.constraint_oid,)).rowcount == 1


# Indexes and foreign keys, side by side as far as their locks allow.


def build_indexes(site: LoadState, statements: Sequence[DumpStatement]) -> None:
    """Build indexes, and the constraints that rest on them."""
    _run_statements(site, statements, [])


def add_foreign_keys(site: LoadState, statements: Sequence[DumpStatement], besides: Sequence[LoadJob]) -> None:
    """Add foreign keys, and do the jobs `besides` while they are checked.

    Those of large tables are added ahead of the others and locked no more; then their rows are looked at.
    """
    promises: list[tuple[DumpStatement, UnvalidatedKey]] = []
    others: list[DumpStatement] = []
    for statement in statements:
        if promise := _add_if_large(site, statement):
            promises.append((statement, promise))
        else:
            others.append(statement)
    broken: list[tuple[DumpStatement, UnvalidatedKey]] = []

    def accepted(promise: UnvalidatedKey) -> bool:
        with site.assistant_lock:
            return mark_validated(site.assistant.connection, promise)

    def proving(statement: DumpStatement, promise: UnvalidatedKey) -> LoadJob:
        def run(one: LoadConnection) -> None:
            site.apply_settings(one, statement.settings_state)
            if not has_no_violations(one, promise) or not accepted(promise):
                broken.append((statement, promise))

        return LoadJob(cost=_read_bytes(site, statement), run=run)

    _run_statements(site, others, [*(proving(*one) for one in promises), *besides])
    for statement, promise in broken:
        site.main.run(promise.drop_statement)
        site.run(site.main, statement)  # for the server's own words, and its own mind


def _run_statements(site: LoadState, statements: Sequence[DumpStatement], besides: Sequence[LoadJob]) -> None:
    deadlocked: list[DumpStatement] = []
    site.workers.run_jobs([*(_statement_job(site, statement, deadlocked) for statement in statements), *besides])
    for statement in deadlocked:
        site.run(site.main, statement)


def _add_if_large(site: LoadState, statement: DumpStatement) -> UnvalidatedKey | None:
    match = match_foreign_key(site.index.sql(statement)) if site.may_write_catalog else None
    if match is None or site.table_bytes(match["exclusive"]) < PARALLEL_CHECK_MIN_BYTES:
        return None
    site.apply_settings(site.main, statement.settings_state)
    return add_unvalidated_key(site.main, site.assistant.connection, match)


def _statement_job(site: LoadState, statement: DumpStatement, deadlocked: list[DumpStatement]) -> LoadJob:
    shared, exclusive = _locked_tables(site, statement)
    return LoadJob(
        cost=_read_bytes(site, statement),
        run=lambda one: site.run(one, statement, deadlocked),
        shared=shared,
        exclusive=exclusive,
    )


def _read_bytes(site: LoadState, statement: DumpStatement) -> int:
    """The bytes of the tables that are read for it."""
    return sum(site.table_bytes(table) for table in frozenset().union(*_locked_tables(site, statement)))


def _locked_tables(site: LoadState, statement: DumpStatement) -> tuple[frozenset[bytes], frozenset[bytes]]:
    """The tables that a statement locks against those who write, and against everybody who does the same."""
    _kind, match = classify_statement(site.index.sql(statement))
    found = match.groupdict() if match else {}
    shared = {found[name] for name in ("table",) if found.get(name)}
    exclusive = {found[name] for name in ("exclusive", "other") if found.get(name)}
    return frozenset(shared), frozenset(exclusive)
