"""What a database lacks of the schema that migration files make.

Objects are compared by kind and name. Whether they are defined alike is not: a database that is older than its ledger
often differs in a default or a constraint's name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel.errors import FilesInvalid
from kernel.schema.build import build_schema, read_build_target
from kernel.schema.snapshot import read_schema

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from kernel.db.connection import Session
    from kernel.migrations.migration import Migration
    from kernel.schema.snapshot import Schema, SchemaObject


_NOT_OF_THE_DATABASE = ("database", "role")  # settings and privileges of the server's objects


def find_missing_objects(
    session: Session, migrations: tuple[Migration, ...], *, bindir: Path | None
) -> tuple[str, ...]:
    """The objects, such as "table public.users", that `migrations` make and the session's database does not have.

    A part of a missing object is not named. Reads only. Raises FilesInvalid for files that do not run on an empty
    server, ProgramsMissing, ServerFailed, psycopg.Error.
    """
    built = build_schema(migrations, read_build_target(session), bindir=bindir)
    if built.left_out:
        raise FilesInvalid(built.left_out)
    return tuple(f"{one.kind} {one.name}" for one in _missing(built.schema, read_schema(session)))


def _missing(made: Schema, found: Schema) -> Iterator[SchemaObject]:
    present = {one.identity for one in found.objects}
    absent: set[str] = set()
    for one in made.objects:
        if one.identity in present or one.kind in _NOT_OF_THE_DATABASE:
            continue
        absent.add(one.key)
        if one.parent_key not in absent:
            yield one
