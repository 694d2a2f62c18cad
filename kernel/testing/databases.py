"""Databases for tests: a template for each set of migration files, and clones of it.

A template is a database with the files applied, that no session can change. Its key is a digest of the files and of
what else the result depends on, so that changed files get another template. The process that needs a template first
builds it while the others wait; it stays for later runs.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from psycopg import sql
from psycopg.conninfo import make_conninfo

from kernel.apply.events import ignore_event
from kernel.db.connection import open_session, translate_errors
from kernel.errors import KernelError, UsageError
from kernel.migrations.migration import parse_version, require_migrations
from kernel.migrations.repeatable_names import discover_repeatable
from kernel.operations.absent_roles import migrate_creating_roles
from kernel.operations.migrate import MigrateOptions, migrate
from kernel.rehearsal.prod_copy.databases import copy_settings_and_privileges, drop_database, open_admin_session
from kernel.testing.clones import Clones
from kernel.testing.registry import (
    NAME_PREFIX,
    OWNERSHIP_COMMENT,
    Kind,
    database_comment,
    open_registry,
    write_comment,
)
from kernel.testing.server import URL_VARIABLE, database_url, keep_running, open_test_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from kernel.config.settings import Settings
    from kernel.db.connection import Session
    from kernel.migrations.migration import Migration
    from kernel.testing.registry import Registry
    from kernel.testing.server import TestServer


# A template that is built otherwise than before needs another key: increase this number.
KEY_FORMAT = 1
KEPT_TEMPLATES, KEPT_TEMPLATE_DAYS = 20, 14
KEPT_FAILURES = 5

# Settings of a database, or of roles in it, and privileges on it: CREATE DATABASE does not copy them.
_HAS_SETTINGS = """
SELECT datacl IS NOT NULL OR EXISTS (SELECT FROM pg_db_role_setting WHERE setdatabase = oid)
FROM pg_database WHERE datname = %s
"""
# Not those that all databases share, for which the others would wait.
_CATALOGS = """
SELECT relname FROM pg_class
WHERE relnamespace = 'pg_catalog'::regnamespace AND relkind = 'r' AND NOT relisshared AND oid < 16384 ORDER BY 1
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """A database to clone; `has_settings` when ALTER DATABASE or GRANT ON DATABASE have changed it."""

    name: str
    key: str
    has_settings: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class TestDatabase:
    """A clone that one test uses; `url` may hold a password, `shown_url` does not."""

    __test__ = False  # its name does not make it a test

    name: str
    url: str = field(repr=False)
    shown_url: str


@dataclass(kw_only=True)
class TestDatabases:
    """The databases of one process of a test run."""

    __test__ = False

    settings: Settings
    server: TestServer
    registry: Registry
    clones: Clones
    migrations: tuple[Migration, ...]
    _templates: dict[int, Template | KernelError] = field(default_factory=dict)

    def clone(self, version: str | None = None) -> TestDatabase:
        """A new database with the files up to `version` applied: all without one, none for version 0.

        Raises UsageError for a version that no file has, and what building the template raises.
        """
        template = self.template(version)
        session = self.registry.session
        with translate_errors(session.connection, session.name):
            name = self.clones.take(template.name, template.key)
            write_comment(session.connection, name, f"a clone, in use by a test (process {os.getpid()})")
            if template.has_settings:
                copy_settings_and_privileges(session.connection, template.name, name)
        return TestDatabase(
            name=name,
            url=database_url(self.server.url, name),
            shown_url=database_url(self.server.url, name, with_password=False),
        )

    def migrate(self, database: TestDatabase, version: str | None) -> None:
        """Apply the pending files up to `version` to a clone. Raises UsageError, and what db.migrate raises."""
        number = self._last_number(version)
        with self._open_session(database.name) as session:
            migrate(session, self.migrations, self._options(number), ignore_event)

    def drop(self, database: TestDatabase) -> None:
        """Drop a clone while the next test runs, even if sessions are connected to it."""
        self.clones.drop(database.name)

    def keep(self, database: TestDatabase, test: str) -> None:
        """Keep the clone of a failed test, and drop the oldest of those that are kept."""
        with self.registry.lock_changes():
            self.registry.change(database.name, Kind.KEPT, test)
            write_comment(self.registry.connection, database.name, f"kept, since {test} failed")
            for name in self.registry.superfluous_kept(limit=KEPT_FAILURES):
                drop_registered(self.registry, name)

    def drop_kept(self, test: str) -> None:
        """Drop what was kept when a test failed before: it runs again."""
        for name in self.registry.kept(test):
            drop_registered(self.registry, name)

    def drop_abandoned(self) -> None:
        """Drop the databases of processes that were killed."""
        with self.registry.lock_changes():
            for name in self.registry.abandoned():
                drop_registered(self.registry, name)

    def _last_number(self, version: str | None) -> int:
        if version is None:
            return self.migrations[-1].number
        number = parse_version(version)
        if number and number not in {migration.number for migration in self.migrations}:
            raise UsageError(f"{version}: no file of {self.settings.migrations_dir} has this version")
        return number

    def _options(self, number: int) -> MigrateOptions:
        return MigrateOptions(to=str(number), allow_empty=True, repeatable=self._repeatable(number))

    def _repeatable(self, number: int) -> tuple[Migration, ...]:
        """The repeatable files of a template with all numbered ones; they may name what later files make."""
        newest = self.migrations[-1]
        return discover_repeatable(newest.directory) if number == newest.number else ()

    def template(self, version: str | None = None) -> Template:
        """The template with the files up to a version, built if it is missing. Raises KernelError, the same again."""
        number = self._last_number(version)
        if number not in self._templates:
            session = self.registry.session
            try:
                with translate_errors(session.connection, session.name):
                    self._templates[number] = self._find_or_build_template(number)
            except KernelError as error:  # every test would wait for the same failure
                self._templates[number] = error
        template = self._templates[number]
        if isinstance(template, KernelError):
            raise template
        return template

    def _find_or_build_template(self, number: int) -> Template:
        key = self._key(number)
        with self.registry.lock_changes():
            name = self.registry.use_template(key)
            if name is None:
                for unused in self.registry.unused_templates(keep=KEPT_TEMPLATES, keep_days=KEPT_TEMPLATE_DAYS):
                    drop_registered(self.registry, unused)
                name = self._build_template(key, number)
        row = self.registry.connection.execute(_HAS_SETTINGS, (name,)).fetchone()
        return Template(name=name, key=key, has_settings=bool(row and row[0]))

    def _key(self, number: int) -> str:
        """A digest of what the content of a template depends on, in hex."""
        parts = [
            str(KEY_FORMAT),
            str(self.registry.connection.info.server_version),
            str(self.settings.migrations_table),
            self.settings.role,
            *(f"{one.filename} {one.checksum}" for one in self.migrations if one.number <= number),
            *(f"{one.filename} {one.checksum}" for one in self._repeatable(number)),
        ]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]

    def _build_template(self, key: str, number: int) -> str:
        """Create a database, apply the files up to a version, and seal it. Raises KernelError."""
        name = f"{NAME_PREFIX}{key}"
        connection = self.registry.connection
        with ExitStack() as failed:
            self.registry.add(name, Kind.BUILDING, key)
            failed.callback(drop_registered, self.registry, name)
            statement = sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name))
            if self.settings.role:
                if self.server.embedded:
                    self._create_role(self.settings.role)
                statement += sql.SQL(" OWNER {}").format(sql.Identifier(self.settings.role))
            connection.execute(statement)
            write_comment(connection, name, "a template in the making")
            with self._open_session(name) as session:
                if number and self.server.embedded:
                    migrate_creating_roles(
                        session, self.migrations, self._options(number), create_role=self._create_role
                    )
                elif number:
                    migrate(session, self.migrations, self._options(number), ignore_event)
                _rewrite_catalogs(session)
            seal = sql.SQL("ALTER DATABASE {} WITH ALLOW_CONNECTIONS false IS_TEMPLATE true")
            connection.execute(seal.format(sql.Identifier(name)))
            write_comment(connection, name, f"the template with the files up to {number:03} of {self.registry.project}")
            self.registry.change(name, Kind.TEMPLATE)
            failed.pop_all()
        return name

    def _create_role(self, role: str) -> None:
        """Create a role on our own server, if it is missing."""
        connection = self.registry.connection
        if not connection.execute("SELECT FROM pg_roles WHERE rolname = %s", (role,)).rowcount:
            connection.execute(sql.SQL("CREATE ROLE {}").format(sql.Identifier(role)))

    def _open_session(self, name: str) -> AbstractContextManager[Session]:
        return open_session(
            make_conninfo(self.server.url, dbname=name),
            variable=URL_VARIABLE,
            role=self.settings.role,
            migrations_table=self.settings.migrations_table,
        )


def _rewrite_catalogs(session: Session) -> None:
    """Rewrite the system catalogs, without their free space and visibility maps: a fourth of the files to copy.

    A clone then takes a fifth less time (python -m bench.clones). Tables of the application stay as the files left
    them.
    """
    catalogs = session.connection.execute(_CATALOGS).fetchall()
    for (catalog,) in catalogs:
        session.connection.execute(sql.SQL("VACUUM (FULL) {}").format(sql.Identifier("pg_catalog", catalog)))


def drop_registered(registry: Registry, name: str) -> None:
    """Drop a database of the registry, unless its comment says that it is another one by now.

    Raises DatabaseUnreachable, DatabaseRefused.
    """
    connection = registry.connection
    with translate_errors(connection, registry.session.name):
        comment = database_comment(connection, name)
        if comment is None or comment.startswith(OWNERSHIP_COMMENT):
            template = "SELECT FROM pg_database WHERE datname = %s AND datistemplate"
            if connection.execute(template, (name,)).rowcount:
                unseal = sql.SQL("ALTER DATABASE {} WITH IS_TEMPLATE false")
                connection.execute(unseal.format(sql.Identifier(name)))
            drop_database(registry.session, name, force=True)
        registry.forget(name)


@contextmanager
def open_test_databases(settings: Settings) -> Iterator[TestDatabases]:
    """Connect to the server of the tests, and drop what killed processes have left there.

    Raises FilesInvalid, SettingsError, ProgramsMissing, ServerFailed, DatabaseUnreachable, DatabaseRefused.
    """
    migrations = require_migrations(settings.migrations_dir)
    with (
        open_test_server(settings) as server,
        open_registry(server.url, variable=URL_VARIABLE, project=str(settings.root)) as registry,
        open_admin_session(registry.session.url, variable=URL_VARIABLE) as creating,
        open_admin_session(registry.session.url, variable=URL_VARIABLE) as dropping,
    ):
        clones = Clones(
            registry=registry, creating=creating, dropping=dropping, drop_now=partial(drop_registered, registry)
        )
        databases = TestDatabases(
            settings=settings, server=server, registry=registry, clones=clones, migrations=migrations
        )
        databases.drop_abandoned()
        yield databases
        clones.close()
        keep_running(settings, server, keep=registry.keeps_any())
