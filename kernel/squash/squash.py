"""db.squash: one file from the schema that the older files make, and the older files moved out of the way.

The older files run on one throwaway server, the file made from its dump on another. Only when both databases are equal,
in schema, rows and sequences, is the file written and are the older ones moved to replaced/, a folder that is itself a
directory of migrations: a database that has only some of them is brought up to date with it.
"""

from __future__ import annotations

import tempfile
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from psycopg import sql

from kernel.apply.events import ignore_event
from kernel.db.connection import open_session
from kernel.errors import FilesInvalid, MigrationFailed, Problem, ServerFailed, UsageError
from kernel.migrations.migration import discover_migrations, format_version, parse_version
from kernel.migrations.replaced import REPLACED_FOLDER, ReplacedVersion, describe_range
from kernel.migrations.scaffold import REVERT_DIRECTORY, create_files, lock_directory, snake_case
from kernel.operations.absent_roles import migrate_creating_roles
from kernel.operations.migrate import MigrateOptions, migrate
from kernel.postgres.account import current_account
from kernel.postgres.process import run_client_program
from kernel.postgres.programs import find_programs
from kernel.postgres.throwaway import throwaway_server
from kernel.rehearsal.dump.common.client_programs import find_programs_with
from kernel.squash.content import count_rows, differences, ledger_tables, read_globals, role_statements
from kernel.squash.dump_text import squash_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from kernel.db.connection import Session
    from kernel.migrations.migration import Migration
    from kernel.postgres.cluster import Server
    from kernel.postgres.programs import Programs


@dataclass(frozen=True, slots=True, kw_only=True)
class Squash:
    """A squash file with its content, the files that it replaces, and where those were moved.

    `rows` is the number of rows that the older files insert, which the file inserts too. `roles` were made on the
    throwaway servers, since the files expect them.
    """

    path: Path
    content: bytes = field(repr=False)
    replaced: tuple[Migration, ...]
    moved_to: Path
    rows: int
    roles: tuple[str, ...]

    @property
    def versions(self) -> tuple[ReplacedVersion, ...]:
        """The versions that the file replaces, of the files and of squash files among them."""
        return tuple(versions_replaced_by_squash(self.replaced))


def squash_migrations(
    directory: Path, name: str, *, to: str, bindir: Path | None, say: Callable[[str], None], dry_run: bool = False
) -> Squash:
    """Replace the migrations up to version `to` by one file with that number; with `dry_run` only prove that it can be.

    Raises UsageError, FilesInvalid with everything that the file would not carry, ProgramsMissing, ServerFailed.
    """
    number, slug = parse_version(to), snake_case(name)
    migrations = discover_migrations(directory)
    replaced = tuple(migration for migration in migrations if migration.number <= number)
    if not replaced or replaced[-1].number != number:
        raise UsageError(f"--to {to}: no migration file has this version")
    if len(replaced) == 1:
        raise UsageError(f"--to {to}: {replaced[0].filename} would replace itself only; name a later version")
    version = format_version(number)
    path = directory / f"{version}_{slug}.sql"
    moved_to = directory / REPLACED_FOLDER / path.stem
    for taken in (path, moved_to):
        if taken.exists():
            raise UsageError(f"{taken}: exists; choose another name")
    squash = _make_squash(replaced, path, moved_to, bindir=bindir, say=say)
    if not dry_run:
        if discover_migrations(directory) != migrations:
            raise UsageError(f"{directory}: its files were changed meanwhile; try again")
        _write_and_move(squash, directory)
    return squash


def _make_squash(
    replaced: tuple[Migration, ...], path: Path, moved_to: Path, *, bindir: Path | None, say: Callable[[str], None]
) -> Squash:
    """Make the content from the older files, and prove it. Raises FilesInvalid."""
    programs = find_programs(bindir)
    what = f"PostgreSQL {programs.version}, of which pg_dump writes the new file"
    programs = find_programs_with("pg_dump", programs.major, programs, what)
    roles: list[str] = []
    with throwaway_server(programs) as first_server:
        say(f"running {describe_range(versions_replaced_by_squash(replaced))} on PostgreSQL {programs.version}")
        with open_session(first_server.conninfo) as original:
            made = _run_older_files(original, replaced, roles)
            rows = count_rows(original)
            description = f"stands for {describe_range(versions_replaced_by_squash(replaced))}"
            content = squash_text(
                _dump(first_server, programs, without=ledger_tables(original)),
                versions_replaced_by_squash(replaced),
                version=path.name.partition("_")[0],
                title=path.stem.partition("_")[2].replace("_", " ").capitalize(),
                description=description,
                role_statements=role_statements(original.connection, made),
            )
            say("running the new file on another server, and comparing both databases")
            with throwaway_server(programs) as second_server, open_session(second_server.conninfo) as squashed:
                _create_roles(squashed, roles)
                _run_squash(squashed, path.name, content)
                if differing := differences(original, squashed):
                    reason = "not carried by the new file, so nothing is replaced"
                    raise FilesInvalid([Problem(message=f"{line}; {reason}") for line in differing])
    return Squash(path=path, content=content, replaced=replaced, moved_to=moved_to, rows=rows, roles=tuple(roles))


def _run_older_files(session: Session, replaced: tuple[Migration, ...], roles: list[str]) -> list[str]:
    """Run the files, create the roles that they expect, and return the names of what they make on the server."""
    before = read_globals(session.connection)

    def create_role(role: str) -> None:
        _create_roles(session, [role])
        roles.append(role)

    try:
        options = MigrateOptions(allow_empty=True, repeatable=())
        migrate_creating_roles(session, replaced, options, create_role=create_role)
    except MigrationFailed as error:
        raise _located(error, "the files have to run on an empty database") from error
    return sorted(read_globals(session.connection).keys() - before.keys() - {f"role {role}" for role in roles})


def _create_roles(session: Session, roles: list[str]) -> None:
    for role in roles:
        session.connection.execute(sql.SQL("CREATE ROLE {}").format(sql.Identifier(role)))


def _run_squash(session: Session, filename: str, content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / filename).write_bytes(content)
        try:
            migrate(session, discover_migrations(Path(folder)), MigrateOptions(), ignore_event)
        except MigrationFailed as error:
            raise _located(error, "pg_dump wrote what does not run, so nothing is replaced") from error


def _located(error: MigrationFailed, reason: str) -> FilesInvalid:
    problem = Problem(message=f"{error}; {reason}", file=error.failure.file, line=error.failure.line)
    return FilesInvalid([problem])


def _dump(server: Server, programs: Programs, *, without: list[str]) -> bytes:
    """The plain output of pg_dump for the database of the server, `without` these tables. Raises ServerFailed."""
    with tempfile.TemporaryFile() as output:
        done = run_client_program(
            current_account(),
            programs.bin / "pg_dump",
            "--format=plain",
            "--no-owner",
            *(f"--exclude-table={table}" for table in without),
            "--no-password",
            f"--dbname={server.conninfo}",
            output=output,
        )
        if done.exit_status:
            raise ServerFailed(f"pg_dump {programs.version} says: {done.last_error}")
        output.seek(0)
        return output.read()


def _write_and_move(squash: Squash, directory: Path) -> None:
    """Write the squash file and move the older ones with their revert files; when it fails, nothing is changed.

    The new file comes first: if the process is killed in between, every message names the files that are left to move.
    """
    moves = [
        (directory / folder / one.filename, squash.moved_to / folder / one.filename)
        for one in squash.replaced
        for folder in (REVERT_DIRECTORY, "")
        if (directory / folder / one.filename).is_file()
    ]
    done: list[tuple[Path, Path]] = []
    try:
        with lock_directory(directory):
            create_files({squash.path: squash.content})
            try:
                for old, new in moves:
                    new.parent.mkdir(parents=True, exist_ok=True)
                    old.rename(new)
                    done.append((old, new))
            except BaseException:  # also on Ctrl-C
                for old, new in reversed(done):
                    new.rename(old)
                squash.path.unlink()
                for folder in (squash.moved_to / REVERT_DIRECTORY, squash.moved_to, squash.moved_to.parent):
                    with suppress(OSError):  # not there, or other files are in it
                        folder.rmdir()
                raise
    except OSError as error:
        raise UsageError(f"{error.filename or directory}: cannot be written ({error.strerror})") from error


def versions_replaced_by_squash(migrations: Iterable[Migration]) -> Iterator[ReplacedVersion]:
    """Yield what a squash file of these migrations replaces, including what those that are squash files replace."""
    for migration in migrations:
        yield ReplacedVersion(migration.version, migration.checksum)
        for one in migration.replaces:
            # A database that the former squash file has not reached yet has the last file that it replaced.
            required = one.number == migration.number and not one.earlier
            yield one._replace(earlier=not required)
