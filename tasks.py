"""The command line: the tasks of `inv --list`, their flags, help and exit codes."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from invoke.collection import Collection
from invoke.context import Context  # noqa: TC002 - Invoke reads the signatures of tasks
from invoke.exceptions import Exit
from invoke.tasks import task

# Invoke turns bytecode off. Kernel modules load faster with it.
sys.dont_write_bytecode = bool(os.environ.get("PYTHONDONTWRITEBYTECODE"))

from kernel.cli.context import open_task  # noqa: E402 - see above

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from kernel.cli.context import TaskContext

_ROOT = Path(__file__).resolve().parent
_JSON = "print one JSON document instead of text (default: no)"
_YES = "confirm it; needed when KERNEL_STORAGE_MODE is SUPABASE (default: no)"


_AFTER_REHEARSAL_SIGNAL = "the copy of the rehearsal is removed, and production was only read"


def task_context(*, json: bool = False, **after: str) -> AbstractContextManager[TaskContext]:
    """Open the context of a task; errors become Invoke's Exit with the error's exit code."""
    return open_task(_ROOT, json=json, exit_with=lambda code: Exit(code=code), **after)


@task(
    positional=[],
    auto_shortflags=False,
    help={
        "to": "the last version to apply, such as 016 (default: all)",
        "dry-run": "show what would be applied and write nothing; --dry does the same (default: no)",
        "single-transaction": "apply all pending migrations in one transaction, or none (default: one each)",
        "allow-out-of-order": "apply pending migrations below the newest applied one too (default: no)",
        "allow-empty": "apply files too that are still as db.new wrote them (default: no)",
        "lock-wait": "seconds to wait for another runner; 0 does not wait, -1 waits without limit (default: 60)",
        "json": _JSON,
    },
)
def migrate(
    c: Context,
    *,
    to: str | None = None,
    dry_run: bool = False,
    single_transaction: bool = False,
    allow_out_of_order: bool = False,
    allow_empty: bool = False,
    lock_wait: str = "60",
    json: bool = False,
) -> None:
    """Apply every pending migration, in version order.

    Exit codes: 0 applied, or nothing to do; 2 flags, settings or files; 4 drift; 5 another runner holds the lock;
    6 a migration failed; 7 no database; 130 and 143 interrupted.
    """
    with task_context(json=json) as context:
        from kernel.cli.migrate import run_migrate

        run_migrate(
            context,
            to=to,
            dry_run=dry_run or bool(c.config.run.dry),
            single_transaction=single_transaction,
            allow_out_of_order=allow_out_of_order,
            allow_empty=allow_empty,
            lock_wait=lock_wait,
        )


@task(
    default=True,
    positional=[],
    auto_shortflags=False,
    help={"check": "exit 3 when anything is pending, 4 on drift (default: exit 0)", "json": _JSON},
)
def status(_c: Context, *, check: bool = False, json: bool = False) -> None:
    """Show which migrations are applied and which pending.

    Exit codes: 0; with --check 3 pending, 4 drift; 2 settings or files; 4 another table; 7 no database.
    """
    with task_context(json=json) as context:
        from kernel.cli.status import run_status

        code = run_status(context, check=check)
    if code:
        raise Exit(code=code)


@task(
    positional=[],
    auto_shortflags=False,
    help={"offline": "check the files only, without a database (default: compare records too)", "json": _JSON},
)
def verify(_c: Context, *, offline: bool = False, json: bool = False) -> None:
    """Check files and records without running SQL.

    Checks names, numbers, encoding, transaction statements, directives, revert files and drift.
    Exit codes: 0 no problem; 2 settings or files; 4 drift; 7 no database.
    """
    with task_context(json=json) as context:
        from kernel.cli.status import run_verify

        code = run_verify(context, offline=offline)
    if code:
        raise Exit(code=code)


@task(
    positional=[],
    auto_shortflags=False,
    help={"all": "lint every file, without a database (default: the pending ones)", "json": _JSON},
)
def lint(_c: Context, *, all: bool = False, json: bool = False) -> None:  # noqa: A002 - the name of the flag
    """Lint pending migrations.

    Reads the text of the files only; without a database, of every file. Exit codes: 0 no error; 8 errors that the
    files do not accept; 2 flags, settings or files.
    """
    with task_context(json=json) as context:
        from kernel.cli.lint import run_lint

        code = run_lint(context, all_files=all)
    if code:
        raise Exit(code=code)


@task(
    positional=[],
    auto_shortflags=False,
    help={
        "dump": "output of pg_dump: plain SQL (also .gz, .zst), custom, directory or tar (default: dump PROD_DB)",
        "schema-only": "restore the schema without rows (default: with rows)",
        "jobs": "parallel connections for restore and checks (default: the number of CPUs, 2 to 8)",
        "report": "write an HTML report to this file (default: none)",
        "max-block": "milliseconds that reads or writes may be blocked (default: 1000)",
        "fail-on": "error, warning or never: the lowest severity that fails the rehearsal (default: error)",
        "reader": "seconds that a long read holds its locks before a migration, under traffic (default: 0)",
        "queries": "a file of the application's queries, or pg_stat_statements of PROD_DB (default: none)",
        "suggest": "write and test safer files next to the report (default: no)",
        "keep": "keep the restored copy for the next rehearsal of this dump (default: no)",
        "forget": "remove all kept copies and exit (default: no)",
        "yes": "overwrite a TEST_DB that holds other data (default: no)",
        "json": _JSON,
    },
)
def snapshot_test(
    _c: Context,
    *,
    dump: str = "",
    schema_only: bool = False,
    jobs: str = "",
    report: str = "",
    max_block: str = "1000",
    fail_on: str = "error",
    reader: str = "0",
    queries: str = "",
    suggest: bool = False,
    keep: bool = False,
    forget: bool = False,
    yes: bool = False,
    json: bool = False,
) -> None:
    """Rehearse pending migrations on a copy of production.

    Exit codes: 0 passed; 8 findings at or above the threshold; 2 flags, settings, files or declarations; 4 drift;
    5 TEST_DB is in use; 7 the dump, the copy or a server; 130 and 143 interrupted, with the copy removed.
    """
    with task_context(json=json, after_signal=_AFTER_REHEARSAL_SIGNAL) as context:
        from kernel.cli.snapshot_test import run_forget, run_snapshot_test

        if forget:
            run_forget(context)
            return
        code = run_snapshot_test(
            context,
            dump=dump,
            schema_only=schema_only,
            jobs=jobs,
            report=report,
            max_block=max_block,
            fail_on=fail_on,
            reader=reader,
            queries=queries,
            suggest=suggest,
            keep=keep,
            yes=yes,
        )
    if code:
        raise Exit(code=code)


@task(
    positional=[],
    auto_shortflags=False,
    help={
        "steps": "how many records to remove, newest first (default: 1)",
        "to": "remove the records after this version, which stays applied (default: see --steps)",
        "revert": "run revert/<same name>.sql in the transaction that removes the record (default: no)",
        "dry-run": "show what would be rolled back and write nothing; --dry does the same (default: no)",
        "yes": _YES,
        "json": _JSON,
    },
)
def rollback(
    c: Context,
    *,
    steps: str = "1",
    to: str | None = None,
    revert: bool = False,
    dry_run: bool = False,
    yes: bool = False,
    json: bool = False,
) -> None:
    """Remove the newest record without undoing its SQL.

    Exit codes: 0 done, or nothing to do; 2 flags, settings or revert files; 5 lock busy; 6 a revert failed;
    7 no database.
    """
    with task_context(json=json) as context:
        from kernel.cli.rollback import run_rollback

        dry_run = dry_run or bool(c.config.run.dry)
        run_rollback(context, steps=steps, to=to, revert=revert, dry_run=dry_run, yes=yes)


@task(
    positional=["name"],
    auto_shortflags=False,
    help={
        "name": "a description such as add_user_preferences",
        "description": "a sentence for the file header (default: the name)",
        "revert": "also create its revert file (default: no)",
        "no-transaction": "for statements that cannot run in a transaction (default: no)",
    },
)
def new(_c: Context, name: str, *, description: str = "", revert: bool = False, no_transaction: bool = False) -> None:
    """Create the next migration file and print its path.

    Exit codes: 0; 2 an invalid name.
    """
    with task_context() as context:
        from kernel.cli.new import run_new

        run_new(context, name, description=description, revert=revert, no_transaction=no_transaction)


@task(
    positional=["directory"],
    auto_shortflags=False,
    help={
        "directory": "the directory of the other tool's files, which are only read",
        "from": "goose, sql-migrate, dbmate, golang-migrate, flyway, node-pg-migrate-sql, supabase or tern (needed)",
        "output": "the directory to write to (default: KERNEL_MIGRATIONS_DIR)",
        "dry-run": "show what would be written and write nothing; --dry does the same (default: no)",
        "json": _JSON,
    },
)
def adopt(
    c: Context, directory: str, *, from_: str = "", output: str = "", dry_run: bool = False, json: bool = False
) -> None:
    """Write migrations from another tool's files.

    Exit codes: 0; 2 flags, or files that cannot be carried over, with nothing written.
    """
    with task_context(json=json) as context:
        from kernel.cli.adopt import run_adopt

        run_adopt(context, directory, tool=from_, output=output, dry_run=dry_run or bool(c.config.run.dry))


@task(
    positional=[],
    auto_shortflags=False,
    help={
        "to": "the last version that the database already contains, such as 009; 0 for none (needed)",
        "yes": _YES,
        "json": _JSON,
    },
)
def baseline(_c: Context, *, to: str = "", yes: bool = False, json: bool = False) -> None:
    """Record files as applied without running them.

    For a database that is older than schema_migrations. With --to 0 nothing is recorded, and all files are pending: the
    tables are of others. Exit codes: 0; 2 flags, settings, files, or records exist; 5 lock busy; 7 no database.
    """
    with task_context(json=json) as context:
        from kernel.cli.baseline import run_baseline

        run_baseline(context, to=to, yes=yes)


@task(
    positional=[],
    auto_shortflags=False,
    help={
        "accept": "accept the current content of this version's file, such as 009 (default: none)",
        "restart": "run the partial file of this version from its beginning next time (default: none)",
        "forget": "remove the record of this version, whose file was deleted on purpose (default: none)",
        "yes": _YES,
        "json": _JSON,
    },
)
def repair(
    _c: Context, *, accept: str = "", restart: str = "", forget: str = "", yes: bool = False, json: bool = False
) -> None:
    """Accept a changed file, restart a partial one, or forget.

    Updates the record with the file's checksum, name and number, forgets which statements of a no-transaction file are
    finished, or removes the record of a deleted file. No SQL of a file runs. Exit codes: 0; 2 flags, settings, files,
    or nothing to repair; 5 lock busy; 7 no database.
    """
    with task_context(json=json) as context:
        from kernel.cli.repair import run_repair

        run_repair(context, accept=accept, restart=restart, forget=forget, yes=yes)


@task(
    positional=["file"],
    auto_shortflags=False,
    help={"file": "the file to rename, as db.status shows it", "to": "the new number (default: the next free)"},
)
def renumber(_c: Context, file: str, *, to: str = "") -> None:
    """Give a pending file the next free number.

    Renames its revert file too. Exit codes: 0; 2 no such file, a number that is taken, or the file is applied; 7 no
    database.
    """
    with task_context() as context:
        from kernel.cli.new import run_renumber

        run_renumber(context, file, to=to)


@task(
    positional=["name"],
    auto_shortflags=False,
    help={
        "name": "a description for the new file, such as kernel_schema",
        "to": "the last version to replace, such as 040 (needed)",
        "dry-run": "prove that it can be done and write nothing; --dry does the same (default: no)",
        "json": _JSON,
    },
)
def squash(c: Context, name: str, *, to: str = "", dry_run: bool = False, json: bool = False) -> None:
    """Replace older migrations by one file.

    Runs both on throwaway servers first and compares the databases. Exit codes: 0; 2 flags, or files that cannot be
    replaced, with nothing changed; 7 no PostgreSQL programs, or a server that does not start.
    """
    with task_context(json=json, after_signal="no file was changed") as context:
        from kernel.cli.squash import run_squash

        run_squash(context, name, to=to, dry_run=dry_run or bool(c.config.run.dry))


@task(positional=[], auto_shortflags=False)
def start(_c: Context) -> None:
    """Start the embedded server and print its URL.

    Exit codes: 0; 2 in production; 7 it did not start.
    """
    with task_context() as context:
        from kernel.cli.server import run_start

        run_start(context)


@task(positional=[], auto_shortflags=False)
def stop(_c: Context) -> None:
    """Stop the embedded server.

    Exit codes: 0, also when it was not running; 7 another command uses it.
    """
    with task_context() as context:
        from kernel.cli.server import run_stop

        run_stop(context)


# With a short flag: -c is what psql has, and Invoke would take it for its own --collection.
@task(
    positional=[],
    auto_shortflags=True,
    help={"command": "run this SQL and exit, as psql does (default: a session of psql)"},
)
def shell(_c: Context, *, command: str | None = None) -> None:
    """Open psql on the configured database.

    Exit codes: psql's own; 2 settings; 7 no psql, no database.
    """
    with task_context() as context:
        from kernel.cli.server import run_psql

        code = run_psql(context, command=command)
    if code:
        raise Exit(code=code)


_db = Collection("db")
for _task in (
    migrate,
    status,
    verify,
    lint,
    snapshot_test,
    rollback,
    new,
    adopt,
    baseline,
    repair,
    renumber,
    squash,
    start,
    stop,
    shell,
):
    _db.add_task(_task)
namespace = Collection(_db)
