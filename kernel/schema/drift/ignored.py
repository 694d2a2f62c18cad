"""What is no drift: the objects of the platform that runs the database, and those that are declared.

A declaration is a name or a pattern with * and ?, of an object or of one that it is a part of. It is in a file,

    -- migrate: ignore-drift=public.scratch_* tables of the analysts

or in KERNEL_IGNORE_DRIFT, separated by commas or blanks.

Sources: the documentation of Supabase ("Database", "Local development"), Amazon RDS, Google Cloud SQL, Azure Database
for PostgreSQL and Timescale: the schemas and roles that they create in each database.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from kernel.schema.drift.statements import SchemaParts
    from kernel.schema.snapshot import Schema, SchemaObject


_PLATFORM_SCHEMAS = frozenset(
    {
        # Supabase
        *("auth", "storage", "realtime", "_realtime", "graphql", "graphql_public", "vault", "cron", "pgbouncer"),
        *("extensions", "supabase_functions", "supabase_migrations", "net", "pgsodium", "pgsodium_masks", "pgtle"),
        *("pgmq", "_analytics", "_supavisor"),
        # Amazon RDS and Aurora, Google Cloud SQL and AlloyDB, Azure
        *("rdsadmin", "rds_tools", "aws_commons", "aws_lambda", "aws_s3", "aws_ml"),
        *("google_vacuum_mgmt", "google_ml", "google_db_advisor", "cloudsqladmin", "azure", "azure_sys", "azuresu"),
        # Timescale: its chunks are tables that no extension owns
        *("_timescaledb_internal", "_timescaledb_catalog", "_timescaledb_config", "_timescaledb_cache"),
    }
)
_PLATFORM_ROLES = frozenset(
    {
        *("supabase_admin", "supabase_auth_admin", "supabase_storage_admin", "supabase_functions_admin"),
        *("supabase_realtime_admin", "supabase_replication_admin", "supabase_read_only_user", "pgbouncer"),
        *("rdsadmin", "rds_superuser", "rdsrepladmin", "cloudsqladmin", "cloudsqlagent", "cloudsqlimportexport"),
        *("cloudsqlreplica", "alloydbadmin", "azuresu", "azure_superuser", "azure_pg_admin", "cloud_admin"),
    }
)
_SUPABASE = frozenset({"auth", "storage"})  # both are in each of its databases
_OF_SUPABASE = frozenset(
    {
        *(("extension", name) for name in ("pg_stat_statements", "uuid-ossp", "pgcrypto", "pgjwt", "supabase_vault")),
        *(("extension", name) for name in ("pg_graphql", "pg_net", "pgsodium", "pg_cron", "wrappers")),
        *(("publication", name) for name in ("supabase_realtime", "supabase_realtime_messages_publication")),
        *(("event trigger", name) for name in ("issue_graphql_placeholder", "issue_pg_cron_access")),
        *(("event trigger", name) for name in ("issue_pg_graphql_access", "issue_pg_net_access")),
        *(("event trigger", name) for name in ("pgrst_ddl_watch", "pgrst_drop_watch")),
    }
)


@dataclass(frozen=True, slots=True)
class DriftDeclaration:
    """A name or pattern of objects whose differences are accepted, and its `place` with it, as messages show them."""

    pattern: str
    place: str


class PlatformObjects:
    """The objects of a live database that are of its platform, and that no file makes."""

    def __init__(self, made: Schema, live: Schema) -> None:
        of_files = {obj.bare_name for obj in made.objects if obj.kind == "schema"}
        present = {obj.bare_name for obj in live.objects if obj.kind == "schema"}
        self.schemas = frozenset((_PLATFORM_SCHEMAS & present) - of_files)
        self._supabase = self.schemas >= _SUPABASE
        self._made = {obj.identity for obj in made.objects}

    def __contains__(self, obj: SchemaObject) -> bool:
        if obj.schema in self.schemas:
            return True
        if obj.identity in self._made:
            return False
        of_supabase = self._supabase and (obj.kind, obj.bare_name) in _OF_SUPABASE
        return of_supabase or obj.fact("owner") in _PLATFORM_ROLES

    def leave_out(self, live: Schema) -> Iterator[SchemaObject]:
        """Yield the live objects without those of the platform and their parts."""
        left_out: set[str] = set()
        for obj in live.objects:
            if obj.parent_key in left_out or obj in self:
                left_out.add(obj.key)
            else:
                yield obj


class DeclaredDrift:
    """The declarations, and which of them a difference has matched."""

    def __init__(self, declarations: Iterable[DriftDeclaration]) -> None:
        self._declarations = tuple(dict.fromkeys(declarations))
        self._used: set[DriftDeclaration] = set()

    def accepts(self, obj: SchemaObject, schema: SchemaParts) -> bool:
        """Whether a difference of an object of this schema is accepted by a declaration."""
        names = set(_names(obj, schema))
        found = [one for one in self._declarations if any(fnmatchcase(name, one.pattern) for name in names)]
        self._used.update(found)
        return bool(found)

    def unused(self) -> tuple[DriftDeclaration, ...]:
        """The declarations that no difference has matched."""
        return tuple(one for one in self._declarations if one not in self._used)


def _names(obj: SchemaObject, schema: SchemaParts) -> Iterator[str]:
    """The names that a declaration may give an object: its own, with and without its schema, and those of its owner."""
    yield from (obj.name, f"{obj.kind} {obj.name}")
    yield f"{obj.schema}.{obj.bare_name}"
    if parent := schema.parent(obj):
        yield f"{parent.name}.{obj.bare_name}"
        yield f"{parent.schema}.{parent.bare_name}.{obj.bare_name}"
        yield from _names(parent, schema)
    if obj.kind != "column":
        yield obj.bare_name
    if obj.schema:
        yield obj.schema
