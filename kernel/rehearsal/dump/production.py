"""Dump production with pg_dump: several tables at once, in one snapshot, in sessions that cannot write.

Every session has default_transaction_read_only from its start, and pg_dump's transactions are READ ONLY. pg_dump waits
a few seconds for a locked table, then gives up: a longer wait in the lock queue would block other sessions. A standby
can be dumped as well as its primary. Missing privileges are found beforehand, all of them, where pg_dump stops at the
first table: it needs USAGE on schemas, SELECT on every table, sequence and large object (also to lock a table whose
rows it leaves out), and no row security that hides rows.
Sources: PostgreSQL documentation, "pg_dump" and "Row Security Policies"; getTables and dumpTableData of pg_dump.c.
"""

from __future__ import annotations

import os
import shutil
from collections import defaultdict
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from psycopg import sql
from psycopg.conninfo import make_conninfo
from psycopg.rows import namedtuple_row

from kernel.config.ledger_name import DEFAULT_LEDGER
from kernel.db.connection import open_session
from kernel.errors import DatabaseRefused, Problem, RestoreFailed, Unprepared
from kernel.postgres.account import current_account
from kernel.postgres.process import run_client_program
from kernel.rehearsal.dump.common.client_programs import conninfo_without_secrets, find_programs_with, libpq_environment
from kernel.rehearsal.dump.common.model import DumpProgress, migration_tables
from kernel.rehearsal.dump.identify import identify_dump
from kernel.units import format_quantity

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

    from kernel.config.ledger_name import LedgerName
    from kernel.db.connection import Connection
    from kernel.postgres.programs import Programs
    from kernel.rehearsal.dump.common.model import Dump, ProgressCallback


PROD_DB_VARIABLE = "PROD_DB"
EXPORT_APPLICATION_NAME = "inv db.snapshot-test: copying production"
READ_ONLY_SETTINGS = {"default_transaction_read_only": "on"}
_LOCK_TIMEOUT_MS = 5_000

_PRODUCTION_FACTS = """
SELECT current_setting('server_version_num')::int / 10000, current_user::text, pg_database_size(oid),
    current_setting('TimeZone')
FROM pg_database WHERE datname = current_database()
"""
# Settings of the database for every role (ALTER DATABASE ... SET), each as "name=value".
_DATABASE_SETTINGS = """
SELECT unnest(setconfig) FROM pg_db_role_setting
WHERE setrole = 0 AND setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
LOCK_WAIT_SECONDS = 10
_LOCKED_REMEDY = "another session holds a lock on a table: try again, or when no migration or VACUUM FULL runs there"
_REMEDIES = (
    # --lock-wait-timeout is a statement_timeout around LOCK TABLE; worker processes lock with NOWAIT.
    ("statement timeout", _LOCKED_REMEDY),
    ("could not obtain lock", _LOCKED_REMEDY),
    ("conflict with recovery", "the standby replayed what the dump still needs: turn hot_standby_feedback on there"),
    ("No space left", "free some space there, or set TMPDIR to a larger disk"),
    ("permission denied", "grant what is missing, and try again"),
    ("too many clients", "try again with --jobs 1"),
    ("remaining connection slots", "try again with --jobs 1"),
    (
        "unsupported startup parameter",  # of PgBouncer, in session mode: pg_dump gets its settings in `options`
        "let PROD_DB name the server instead of the pooler, or set ignore_startup_parameters = options in the pooler",
    ),
)
# pg_dump takes a quoted name literally, not as a pattern.
_TABLES_WITH_DATA = """
SELECT format('"%%s"."%%s"', replace(nspname, '"', '""'), replace(relname, '"', '""'))
FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace
WHERE relkind IN ('r', 'p') AND (relname <> ALL(%(tables)s) OR nspname <> coalesce(%(schema)s, nspname))
  AND nspname <> 'information_schema' AND nspname NOT LIKE 'pg\\_%%'
"""

# Those of `public` need no schema: every database has it.
_SCHEMAS_OF_EXTENSIONS = """
SELECT DISTINCT n.nspname::text FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
WHERE n.nspname <> 'public' AND n.nspname !~ '^pg_'
"""
_EXTENSIONS_SINCE = 14  # the first pg_dump with --extension; others dump none with --schema

_MAX_NAMED = 5
_READ_ALL_DATA_SINCE = 14  # the first major version with pg_read_all_data
# Objects of extensions are not dumped, except the tables that an extension marks for it.
_DUMPED_RELATIONS = """
SELECT n.nspname::text AS schema, c.relname::text AS name, c.relkind = 'S' AS sequence,
  has_schema_privilege(n.oid, 'USAGE') AS enters,
  CASE c.relkind WHEN 'S' THEN has_sequence_privilege(c.oid, 'SELECT') ELSE has_table_privilege(c.oid, 'SELECT') END
    AS reads,
  row_security_active(c.oid) AS hides_rows
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'S') AND c.relpersistence <> 't'
  AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
  AND (c.oid IN (SELECT unnest(extconfig) FROM pg_extension) OR NOT EXISTS (
      SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'))
ORDER BY 1, 2
"""
_UNREADABLE_LARGE_OBJECTS = """
SELECT count(*), min(oid)::text FROM pg_largeobject_metadata
WHERE NOT pg_has_role(lomowner, 'USAGE') AND NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)
  AND NOT EXISTS (
      SELECT FROM aclexplode(lomacl) WHERE privilege_type = 'SELECT'
      AND (grantee = 0 OR pg_has_role(grantee, 'USAGE')))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Production:
    """The database to dump: `name` is host:port/dbname, `size_bytes` its size on production's disk.

    `settings` are the (name, value) pairs of ALTER DATABASE ... SET, and the TimeZone in force.
    """

    name: str
    user: str
    major: int
    size_bytes: int
    settings: tuple[tuple[str, str], ...]


@contextmanager
def open_production(url: str) -> Iterator[tuple[Connection, Production]]:
    """Connect in a session that cannot write.

    Raises DatabaseUnreachable, and DatabaseRefused for a pooler that shares its sessions, which pg_dump cannot use.
    """
    with open_session(
        make_conninfo(url, application_name=EXPORT_APPLICATION_NAME), variable=PROD_DB_VARIABLE
    ) as session:
        if session.pooled:
            raise DatabaseRefused(
                f"{session.name}: a pooler, and pg_dump needs real sessions (a snapshot that several share, and "
                f"settings); give {PROD_DB_VARIABLE} the URL of the server itself"
            )
        connection = session.connection
        connection.execute("SET default_transaction_read_only = on")
        connection.execute(sql.SQL("SET lock_timeout = {}").format(_LOCK_TIMEOUT_MS))
        yield connection, _read_production(connection, session.name)


def _read_production(connection: Connection, name: str) -> Production:
    ((major, user, size_bytes, zone),) = connection.execute(_PRODUCTION_FACTS).fetchall()
    pairs = [setting.partition("=") for (setting,) in connection.execute(_DATABASE_SETTINGS).fetchall()]
    settings = {"TimeZone": zone} | {key: value for key, _, value in pairs}
    return Production(name=name, user=user, major=major, size_bytes=size_bytes, settings=tuple(settings.items()))


def export_production(
    url: str,
    into: Path,
    programs: Programs,
    *,
    jobs: int = 2,
    schema_only: bool = False,
    progress: ProgressCallback | None = None,
    ledger: LedgerName = DEFAULT_LEDGER,
    schemas: tuple[str, ...] = (),
) -> Dump:
    """Dump the database at `url` into the folder `into`, which must not exist; or these `schemas` with all extensions.

    `programs` are used where their pg_dump is as new as the server, else another installation. `progress` counts
    written bytes of production's size on disk, which the compressed dump will not reach.
    Raises DatabaseUnreachable, DatabaseRefused for a pooler that shares its sessions, Unprepared with everything that
    pg_dump may not read, and RestoreFailed with what pg_dump said.
    """
    with open_production(url) as (connection, production):
        what = f"{production.name}: PostgreSQL {production.major}, which pg_dump dumps"
        chosen = find_programs_with("pg_dump", production.major, programs, what)
        if problems := find_missing_privileges(connection, production, schemas=schemas):
            grant = sql.SQL("GRANT pg_read_all_data TO {}").format(sql.Identifier(production.user)).as_string()
            error = Unprepared(problems)
            error.hint = f"for all tables and schemas, later ones included, a superuser may run instead: {grant}"
            raise error
        environ = libpq_environment(connection, READ_ONLY_SETTINGS, name=EXPORT_APPLICATION_NAME)
        connects = conninfo_without_secrets(connection)
        named = {"tables": list(migration_tables(ledger)), "schema": ledger.schema}
        rows_of = [name for (name,) in connection.execute(_TABLES_WITH_DATA, named).fetchall()]
        of_extensions = [name for (name,) in connection.execute(_SCHEMAS_OF_EXTENSIONS).fetchall()] if schemas else []

    def report_progress() -> None:
        if progress:
            with os.scandir(into) as entries:
                written = sum(entry.stat().st_size for entry in entries)
            progress(DumpProgress(done_bytes=written, total_bytes=production.size_bytes, activity="dumping production"))

    into.mkdir(mode=0o700, parents=True)
    with ExitStack() as incomplete:
        incomplete.callback(shutil.rmtree, into, ignore_errors=True)
        # Under the user's account, which may read the certificates and keys of the URL.
        done = run_client_program(
            current_account(),
            chosen.bin / "pg_dump",
            "--format=directory",
            f"--jobs={max(1, jobs)}",
            f"--file={into.absolute()}",
            f"--lock-wait-timeout={LOCK_WAIT_SECONDS}s",
            *(f"--schema={_literal_pattern(name)}" for name in dict.fromkeys((*schemas, *of_extensions))),
            *(("--extension=*",) if schemas and chosen.major >= _EXTENSIONS_SINCE else ()),
            *(("--no-blobs", *(f"--exclude-table-data={name}" for name in rows_of)) if schema_only else ()),
            # The archive is restored at once: the lowest compression keeps production's snapshot short.
            "--compress=1",
            "--no-password",
            f"--dbname={connects}",
            environ=environ,
            polled=report_progress,
        )
        if done.exit_status != 0:
            remedy = next((remedy for sign, remedy in _REMEDIES if sign in done.stderr), None)
            raise RestoreFailed(f"{production.name}: pg_dump {chosen.version} says: {done.last_error}", hint=remedy)
        incomplete.pop_all()
    return identify_dump(into)


def _literal_pattern(name: str) -> str:
    """A name as a pattern of pg_dump that means this name alone."""
    quoted = name.replace('"', '""')
    return f'"{quoted}"'


def find_missing_privileges(
    connection: Connection, production: Production, *, schemas: Collection[str] = ()
) -> tuple[Problem, ...]:
    """Everything that pg_dump may not read, each with the statement that grants it; () when it may read all.

    Of these `schemas` where they alone are dumped, without large objects.
    """
    found: list[Any] = connection.cursor(row_factory=namedtuple_row).execute(_DUMPED_RELATIONS).fetchall()
    relations = [one for one in found if not schemas or one.schema in schemas]
    return tuple(
        Problem(message=f"{production.name}: {sentence}")
        for sentence in (
            *_explain_unreadable_relations(relations, production),
            *_explain_row_security(relations, production),
            *(() if schemas else _explain_unreadable_large_objects(connection, production)),
        )
    )


def _explain_unreadable_relations(relations: list[Any], production: Production) -> Iterator[str]:
    user = sql.Identifier(production.user)
    kinds: defaultdict[tuple[str, bool], list[str]] = defaultdict(list)
    for one in relations:
        if not one.reads:
            kinds[one.schema, one.sequence].append(f"{one.schema}.{one.name}")
    schemas = list(dict.fromkeys(one.schema for one in relations if not one.enters))
    if len({*schemas, *(schema for schema, _ in kinds)}) > 1 and production.major >= _READ_ALL_DATA_SINCE:
        unreadable = [name for names in kinds.values() for name in names]
        grant = sql.SQL("GRANT pg_read_all_data TO {}").format(user)
        count = format_quantity(len(unreadable), "table or sequence", "tables and sequences")
        yield (
            f"{production.user} may not read {count} "
            f"({_join_names(unreadable or schemas)}); as a superuser: {grant.as_string()}"
        )
        return
    for schema in schemas:
        grant = sql.SQL("GRANT USAGE ON SCHEMA {} TO {}").format(sql.Identifier(schema), user)
        yield f"{production.user} may not enter the schema {schema}; as its owner: {grant.as_string()}"
    for (schema, sequence), names in kinds.items():
        what = sql.SQL("SEQUENCES" if sequence else "TABLES")
        grant = sql.SQL("GRANT SELECT ON ALL {} IN SCHEMA {} TO {}").format(what, sql.Identifier(schema), user)
        yield f"{production.user} may not read {_join_names(names)}; as their owner: {grant.as_string()}"


def _explain_row_security(relations: list[Any], production: Production) -> Iterator[str]:
    if hidden := [f"{one.schema}.{one.name}" for one in relations if one.hides_rows]:
        alter = sql.SQL("ALTER ROLE {} BYPASSRLS").format(sql.Identifier(production.user))
        yield (
            f"row security hides rows of {_join_names(hidden)} from {production.user}, and a copy without them "
            f"proves nothing; as a superuser: {alter.as_string()}"
        )


def _explain_unreadable_large_objects(connection: Connection, production: Production) -> Iterator[str]:
    row = connection.execute(_UNREADABLE_LARGE_OBJECTS).fetchone()
    if row and row[0]:
        grant = sql.SQL("GRANT SELECT ON LARGE OBJECT {} TO {}").format(
            sql.SQL(row[1]), sql.Identifier(production.user)
        )
        yield (
            f"{production.user} may not read {row[0]} large objects; "
            f"for each of them, as its owner: {grant.as_string()}"
        )


def _join_names(names: list[str]) -> str:
    more = len(names) - _MAX_NAMED
    return ", ".join(names[:_MAX_NAMED]) + (f" and {more} more" if more > 0 else "")
