"""Databases whose ledger has no records although files may have run there: each is refused, or every file would run.

Either there are tables and no ledger, or an empty ledger is found, and another one has the records of these files: the
search path finds one table of the name, and an empty one may come before the other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from psycopg import sql

from kernel.config.ledger_name import DEFAULT_LEDGER, TABLE_SUFFIXES
from kernel.db.connection import current_role, format_identifier
from kernel.db.ledger import LEDGER_COLUMNS, TABLES_WITH_COLUMNS, Ledger, table_setting
from kernel.errors import LedgerElsewhere, Problem, Unrecorded

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kernel.db.connection import Session
    from kernel.migrations.migration import Migration


# The tables where the ledger is to be and where files without a schema create theirs, without those of any runner. The
# same statement looks for the ledger: another runner may have created it, and the first tables, in the meantime. No
# catalog is read as a whole, which would take long in a database of many schemas: tables are those that depend on their
# schema, and ledgers are known by the columns of a table of that name.
_USER_TABLES = """
SELECT format('%%I.%%I', n.nspname, c.relname)
FROM pg_namespace n
JOIN pg_depend s ON s.refclassid = 'pg_namespace'::regclass AND s.refobjid = n.oid AND s.classid = 'pg_class'::regclass
JOIN pg_class c ON c.oid = s.objid
WHERE n.nspname IN (%(schema)s::name, current_schema()) AND c.relkind IN ('r', 'p')
  AND NOT EXISTS (SELECT FROM pg_class l JOIN pg_namespace s ON s.oid = l.relnamespace
    WHERE l.relname = %(table)s::name AND s.nspname = %(schema)s::name)
  AND NOT EXISTS (SELECT FROM unnest(%(suffixes)s::text[]) suffix JOIN pg_class l
    ON l.relname = left(c.relname, length(c.relname) - length(suffix))::name AND c.relname = l.relname || suffix
    WHERE l.relnamespace = c.relnamespace
      AND %(column_count)s = (SELECT count(*) FROM pg_attribute a
        WHERE a.attrelid = l.oid AND a.attname = ANY (%(columns)s) AND NOT a.attisdropped))
  AND NOT EXISTS (
    SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
ORDER BY n.nspname, c.relname
"""
# The other tables with the columns of a ledger, those on the search path first, and whether this role sees every row.
_OTHER_LEDGERS = f"""
SELECT n.nspname, c.relname,
  CASE WHEN has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT')
    THEN NOT row_security_active(c.oid) ELSE false END
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.oid IN ({TABLES_WITH_COLUMNS}) AND c.relkind IN ('r', 'p') AND NOT c.relispartition
  AND n.nspname !~ '^pg_' AND (%(any_name)s OR c.relname = %(table)s::name)
  AND (n.nspname, c.relname) IS DISTINCT FROM (%(schema)s::name, %(table)s::name)
ORDER BY array_position(current_schemas(false), n.nspname), n.nspname, c.relname
"""  # noqa: S608 - of constants
_NAMES_SHOWN = 5


def unrecorded_tables(session: Session, ledger: Ledger) -> tuple[str, ...]:
    """The tables, quoted and with their schema, of a database whose ledger does not exist; () when it does.

    They are those in the ledger's schema, and in the schema where files create theirs; no other ledger is one of them.
    """
    if ledger.exists or not ledger.among_tables:
        return ()
    values = {"schema": ledger.schema, "table": ledger.table, "suffixes": list(TABLE_SUFFIXES), **LEDGER_COLUMNS}
    return tuple(str(row[0]) for row in session.connection.execute(_USER_TABLES, values).fetchall())


def refuse_tables_without_ledger(session: Session, ledger: Ledger) -> None:
    """Raise Unrecorded when the database has tables and no ledger that records their migrations."""
    tables = unrecorded_tables(session, ledger)
    if tables:
        message = (
            f"{session.name}: holds {describe_tables(tables)}, but no {format_identifier(ledger.table)}; "
            "say which files made them: inv db.baseline --to VERSION, or --to 0 if none of the files did"
        )
        raise Unrecorded([Problem(message=message)])


def describe_tables(tables: tuple[str, ...]) -> str:
    """Some tables in words: their number, and the names of the first."""
    if len(tables) == 1:
        return f"the table {tables[0]}"
    return f"{len(tables)} tables ({', '.join(tables[:_NAMES_SHOWN])}{' …' if tables[_NAMES_SHOWN:] else ''})"


def refuse_records_elsewhere(session: Session, ledger: Ledger, migrations: Sequence[Migration]) -> None:
    """Raise LedgerElsewhere when a ledger without records was found, and another one has records of these files.

    The search path has chosen the table, and may choose another one in the next run. A setting that names the schema
    says which one is meant.
    """
    if not ledger.exists or session.migrations_table.schema is not None:
        return
    values = {
        "schema": ledger.schema,
        "table": ledger.table,
        "any_name": session.migrations_table == DEFAULT_LEDGER,
        **LEDGER_COLUMNS,
    }
    for schema, table, is_readable in session.connection.execute(_OTHER_LEDGERS, values).fetchall():
        other = Ledger(schema=schema, table=table, exists=True)
        if is_readable and not _has_records_of(session, other, migrations):
            continue
        has = "has records" if is_readable else f"may have records, which {current_role(session)} cannot read,"
        message = (
            f"{session.name}: {ledger.name}, which the search_path finds, has no records, but {other.name} {has} of "
            f"these files; if they ran here, set {table_setting(schema, table)}; if {ledger.name} is to record them, "
            f"set {table_setting(ledger.schema, ledger.table)}"
        )
        raise LedgerElsewhere([Problem(message=message)])


def _has_records_of(session: Session, ledger: Ledger, migrations: Sequence[Migration]) -> bool:
    """Whether a ledger has a record with the name or the content of a file, or of one that a squash file replaces."""
    names = [one.filename for one in migrations]
    checksums = [one.checksum for one in migrations]
    checksums += [replaced.checksum for one in migrations for replaced in one.replaces]
    query = sql.SQL(
        "SELECT EXISTS (SELECT FROM {} WHERE filename::text = ANY (%s) OR lower(checksum::text) = ANY (%s))"
    )
    row = session.connection.execute(query.format(ledger.identifier), (names, checksums)).fetchone()
    return bool(row and row[0])
