"""Production as the source of a dump: what it is, asked in a session that cannot write."""

from __future__ import annotations

import os
import shutil
from collections import defaultdict
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from psycopg import sql
from psycopg.conninfo import make_conninfo

from kernel.db.connection import open_session
from kernel.db.ledger import LEDGER_TABLE, PROGRESS_TABLE
from kernel.errors import DatabaseRefused, Problem, RestoreFailed, Unprepared
from kernel.postgres.account import current_account
from kernel.postgres.process import run_client_program
from kernel.rehearsal.dump.common.client_programs import conninfo_without_secrets, find_pg_dump, libpq_environment
from kernel.rehearsal.dump.common.model import DumpProgress
from kernel.rehearsal.dump.identify import identify_dump

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from kernel.db.connection import Connection
    from kernel.postgres.programs import Programs
    from kernel.rehearsal.dump.common.model import Dump, ProgressCallback


PROD_DB_VARIABLE = "PROD_DB"
EXPORT_APPLICATION_NAME = "inv db.snapshot-test: copying production"
# The session cannot write even if it wanted to, and waits for nobody for long.
READ_ONLY_SETTINGS = {"default_transaction_read_only": "on"}
_LOCK_TIMEOUT_MS = 5_000

_PRODUCTION_FACTS = """
SELECT current_setting('server_version_num')::int / 10000, current_database()::text, current_user::text,
    pg_database_size(oid), current_setting('TimeZone')
FROM pg_database WHERE datname = current_database()
"""
# Settings of the database for every role (ALTER DATABASE … SET): each is "name=value".
_DATABASE_SETTINGS = """
SELECT unnest(setconfig) FROM pg_db_role_setting
WHERE setrole = 0 AND setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Production:
    """What production is: `name` is host:port/dbname, `version` as in "15.18", `size_bytes` its size on disk there.

    `settings` are the (name, value) pairs of ALTER DATABASE … SET, and the TimeZone in force.
    """

    name: str
    database: str
    user: str
    major: int
    size_bytes: int
    settings: tuple[tuple[str, str], ...]


@contextmanager
def open_production(url: str) -> Iterator[tuple[Connection, Production]]:
    """A session that cannot write, and what it reached.

    Raises DatabaseUnreachable, and DatabaseRefused for a pooler, which does not carry what pg_dump needs.
    """
    with open_session(
        make_conninfo(url, application_name=EXPORT_APPLICATION_NAME), variable=PROD_DB_VARIABLE
    ) as session:
        if session.pooled:
            raise DatabaseRefused(
                f"{session.name}: a pooler, and pg_dump needs sessions of its own (a snapshot that several share, and "
                f"settings); give {PROD_DB_VARIABLE} the URL of the server itself"
            )
        connection = session.connection
        connection.execute("SET default_transaction_read_only = on")
        connection.execute(sql.SQL("SET lock_timeout = {}").format(_LOCK_TIMEOUT_MS))
        yield connection, _read_production(connection, session.name)


def _read_production(connection: Connection, name: str) -> Production:
    row = connection.execute(_PRODUCTION_FACTS).fetchone()
    if row is None:
        raise DatabaseRefused(f"{name}: does not know the database that we are in")
    major, database_name, user, size_bytes, zone = row
    told = [setting.partition("=") for (setting,) in connection.execute(_DATABASE_SETTINGS).fetchall()]
    settings = {"TimeZone": zone} | {key: value for key, _, value in told}
    return Production(
        name=name,
        database=database_name,
        user=user,
        major=major,
        size_bytes=size_bytes,
        settings=tuple(settings.items()),
    )


# What pg_dump would be refused at the source: everything at once, where pg_dump stops at the first table.
#
# It needs USAGE on schemas, SELECT on every table (it locks them, without their rows too) and on every sequence and
# large object, and no row security that hides rows.
# Sources: PostgreSQL documentation, "pg_dump" and "Row Security Policies"; getTables and dumpTableData of pg_dump.c.


_MAX_NAMED = 5
_READ_ALL_DATA_SINCE = 14  # the first major version with pg_read_all_data
# What an extension made is not dumped, but for the tables that it asks to have dumped.
_DUMPED_RELATIONS = """
WITH configured AS (SELECT unnest(extconfig) AS oid FROM pg_extension), dumped AS (
    SELECT c.oid, c.relkind, c.relname, c.relnamespace, n.nspname
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'S') AND c.relpersistence <> 't'
      AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
      AND (c.oid IN (SELECT oid FROM configured) OR NOT EXISTS (
          SELECT FROM pg_depend d
          WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'))
)
"""
_UNREADABLE_SCHEMAS = (
    _DUMPED_RELATIONS
    + """
SELECT DISTINCT nspname::text FROM dumped WHERE NOT has_schema_privilege(relnamespace, 'USAGE') ORDER BY 1
"""
)
_UNREADABLE_RELATIONS = (
    _DUMPED_RELATIONS
    + """
SELECT nspname::text, relname::text, relkind = 'S' FROM dumped
WHERE NOT CASE WHEN relkind = 'S' THEN has_sequence_privilege(oid, 'SELECT') ELSE has_table_privilege(oid, 'SELECT') END
ORDER BY 1, 2
"""
)
_ROW_SECURITY_TABLES = (
    _DUMPED_RELATIONS
    + """
SELECT nspname::text, relname::text FROM dumped WHERE relkind IN ('r', 'p') AND row_security_active(oid) ORDER BY 1, 2
"""
)
_UNREADABLE_LARGE_OBJECTS = """
SELECT count(*), min(oid)::text FROM pg_largeobject_metadata
WHERE NOT pg_has_role(lomowner, 'USAGE') AND NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)
  AND NOT EXISTS (
      SELECT FROM aclexplode(lomacl) WHERE privilege_type = 'SELECT'
      AND (grantee = 0 OR pg_has_role(grantee, 'USAGE')))
"""


def find_missing_privileges(connection: Connection, production: Production) -> tuple[Problem, ...]:
    """Everything that pg_dump would be refused, each with the statement that mends it; () when it may read all."""
    return tuple(
        Problem(message=f"{production.name}: {sentence}")
        for sentence in (
            *_explain_unreadable_relations(connection, production),
            *_explain_row_security(connection, production),
            *_explain_unreadable_large_objects(connection, production),
        )
    )


def _explain_unreadable_relations(connection: Connection, production: Production) -> Iterator[str]:
    user = sql.Identifier(production.user)
    kinds: defaultdict[tuple[str, bool], list[str]] = defaultdict(list)
    for schema, name, sequence in connection.execute(_UNREADABLE_RELATIONS).fetchall():
        kinds[schema, sequence].append(name)
    schemas = [schema for (schema,) in connection.execute(_UNREADABLE_SCHEMAS).fetchall()]
    if len({*schemas, *(schema for schema, _ in kinds)}) > 1 and production.major >= _READ_ALL_DATA_SINCE:
        count = sum(map(len, kinds.values()))
        grant = sql.SQL("GRANT pg_read_all_data TO {}").format(user)
        named = _join_names([f"{schema}.{name}" for (schema, _), names in kinds.items() for name in names] or schemas)
        yield (
            f"{production.user} may not read {count} tables and sequences ({named}); "
            f"as a superuser: {grant.as_string()}"
        )
        return
    for schema in schemas:
        grant = sql.SQL("GRANT USAGE ON SCHEMA {} TO {}").format(sql.Identifier(schema), user)
        yield f"{production.user} may not enter the schema {schema}; as its owner: {grant.as_string()}"
    for (schema, sequence), names in kinds.items():
        what = sql.SQL("SEQUENCES" if sequence else "TABLES")
        grant = sql.SQL("GRANT SELECT ON ALL {} IN SCHEMA {} TO {}").format(what, sql.Identifier(schema), user)
        named = _join_names([f"{schema}.{name}" for name in names])
        yield f"{production.user} may not read {named}; as their owner: {grant.as_string()}"


def _explain_row_security(connection: Connection, production: Production) -> Iterator[str]:
    hidden = [f"{schema}.{name}" for schema, name in connection.execute(_ROW_SECURITY_TABLES).fetchall()]
    if hidden:
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


# A dump of production, made by pg_dump: parallel, in one snapshot, and without a way to write there.
#
# Every session that it opens has default_transaction_read_only from its first moment on, and pg_dump's own transactions
# are READ ONLY besides. It waits a few seconds for a table that somebody locks, then gives up rather than stand in a
# queue that others would have to wait behind. A standby does as well as its primary.


LOCK_WAIT_SECONDS = 10
_LOCKED_REMEDY = "another session holds a lock on a table: try again, or when no migration or VACUUM FULL runs there"
_REMEDIES = (
    # --lock-wait-timeout is a statement_timeout around LOCK TABLE; workers ask with NOWAIT.
    ("statement timeout", _LOCKED_REMEDY),
    ("could not obtain lock", _LOCKED_REMEDY),
    ("conflict with recovery", "the standby replayed what the dump still needs: turn hot_standby_feedback on there"),
    ("No space left", "free some space there, or set TMPDIR to a larger disk"),
    ("permission denied", "grant what is missing, and try again"),
    ("too many clients", "try again with --jobs 1"),
    ("remaining connection slots", "try again with --jobs 1"),
)


# In quotes a name is no pattern. Without the migrations' records, every one would be pending.
_TABLES_WITH_DATA = """
SELECT format('"%%s"."%%s"', replace(nspname, '"', '""'), replace(relname, '"', '""'))
FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace
WHERE relkind IN ('r', 'p') AND relname <> ALL(%s) AND nspname <> 'information_schema' AND nspname NOT LIKE 'pg\\_%%'
"""


def export_production(
    url: str,
    into: Path,
    programs: Programs,
    *,
    jobs: int = 2,
    schema_only: bool = False,
    progress: ProgressCallback | None = None,
) -> Dump:
    """Dump the database at `url` into the folder `into`, which must not exist; returns the dump there.

    `programs` are used where their pg_dump is as new as the server, else others that are installed. `progress` counts
    bytes written, and takes production's size on disk for the end, which compressed rows stay well below.
    Raises DatabaseUnreachable, DatabaseRefused for a pooler, Unprepared with everything that pg_dump may not read,
    and RestoreFailed with what pg_dump said.
    """
    with open_production(url) as (connection, production):
        chosen = find_pg_dump(production.major, programs, name=production.name)
        if problems := find_missing_privileges(connection, production):
            raise Unprepared(problems)
        environ = libpq_environment(connection, READ_ONLY_SETTINGS, name=EXPORT_APPLICATION_NAME)
        connects = conninfo_without_secrets(connection)
        rows_of = [
            name for (name,) in connection.execute(_TABLES_WITH_DATA, ([LEDGER_TABLE, PROGRESS_TABLE],)).fetchall()
        ]

    def told() -> None:
        if progress:
            progress(
                DumpProgress(
                    done_bytes=_written_bytes(into), total_bytes=production.size_bytes, activity="dumping production"
                )
            )

    into.mkdir(mode=0o700, parents=True)
    try:
        # As ourselves, who may read the certificates and keys that the URL stands for.
        done = run_client_program(
            current_account(),
            chosen.bin / "pg_dump",
            "--format=directory",
            f"--jobs={max(1, jobs)}",
            f"--file={into.absolute()}",
            f"--lock-wait-timeout={LOCK_WAIT_SECONDS}s",
            *(("--no-blobs", *(f"--exclude-table-data={name}" for name in rows_of)) if schema_only else ()),
            # The archive is read once, here, and soon: the least compression takes the least of production's time.
            "--compress=1",
            "--no-password",
            f"--dbname={connects}",
            environ=environ,
            polled=told,
        )
    except BaseException:
        shutil.rmtree(into, ignore_errors=True)  # half of production is of no use to anybody
        raise
    if done.exit_status != 0:
        shutil.rmtree(into, ignore_errors=True)
        remedy = next((remedy for sign, remedy in _REMEDIES if sign in done.stderr), None)
        raise RestoreFailed(f"{production.name}: pg_dump {chosen.version} says: {done.last_error}", hint=remedy)
    return identify_dump(into)


def _written_bytes(folder: Path) -> int:
    """How many bytes lie in the folder so far."""
    with os.scandir(folder) as entries:
        return sum(entry.stat().st_size for entry in entries)
