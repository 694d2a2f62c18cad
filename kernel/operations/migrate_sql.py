"""The SQL that db.migrate would send, as a script for psql, composed by the same functions that send it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from kernel.apply.backfill import backfill_sql
from kernel.apply.events import ignore_event
from kernel.apply.executor import open_executor
from kernel.apply.no_transaction import outside_transaction_sql
from kernel.apply.transaction import file_run_for_migration, transaction_sql
from kernel.db.advisory_lock import advisory_lock_key
from kernel.db.connection import with_runner_settings
from kernel.db.progress_table import create_statements
from kernel.db.repeatable_table import create_repeatable_statement
from kernel.migrations.transactions import RunMode
from kernel.operations.baseline import squash_statements
from kernel.operations.migrate import squashes_to_record
from kernel.operations.repeatable import repeatable_file_runs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kernel.db.connection import Session
    from kernel.operations.migrate import MigrateOptions, PreparedRun


def migrate_sql(session: Session, prepared: PreparedRun, options: MigrateOptions) -> Iterator[bytes]:
    """The statements of a run, which prepare_migrate has prepared; none without a run.

    What the runner does when CREATE OR REPLACE cannot change an object is not part of it.

    Raises MigrationFailed for a file that cannot be read any more, and psycopg.Error.
    """
    status, files, repeatable = prepared
    squashes = squashes_to_record(status, options)
    if not files and not squashes and not repeatable.pending:
        return
    session = with_runner_settings(session, statement_timeout_ms=options.waits.statement_timeout_ms)
    ledger = status.ledger
    key = advisory_lock_key(ledger.schema, ledger.table)
    yield from _script(
        *(session.reset_role if session.role else ()),
        *session.runner_settings,
        *(() if session.pooled else (b"SELECT pg_try_advisory_lock(%d)" % key,)),
    )
    if not ledger.exists:
        yield from _script(b"BEGIN", *(statement.encode() for statement in create_statements(ledger)), b"COMMIT")
    if repeatable.pending:
        yield from _script(create_repeatable_statement(ledger).encode())
    if squashes:
        yield from _script(b"BEGIN", *squash_statements(session, ledger, squashes), b"COMMIT")
    with open_executor(session, ledger, waits=options.waits, observer=ignore_event) as executor:
        ledger = replace(ledger, exists=True)
        repeated = repeatable_file_runs(session, ledger, repeatable)
        for group in [files] if options.single_transaction else [(file,) for file in files]:
            for migration, script in group:
                if script.backfill:
                    yield from backfill_sql(executor, migration, script, script.backfill)
                elif script.mode is not RunMode.TRANSACTION:
                    yield from outside_transaction_sql(executor, migration, script)
            yield from transaction_sql(
                executor,
                [
                    *(
                        file_run_for_migration(session, ledger, migration, script)
                        for migration, script in group
                        if script.mode is RunMode.TRANSACTION
                    ),
                    *(repeated if options.single_transaction else ()),
                ],
            )
        if not options.single_transaction:
            yield from transaction_sql(executor, repeated)


def _script(*statements: bytes) -> Iterator[bytes]:
    for statement in statements:
        yield statement.strip() + b";\n"
