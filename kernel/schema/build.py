"""The schema that migration files make: they run on a throwaway server, once for each content and server version.

A file that cannot run there (an extension that is not installed, data that it expects) is left out, and the others run
without it. What the server reads from the text of a dump can differ from what it read from the file: casts are written
another way. So the schema is dumped and restored once, and facts with another text then are kept with both.
"""

from __future__ import annotations

import re
import tempfile
from dataclasses import dataclass, replace
from typing import IO, TYPE_CHECKING

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from kernel.apply.events import MigrationApplied
from kernel.db.connection import open_session
from kernel.errors import FilesInvalid, MigrationFailed, Problem, ProgramsMissing
from kernel.migrations.copy_program import copy_program_problems
from kernel.migrations.repeatable import read_repeatable_files
from kernel.migrations.script import parse_script
from kernel.operations.absent_roles import absent_role
from kernel.operations.migrate import MigrateOptions, migrate
from kernel.postgres.account import current_account
from kernel.postgres.initdb import SUPERUSER
from kernel.postgres.process import run_client_program
from kernel.postgres.programs import find_nearest_programs
from kernel.postgres.throwaway import throwaway_server
from kernel.schema.built import LITERAL_SETTINGS, BuildTarget, BuiltSchema
from kernel.schema.diff import pair_objects, printable_line
from kernel.schema.history import HistoryRecorder
from kernel.schema.snapshot import read_schema
from kernel.schema.store import load_built_schema, schema_digest, store_built_schema

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from kernel.apply.events import Event
    from kernel.db.connection import Session
    from kernel.migrations.migration import Migration
    from kernel.postgres.cluster import Server
    from kernel.schema.diff import ObjectPair
    from kernel.schema.snapshot import Fact, Schema


_DUPLICATE_SCHEMA = "42P06"
# Only the files write to the catalogs. The time zone that initdb takes is that of the machine.
_SERVER_SETTINGS = {"autovacuum": "off", **dict(LITERAL_SETTINGS)}
_RESTORED = "aibos_kernel_restored"
_NOT_DUMPED = ("database", "role")  # with the settings of the database, which pg_dump writes with --create only
_EXISTING_SCHEMA = re.compile(r'schema "(.+)" already exists')
# The schemas of the search path, also those that this role may not use: the role that runs the files may.
_TARGET = """
SELECT current_database()::text, ARRAY(
  SELECT n.nspname::text FROM unnest(string_to_array(current_setting('search_path'), ',')) WITH ORDINALITY p (name, at)
    JOIN pg_namespace n ON n.nspname = replace(trim(p.name, ' "'), '$user', current_user) ORDER BY p.at), coalesce((
  SELECT pg_get_userbyid(c.relowner)
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE c.relname = %(table)s AND (n.nspname = %(schema)s OR %(schema)s IS NULL)
  ORDER BY n.nspname <> ALL (current_schemas(false)), n.nspname LIMIT 1), current_user)::text,
  ARRAY(SELECT current_setting(p.name) FROM unnest(%(settings)s::text[]) WITH ORDINALITY p (name, at) ORDER BY p.at)
"""
# What files have set for new sessions of this database or role.
_SETTINGS_OF_FILES = """
SELECT lower(split_part(setting, '=', 1)) FROM pg_db_role_setting, unnest(setconfig) AS setting
WHERE setrole IN (0, quote_ident(current_user)::regrole)
  AND setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectHistory:
    """The names of the files that made an object and that changed it last; the same for one that was not changed."""

    made: str
    changed: str


def build_history(
    migrations: Sequence[Migration], *, bindir: Path | None = None, target: BuildTarget | None = None
) -> dict[tuple[str, str], ObjectHistory]:
    """For each object and column, by kind and name such as ("column", "public.users.id"), the files it comes from.

    Raises what build_schema raises.
    """
    built = build_schema(migrations, target or BuildTarget(), bindir=bindir)
    return {
        obj.identity: ObjectHistory(made=files[0], changed=files[-1])
        for obj in built.schema.objects
        if (files := built.files.get(obj.key))
    }


def read_build_target(session: Session) -> BuildTarget:
    """What the files depend on in a database: its name, owner of the ledger, search path, settings and version.

    The search path and the settings are those of the session, which migrations begin with too.
    """
    ledger = session.migrations_table
    names = [name for name, _ in LITERAL_SETTINGS]
    ((database, schemas, role, values),) = session.connection.execute(
        _TARGET, {"table": ledger.table, "schema": ledger.schema, "settings": names}
    ).fetchall()
    return BuildTarget(
        database=database,
        role=SUPERUSER if role.startswith("pg_") else role,
        search_path=tuple(schemas) or ("public",),
        literal_settings=tuple(zip(names, values, strict=True)),
        ledger=ledger,
        major=session.connection.info.server_version // 10000,
    )


def build_schema(
    migrations: Sequence[Migration],
    target: BuildTarget,
    *,
    bindir: Path | None,
    repeatable: Sequence[Migration] = (),
) -> BuiltSchema:
    """Build the schema of the files, the `repeatable` ones at the end, or read it from the cache.

    Raises ProgramsMissing, also where PostgreSQL does not know the time zone of the database, ServerFailed,
    DatabaseRefused, and FilesInvalid for problems that are of no one file.
    """
    programs = find_nearest_programs(bindir, target.major)
    digest = schema_digest((*migrations, *repeatable), target, programs)
    if built := load_built_schema(digest):
        return built
    created_here = set(target.search_path) | ({target.ledger.schema} if target.ledger.schema else set())
    while True:
        with throwaway_server(programs, settings=_SERVER_SETTINGS) as server:
            try:
                built = _build_on(server, (migrations, repeatable), target, sorted(created_here - {"public"}))
            except _SchemaOfFiles as made_by_files:
                created_here.remove(made_by_files.schema)
                continue
            except _SettingsOfFiles as set_by_files:
                target = replace(target, literal_settings=set_by_files.others)
                continue
        if not built.left_out:  # what is missing may be installed by the next time
            store_built_schema(digest, built)
        return built


class _SchemaOfFiles(Exception):
    """A file creates a schema of the search path, which was created before the files ran."""

    def __init__(self, schema: str) -> None:
        super().__init__(schema)
        self.schema = schema


class _SettingsOfFiles(Exception):
    """A file gives the database a literal setting, which the files before it do not have; `others` are no file's."""

    def __init__(self, others: tuple[tuple[str, str], ...]) -> None:
        super().__init__(others)
        self.others = others


def _build_on(
    server: Server,
    files: tuple[Sequence[Migration], Sequence[Migration]],
    target: BuildTarget,
    schemas: Sequence[str],
) -> BuiltSchema:
    """Build on a server; `files` are the numbered and the repeatable ones."""
    url = _prepare_database(server, target, schemas)
    with (
        open_session(url, migrations_table=target.ledger) as session,
        open_session(url, migrations_table=target.ledger) as other,
    ):
        recorder = HistoryRecorder(other.connection)
        left_out = _run_files(session, *files, recorder, schemas)
        _raise_for_settings(session, target)
        schema = read_schema(session)
        version = session.connection.info.server_version
    return BuiltSchema(
        version=version,
        schema=schema,
        files=recorder.files(),
        restored=_restored_facts(server, url, target, schema),
        left_out=left_out,
    )


def _prepare_database(server: Server, target: BuildTarget, schemas: Sequence[str]) -> str:
    """Create the role, the database and its schemas; return the URL for the files, which has the literal settings."""
    role, database = sql.Identifier(target.role), sql.Identifier(target.database)
    with open_session(server.conninfo) as session:
        _refuse_unknown_values(session, server, target)
        if target.role != SUPERUSER:
            session.connection.execute(sql.SQL("CREATE ROLE {} SUPERUSER LOGIN").format(role))
        if target.database not in ("postgres", "template1"):
            session.connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(database))
    options = " ".join(_session_option(name, value) for name, value in target.literal_settings)
    url = make_conninfo(server.conninfo, dbname=target.database, user=target.role, options=options)
    path = sql.SQL(", ").join(map(sql.Identifier, target.search_path)).as_string()
    with open_session(url) as session:
        for name in schemas:
            session.connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(name)))
        session.connection.execute(
            sql.SQL("ALTER ROLE {} SET search_path = {}").format(role, sql.SQL(path) if path else "")
        )
    return url


def _refuse_unknown_values(session: Session, server: Server, target: BuildTarget) -> None:
    """Raise ProgramsMissing where this PostgreSQL does not know a value, such as a time zone."""
    for name, value in target.literal_settings:
        try:
            session.connection.execute("SELECT set_config(%s, %s, true)", (name, value))
        except psycopg.errors.InvalidParameterValue as error:
            raise ProgramsMissing(
                f"{server.programs.origin}: does not know {name} = {printable_line(value)}, with which sessions of the "
                "database begin, and which decides what constants in the files mean; install all time zones (tzdata, "
                "and tzdata-legacy where it exists), or set KERNEL_PG_BINDIR to the bin of a PostgreSQL that knows it"
            ) from error


def _session_option(name: str, value: str) -> str:
    """An option of a connection, which RESET ALL returns to. Source: libpq, "options": a backslash escapes a blank."""
    return f"-c {name}=" + re.sub(r"([\\\s])", r"\\\1", value)


def _run_files(
    session: Session,
    migrations: Sequence[Migration],
    repeatable: Sequence[Migration],
    recorder: HistoryRecorder,
    schemas: Sequence[str],
) -> tuple[Problem, ...]:
    """Run the files in their order; return a problem for each that is left out.

    Repeatable files run one by one, since the history of each is what it wrote until it was applied. Each run has a
    session of its own, which begins with the settings that the files before gave the database.
    """
    left_out = {one.filename: problem for one in migrations if (problem := _refusal(one))}
    roles: set[str] = set()

    def observe(event: Event) -> None:
        if isinstance(event, MigrationApplied):
            recorder.file_applied(event.migration.filename)

    ordered, refusals = _in_order(repeatable)
    left_out |= refusals
    while True:
        runnable = tuple(one for one in migrations if one.filename not in left_out)
        steps = ((), *((one,) for one in ordered if one.filename not in left_out))
        try:
            for step in steps:
                with open_session(session.url, migrations_table=session.migrations_table) as run:
                    migrate(run, runnable, MigrateOptions(allow_empty=True, repeatable=step), observe)
        except MigrationFailed as error:
            if not _create_absent_role(session, error, roles):
                _raise_for_schema(error, schemas)
                left_out |= _left_out_by_failure(error, (*runnable, *repeatable))
        except FilesInvalid as error:
            refused = {problem.file: problem for problem in error.problems if problem.file}
            if refused.keys().isdisjoint(one.filename for one in (*runnable, *repeatable)):
                raise
            left_out |= refused
        else:
            return tuple(left_out[one.filename] for one in (*migrations, *repeatable) if one.filename in left_out)


def _in_order(repeatable: Sequence[Migration]) -> tuple[tuple[Migration, ...], dict[str, Problem]]:
    """Repeatable files in their order, and the problem of each that cannot be read or comes after one that cannot."""
    refusals: dict[str, Problem] = {}
    while True:
        readable = [one for one in repeatable if one.filename not in refusals]
        try:
            return tuple(file.migration for file in read_repeatable_files(readable)), refusals
        except FilesInvalid as error:
            found = {problem.file: problem for problem in error.problems if problem.file}
            if found.keys().isdisjoint(one.filename for one in readable):
                raise
            refusals |= found


def _refusal(migration: Migration) -> Problem | None:
    """Why a file is not run at all: what it is refused for, or a program that it would start here."""
    try:
        script = parse_script(migration.path, migration.filename)
    except FilesInvalid as error:
        return error.problems[0]
    return next(iter(copy_program_problems([(migration, script)])), None)


def _create_absent_role(session: Session, error: MigrationFailed, created: set[str]) -> bool:
    """Create the role that a file expects, since roles belong to the server; whether there was one to create."""
    role = absent_role(error)
    if role is None or role in created:
        return False
    created.add(role)
    session.connection.execute(sql.SQL("CREATE ROLE {}").format(sql.Identifier(role)))
    return True


def _raise_for_schema(error: MigrationFailed, schemas: Sequence[str]) -> None:
    existing = _EXISTING_SCHEMA.search(str(error)) if error.failure.sqlstate == _DUPLICATE_SCHEMA else None
    if existing and existing[1] in schemas:
        raise _SchemaOfFiles(existing[1]) from error


def _raise_for_settings(session: Session, target: BuildTarget) -> None:
    """Raise _SettingsOfFiles where files have set a literal setting that was set before they ran."""
    made = {name for (name,) in session.connection.execute(_SETTINGS_OF_FILES).fetchall()}
    others = tuple(setting for setting in target.literal_settings if setting[0].lower() not in made)
    if others != target.literal_settings:
        raise _SettingsOfFiles(others)


def _left_out_by_failure(error: MigrationFailed, files: Sequence[Migration]) -> dict[str, Problem]:
    """The file that failed; with those after it, if it is recorded as partly done."""
    failed = error.failure.file
    found = {failed: Problem(message=str(error), file=failed, line=error.failure.line)}
    if error.rolled_back:
        return found
    names = [one.filename for one in files]
    later = f"not run after {failed}, which is partly done"
    return found | {name: Problem(message=later, file=name) for name in names[names.index(failed) + 1 :]}


def _restored_facts(server: Server, url: str, target: BuildTarget, schema: Schema) -> dict[str, dict[str, Fact]]:
    """The facts with another text after a dump and a restore; {} where the programs for it are not installed."""
    if not all((server.programs.bin / name).is_file() for name in ("pg_dump", "psql")):
        return {}
    with open_session(server.conninfo) as session:
        session.connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(_RESTORED)))
    copy = make_conninfo(server.conninfo, dbname=_RESTORED)
    with tempfile.TemporaryFile() as dump:
        _run_program(server, "pg_dump", "--schema-only", "--no-password", f"--dbname={url}", output=dump)
        dump.seek(0)
        _run_program(server, "psql", "-X", "-q", "--no-password", f"--dbname={copy}", source=dump)
    with open_session(copy, migrations_table=target.ledger) as session:
        pairs = pair_objects(schema, read_schema(session), oids=False).common
    return {pair.before.key: changed for pair in pairs if (changed := _other_texts(pair))}


def _other_texts(pair: ObjectPair) -> dict[str, Fact]:
    """The facts of the restored object with another text; those that a dump does not carry are none."""
    before, after = pair.before, pair.after
    if before.kind in _NOT_DUMPED:
        return {}
    return {
        label: now
        for label, old, now in zip(before.labels, before.facts, after.facts, strict=True)
        if old != now and None not in (old, now)
    }


def _run_program(
    server: Server, name: str, *arguments: str, output: IO[bytes] | None = None, source: IO[bytes] | None = None
) -> None:
    """Run a client program; what it could not do has no other text, and is compared as it is."""
    run_client_program(current_account(), server.programs.bin / name, *arguments, output=output, source=source)
