"""The environment variables of all tasks: a table, which docs/configuration.md repeats."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Setting:
    """An environment variable; `default` is the value in effect when it is unset, None when there is none."""

    name: str
    default: str | None
    description: str


SETTINGS = (
    Setting(
        "MIGRATION_DATABASE_URL",
        None,
        "A direct connection for migrations, if DATABASE_URL or SUPABASE_DB_URL goes through a pooler. "
        "It precedes both.",
    ),
    Setting(
        "DATABASE_URL",
        None,
        "The database. If no URL is set, the embedded development server is used.",
    ),
    Setting(
        "SUPABASE_DB_URL",
        None,
        "The database, if DATABASE_URL is unset.",
    ),
    Setting(
        "KERNEL_STORAGE_MODE",
        "IN_MEMORY",
        "SUPABASE is production: a URL is required, and db.rollback, db.baseline and db.repair need --yes. "
        "IN_MEMORY is development.",
    ),
    Setting(
        "PROD_DB",
        None,
        "The database that db.snapshot-test dumps; a role with SELECT is enough.",
    ),
    Setting(
        "TEST_DB",
        None,
        "A database that db.snapshot-test may overwrite. If unset, it starts a throwaway server.",
    ),
    Setting(
        "TEST_DATABASE_URL",
        None,
        "The server on which kernel.testing makes the databases of pytest; it changes no other database there. "
        "If unset, an embedded server in memory.",
    ),
    Setting(
        "KERNEL_MIGRATIONS_DIR",
        "migrations",
        "The directory of the migrations.",
    ),
    Setting(
        "KERNEL_MIGRATIONS_TABLE",
        None,
        "The ledger: schema.table, or a table that is found on the search path. If unset, schema_migrations. "
        "Services that share a database each name their own.",
    ),
    Setting(
        "KERNEL_ROLE",
        None,
        "The role that migrations run as, set after connecting; the login must be a member of it. "
        "If unset, the role that the connection begins with.",
    ),
    Setting(
        "KERNEL_IGNORE_DRIFT",
        None,
        "Names or patterns, such as public.scratch_*, of objects that db.verify --schema does not report; "
        "separated by commas.",
    ),
    Setting(
        "KERNEL_PG_BINDIR",
        None,
        "The directory of the PostgreSQL programs for local servers and dumps. "
        "If unset, the newest that are installed.",
    ),
    Setting(
        "KERNEL_DATA_DIR",
        ".kernel/postgres",
        "The directory of the embedded server's data; below /var/lib/aibos-kernel "
        "if the server's account cannot enter the default.",
    ),
    Setting(
        "KERNEL_LOCK_TIMEOUT",
        "5s",
        "How long a statement in a transaction waits for a lock before the migration is rolled back and retried; "
        "0 is no limit.",
    ),
    Setting(
        "KERNEL_LOCK_RETRIES",
        "5",
        "How often a migration is retried after a lock timeout.",
    ),
    Setting(
        "KERNEL_STATEMENT_TIMEOUT",
        "0",
        "How long a statement in a transaction may run; 0 is no limit.",
    ),
)
