"""What a database lacks of the schema that migration files make: they run on a throwaway server, and both are compared.

Objects are compared by kind and name. Whether they are defined alike is not: a database that is older than its ledger
often differs in a default or a constraint's name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from psycopg import sql

from kernel.apply.events import ignore_event
from kernel.db.connection import open_session
from kernel.errors import FilesInvalid
from kernel.operations.migrate import MigrateOptions, migrate, prepare_migrate
from kernel.postgres.throwaway import throwaway_server
from kernel.rehearsal.preconditions import copy_program_problems
from kernel.rehearsal.schema.snapshot import read_schema

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from kernel.db.connection import Session
    from kernel.migrations.migration import Migration
    from kernel.rehearsal.schema.snapshot import Schema, SchemaObject


_NOT_OF_THE_DATABASE = ("database", "role")  # settings and privileges of the server's objects


def find_missing_objects(
    session: Session, migrations: tuple[Migration, ...], *, bindir: Path | None
) -> tuple[str, ...]:
    """The objects, such as "table public.users", that `migrations` make and the session's database does not have.

    A part of a missing object is not named. Reads only. Raises MigrationFailed and FilesInvalid for files that do not
    run on an empty server, ProgramsMissing, ServerFailed, psycopg.Error.
    """
    made = _read_schema_of_files(migrations, bindir=bindir, schemas=_schemas_of_path(session))
    return tuple(f"{one.kind} {one.name}" for one in _missing(made, read_schema(session)))


def _schemas_of_path(session: Session) -> list[str]:
    """The schemas of the search path, where files without a schema create their objects."""
    ((schemas,),) = session.connection.execute("SELECT current_schemas(false)::text[]").fetchall()
    return list(schemas)


def _read_schema_of_files(migrations: tuple[Migration, ...], *, bindir: Path | None, schemas: list[str]) -> Schema:
    names = [sql.Identifier(schema) for schema in schemas]
    path = sql.SQL(", ").join(names).as_string()
    with throwaway_server(bindir=bindir) as server:
        with open_session(server.conninfo) as session:
            for name in names:
                session.connection.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(name))
            session.connection.execute(
                sql.SQL("ALTER ROLE CURRENT_USER SET search_path = {}").format(sql.SQL(path) if path else "")
            )
        with open_session(server.conninfo) as session:
            options = MigrateOptions()
            _, files = prepare_migrate(session, migrations, options)
            if problems := copy_program_problems(files):
                raise FilesInvalid(problems)
            migrate(session, migrations, options, ignore_event)
            return read_schema(session)


def _missing(made: Schema, found: Schema) -> Iterator[SchemaObject]:
    present = {one.identity for one in found.objects}
    absent: set[str] = set()
    for one in made.objects:
        if one.identity in present or one.kind in _NOT_OF_THE_DATABASE:
            continue
        absent.add(one.key)
        if one.parent_key not in absent:
            yield one
