"""The command line: flags in, one call of the kernel, its exit code out. Run `inv --list`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from invoke.collection import Collection
from invoke.context import Context  # noqa: TC002 - Invoke reads the signatures of tasks
from invoke.exceptions import Exit
from invoke.tasks import task

# Invoke writes no bytecode, so that a renamed tasks.py leaves none behind. The kernel's is worth keeping.
sys.dont_write_bytecode = bool(os.environ.get("PYTHONDONTWRITEBYTECODE"))

from kernel.cli.context import open_task  # noqa: E402 - see above

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from kernel.cli.context import TaskContext

_ROOT = Path(__file__).resolve().parent
_JSON = "print one JSON document instead of text (default: no)"
_YES = "confirm it; needed when KERNEL_STORAGE_MODE is SUPABASE (default: no)"


_REHEARSED = "nothing of the rehearsal is left, and production was only read"


def _desk(*, json: bool = False, **after: str) -> AbstractContextManager[TaskContext]:
    return open_task(_ROOT, json=json, failed=lambda code: Exit(code=code), **after)


@task(
    positional=[],
    auto_shortflags=False,
    help={
        "to": "the last version to apply, such as 016 (default: all)",
        "dry-run": "show what would be applied and write nothing; --dry does the same (default: no)",
        "single-transaction": "apply all pending migrations in one transaction, or none (default: one each)",
        "allow-out-of-order": "apply pending migrations below the newest applied one too (default: no)",
        "lock-wait": "seconds to wait for another runner; 0 not at all, -1 for ever (default: 60)",
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
    lock_wait: str = "60",
    json: bool = False,
) -> None:
    """Apply every pending migration, in version order.

    Exit codes: 0 applied, or nothing to do; 2 flags, settings or files; 4 drift; 5 another runner holds the lock;
    6 a migration failed; 7 no database; 130 and 143 interrupted.
    """
    with _desk(json=json) as desk:
        from kernel.cli.migrate import run_migrate

        run_migrate(
            desk,
            to=to,
            dry_run=dry_run or bool(c.config.run.dry),
            single_transaction=single_transaction,
            allow_out_of_order=allow_out_of_order,
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
    with _desk(json=json) as desk:
        from kernel.cli.status import run_status

        code = run_status(desk, check=check)
    if code:
        raise Exit(code=code)


@task(
    positional=[],
    auto_shortflags=False,
    help={"offline": "look at the files only, connect to nothing (default: compare records too)", "json": _JSON},
)
def verify(_c: Context, *, offline: bool = False, json: bool = False) -> None:
    """Check all that can be wrong before SQL is run.

    Names, numbers, encoding, syntax as far as it decides how a file runs, directives, revert files, drift.
    Exit codes: 0 nothing is wrong; 2 settings or files; 4 drift; 7 no database.
    """
    with _desk(json=json) as desk:
        from kernel.cli.verify import run_verify

        code = run_verify(desk, offline=offline)
    if code:
        raise Exit(code=code)


@task(
    positional=[],
    auto_shortflags=False,
    help={"all": "look at every file, connect to nothing (default: the pending ones)", "json": _JSON},
)
def lint(_c: Context, *, all: bool = False, json: bool = False) -> None:  # noqa: A002 - the flag is called so
    """Name the hazards of pending migrations.

    They are told from the text alone; without a database every file is looked at. Exit codes: 0 nothing, or warnings
    and remarks only; 8 errors that no file accepts; 2 flags, settings or files.
    """
    with _desk(json=json) as desk:
        from kernel.cli.lint import run_lint

        code = run_lint(desk, every=all)
    if code:
        raise Exit(code=code)


@task(
    positional=[],
    auto_shortflags=False,
    help={
        "dump": "what pg_dump wrote: plain SQL (also .gz, .zst), custom, directory or tar (default: dump PROD_DB)",
        "schema-only": "leave production's rows out (default: all of them)",
        "jobs": "connections that restore and check (default: as many as processors)",
        "report": "write the page there, a file such as rehearsal.html (default: none)",
        "max-block": "milliseconds that reads or writes may be shut out (default: 1000)",
        "fail-on": "error, warning or never: which findings fail the rehearsal (default: error)",
        "reader": "seconds that a reader stands in front of the migrations, under traffic (default: 0)",
        "queries": "a file of the application's queries, or pg_stat_statements of PROD_DB (default: none)",
        "suggest": "try safer files for findings that have a mechanical remedy, beside the report (default: no)",
        "keep": "keep the restored copy for the next rehearsal of this dump (default: no)",
        "forget": "remove every copy that is kept, and do nothing else (default: no)",
        "yes": "overwrite a TEST_DB that holds something else (default: no)",
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
    7 the dump, the copy or a server; 130 and 143 interrupted, with nothing left behind.
    """
    with _desk(json=json, after_a_signal=_REHEARSED) as desk:
        from kernel.cli.snapshot_test import run_forget, run_snapshot_test

        if forget:
            run_forget(desk)
            return
        code = run_snapshot_test(
            desk,
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
        "to": "remove the records behind this version, which stays applied (default: see --steps)",
        "revert": "run revert/<same name>.sql in the transaction that removes the record (default: no)",
        "yes": _YES,
        "json": _JSON,
    },
)
def rollback(
    _c: Context, *, steps: str = "1", to: str | None = None, revert: bool = False, yes: bool = False, json: bool = False
) -> None:
    """Remove the newest record; the SQL is not undone.

    Exit codes: 0 done, or nothing to do; 2 flags, settings or revert files; 5 lock busy; 6 a revert failed;
    7 no database.
    """
    with _desk(json=json) as desk:
        from kernel.cli.rollback import run_rollback

        run_rollback(desk, steps=steps, to=to, revert=revert, yes=yes)


@task(
    positional=["name"],
    auto_shortflags=False,
    help={
        "name": "what it does, in words: add_user_preferences",
        "description": "the sentence of the header (default: the name)",
        "revert": "scaffold the file that undoes it, too (default: no)",
        "no-transaction": "for statements that cannot run in a transaction (default: no)",
    },
)
def new(_c: Context, name: str, *, description: str = "", revert: bool = False, no_transaction: bool = False) -> None:
    """Scaffold the next migration file and print its path.

    Exit codes: 0; 2 a name that cannot be one.
    """
    with _desk() as desk:
        from kernel.cli.new import run_new

        run_new(desk, name, description=description, revert=revert, no_transaction=no_transaction)


@task(
    positional=[],
    auto_shortflags=False,
    help={"to": "the last version that the database was made by, such as 009 (needed)", "yes": _YES, "json": _JSON},
)
def baseline(_c: Context, *, to: str = "", yes: bool = False, json: bool = False) -> None:
    """Record files as applied without running them.

    For a database that was there before the ledger. Exit codes: 0; 2 flags, settings, files, or there are records
    already; 5 lock busy; 7 no database.
    """
    with _desk(json=json) as desk:
        from kernel.cli.baseline import run_baseline

        run_baseline(desk, to=to, yes=yes)


@task(
    positional=[],
    auto_shortflags=False,
    help={"accept": "the version whose file counts as it is now, such as 009 (needed)", "yes": _YES, "json": _JSON},
)
def repair(_c: Context, *, accept: str = "", yes: bool = False, json: bool = False) -> None:
    """Accept an applied file that was changed on purpose.

    Its record takes the file's checksum, name and number. Exit codes: 0; 2 flags, settings, files, or nothing to
    accept; 5 lock busy; 7 no database.
    """
    with _desk(json=json) as desk:
        from kernel.cli.baseline import run_repair

        run_repair(desk, accept=accept, yes=yes)


@task(
    positional=["file"],
    auto_shortflags=False,
    help={"file": "the file to move, as db.status shows it", "to": "the number to move it to (default: the next free)"},
)
def renumber(_c: Context, file: str, *, to: str = "") -> None:
    """Move a pending file to the next free number.

    Its revert file goes with it. Exit codes: 0; 2 no such file, a number that is taken, or the file is applied; 7 no
    database.
    """
    with _desk() as desk:
        from kernel.cli.new import run_renumber

        run_renumber(desk, file, to=to)


@task(positional=[], auto_shortflags=False)
def start(_c: Context) -> None:
    """Keep the embedded server running, print its URL.

    Exit codes: 0; 2 in production; 7 it does not start.
    """
    with _desk() as desk:
        from kernel.cli.server import run_start

        run_start(desk)


@task(positional=[], auto_shortflags=False)
def stop(_c: Context) -> None:
    """Stop the embedded server.

    Exit codes: 0, also when it was not running; 7 another command uses it.
    """
    with _desk() as desk:
        from kernel.cli.server import run_stop

        run_stop(desk)


@task(positional=[], auto_shortflags=False)
def shell(_c: Context) -> None:
    """Open psql on the database of the settings.

    Exit codes: psql's own; 2 settings; 7 no psql, no database.
    """
    with _desk() as desk:
        from kernel.cli.server import run_psql

        code = run_psql(desk)
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
    baseline,
    repair,
    renumber,
    start,
    stop,
    shell,
):
    _db.add_task(_task)
namespace = Collection(_db)
