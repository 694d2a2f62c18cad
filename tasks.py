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

try:
    from kernel.cli.context import open_task
except ImportError as error:
    if (error.name or "").partition(".")[0] != "kernel":
        raise
    if other := sys.modules.get("kernel"):
        place = other.__file__ or ", ".join(other.__path__)
        problem = (
            f"{place}: another package named kernel, which Python finds first; "
            "move tasks.py, .env and migrations/ to a folder without it, and run inv there"
        )
    else:
        problem = f"{sys.executable}: aibos-kernel-migrations is not installed here; install it with pip"
    print(f"error: {problem}", file=sys.stderr)  # noqa: T201 - nothing of the project is there
    raise SystemExit(2) from error

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from kernel.cli.context import TaskContext

_ROOT = Path(__file__).resolve().parent
_PHASE = "before or after: only the files of this phase (default: both)"
_JSON = "print one JSON document instead of text (default: no)"
_FORMAT = "text, json, markdown, sarif or gitlab, for a pull request or merge request (default: text)"
_WAIT = "seconds to wait until the server accepts connections; -1 waits without limit (default: 0)"
_YES = "confirm it; needed when KERNEL_STORAGE_MODE is SUPABASE (default: no)"


_AFTER_ROLLOUT_SIGNAL = "what had not committed is rolled back; running again asks every target, and continues"
_AFTER_REHEARSAL_SIGNAL = "the copy of the rehearsal is removed, and production was only read"


def task_context(*, json: bool = False, **options: str | None) -> AbstractContextManager[TaskContext]:
    """Open the context of a task; errors become Invoke's Exit with the error's exit code."""
    return open_task(_ROOT, json=json, exit_with=lambda code: Exit(code=code), **options)


@task(
    positional=[],
    auto_shortflags=False,
    help={
        "to": "the last version to apply, such as 016 (default: all)",
        "dry-run": "show what would be applied and write nothing; --dry does the same (default: no)",
        "sql": "with --dry-run, print the SQL that would be sent, as a script for psql (default: file names)",
        "single-transaction": "apply all pending migrations in one transaction, or none (default: one each)",
        "allow-out-of-order": "apply pending migrations below the newest applied one too (default: no)",
        "allow-empty": "apply files too that are still as db.new wrote them (default: no)",
        "lock-wait": "seconds to wait for another runner; 0 does not wait, -1 waits without limit (default: 60)",
        "wait": _WAIT,
        "check-schema": "compare the catalog with the applied files first, as db.verify --schema does (default: no)",
        "when-calm": "wait this long, such as 10min, until db.preflight finds nothing that blocks (default: start now)",
        "phase": _PHASE,
        "json": _JSON,
    },
)
def migrate(
    c: Context,
    *,
    to: str | None = None,
    dry_run: bool = False,
    sql: bool = False,
    single_transaction: bool = False,
    allow_out_of_order: bool = False,
    allow_empty: bool = False,
    lock_wait: str = "60",
    wait: str = "0",
    when_calm: str = "",
    check_schema: bool = False,
    phase: str = "",
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
            sql=sql,
            single_transaction=single_transaction,
            allow_out_of_order=allow_out_of_order,
            allow_empty=allow_empty,
            lock_wait=lock_wait,
            wait=wait,
            when_calm=when_calm,
            check_schema=check_schema,
            phase=phase,
        )


@task(
    default=True,
    positional=[],
    auto_shortflags=False,
    help={
        "check": "exit 3 when anything is pending, 4 on drift (default: exit 0)",
        "long": "show when each was applied, and its checksum (default: no)",
        "wait": "seconds to wait for the server, and with --check until nothing is pending; -1: no limit (default: 0)",
        "phase": "with --check, before or after: the phase of the files that count (default: both)",
        "json": _JSON,
    },
)
def status(
    _c: Context, *, check: bool = False, long: bool = False, wait: str = "0", phase: str = "", json: bool = False
) -> None:
    """Show which migrations are applied and which pending.

    Exit codes: 0; with --check 3 pending, 4 drift; 2 settings or files; 4 another table; 7 no database.
    """
    with task_context(json=json) as context:
        from kernel.cli.status import run_status

        code = run_status(context, check=check, long=long, wait=wait, phase=phase)
    if code:
        raise Exit(code=code)


@task(
    positional=[],
    auto_shortflags=False,
    help={
        "rehearsal": "the saved output of db.snapshot-test --json, to compare free disk space with (default: none)",
        "phase": _PHASE,
        "json": _JSON,
    },
)
def preflight(_c: Context, *, rehearsal: str = "", phase: str = "", json: bool = False) -> None:
    """Show what is in the way of the pending files now.

    Sessions with conflicting locks, old transactions, dumps, vacuum, replicas, disk space and connections; nothing is
    changed and no session ended. Exit codes: 0 nothing blocks; 8 something does; 2 flags, settings or files; 7 no
    database.
    """
    with task_context(json=json) as context:
        from kernel.cli.preflight import run_preflight

        code = run_preflight(context, rehearsal=rehearsal, phase=phase)
    if code:
        raise Exit(code=code)


@task(
    positional=[],
    auto_shortflags=False,
    help={
        "offline": "check the files only, without a database (default: compare records too)",
        "run": "run the checks in migrations/verify of applied migrations too, read-only (default: no)",
        "wait": _WAIT,
        "schema": "compare the catalog with what the applied files make, too (default: no)",
        "privileges": "with --schema, compare owners and grants too (default: no)",
        "format": _FORMAT,
        "json": _JSON,
    },
)
def verify(
    _c: Context,
    *,
    offline: bool = False,
    run: bool = False,
    wait: str = "0",
    schema: bool = False,
    privileges: bool = False,
    format: str | None = None,  # noqa: A002 - the name of the flag
    json: bool = False,
) -> None:
    """Check files and records without running SQL.

    Checks names, numbers, encoding, transaction statements, directives, revert files and drift. With --schema the
    applied files are built on a throwaway server, and the catalog of the database is compared with the result.
    Exit codes: 0 no problem; 2 settings or files; 4 drift, or a check that fails; 7 no database.
    """
    with task_context(json=json, output_format=format, reported_task="db.verify") as context:
        from kernel.cli.verify import run_verify

        code = run_verify(context, offline=offline, wait=wait, checks=run, schema=schema, privileges=privileges)
    if code:
        raise Exit(code=code)


@task(
    positional=[],
    auto_shortflags=False,
    help={
        "all": "lint every file, without a database (default: the pending ones)",
        "since": "lint what is new or changed since a branch or commit, without a database (default: see --all)",
        "write-baseline": "make the findings of every file known, in lint-baseline.json (default: no)",
        "format": _FORMAT,
        "json": _JSON,
    },
)
def lint(
    _c: Context,
    *,
    all: bool = False,  # noqa: A002 - the name of the flag
    since: str | None = None,
    write_baseline: bool = False,
    format: str | None = None,  # noqa: A002 - the name of the flag
    json: bool = False,
) -> None:
    """Lint pending migrations.

    Reads the text of the files only; without a database, of every file. Exit codes: 0 no error; 8 errors that neither
    the files nor lint-baseline.json accept; 2 flags, settings, files or a baseline.
    """
    with task_context(json=json, output_format=format, reported_task="db.lint") as context:
        from kernel.cli.lint import run_lint

        code = run_lint(context, all_files=all, since=since, writes_baseline=write_baseline)
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
        "queries-after": "a file of the queries of the version that is deployed before phase after (default: none)",
        "suggest": "write and test safer files next to the report (default: no)",
        "keep": "keep the restored copy for the next rehearsal of this dump (default: no)",
        "forget": "remove all kept copies and exit (default: no)",
        "yes": "overwrite a TEST_DB that holds other data (default: no)",
        "format": _FORMAT,
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
    queries_after: str = "",
    suggest: bool = False,
    keep: bool = False,
    forget: bool = False,
    yes: bool = False,
    format: str | None = None,  # noqa: A002 - the name of the flag
    json: bool = False,
) -> None:
    """Rehearse pending migrations on a copy of production.

    Exit codes: 0 passed; 8 findings at or above the threshold; 2 flags, settings, files or declarations; 4 drift;
    5 TEST_DB is in use; 7 the dump, the copy or a server; 130 and 143 interrupted, with the copy removed.
    """
    with task_context(
        json=json, output_format=format, reported_task="db.snapshot-test", after_signal=_AFTER_REHEARSAL_SIGNAL
    ) as context:
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
            queries_after=queries_after,
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
        "repeatable": "a file in repeatable/, for a view or function, applied when it changes (default: no)",
    },
)
def new(
    _c: Context,
    name: str,
    *,
    description: str = "",
    revert: bool = False,
    no_transaction: bool = False,
    repeatable: bool = False,
) -> None:
    """Create the next migration file and print its path.

    Exit codes: 0; 2 an invalid name.
    """
    with task_context() as context:
        from kernel.cli.new import run_new

        run_new(
            context,
            name,
            description=description,
            revert=revert,
            no_transaction=no_transaction,
            repeatable=repeatable,
        )


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
        "to": "the last version that the database already contains, such as 009, or 0 (default: what --from says)",
        "from": "the tool whose ledger says what is applied, such as goose (docs/adopting.md) (default: none)",
        "ledger": "the other tool's table, where it has another name, such as ops.goose_versions (default: the tool's)",
        "different": "also record files that are not what the other tool applied, by its checksums (default: no)",
        "dry-run": "show what would be recorded and write nothing; --dry does the same (default: no)",
        "yes": _YES,
        "json": _JSON,
    },
)
def baseline(
    c: Context,
    *,
    to: str = "",
    from_: str = "",
    ledger: str = "",
    different: bool = False,
    dry_run: bool = False,
    yes: bool = False,
    json: bool = False,
) -> None:
    """Record files as applied without running them.

    For a database that is older than schema_migrations, or that another tool has migrated. With --to 0 nothing is
    recorded, and all files are pending: the tables are of others. Exit codes: 0; 2 flags, settings, files, or records
    exist; 4 the other ledger has failed runs or other files; 5 lock busy; 7 no database.
    """
    with task_context(json=json) as context:
        from kernel.cli.baseline import run_baseline

        run_baseline(
            context,
            to=to,
            tool=from_,
            ledger=ledger,
            different=different,
            dry_run=dry_run or bool(c.config.run.dry),
            yes=yes,
        )


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


@task(
    positional=[],
    auto_shortflags=False,
    help={
        "output": "write this file (*.md) or the pages into this folder (default: SCHEMA.md in the folder of the "
        "migrations; docs/schema for more than 30 tables)",
        "check": "write nothing; exit 4 and show the difference when the files are out of date (default: no)",
        "live": "document the database of the settings (default: what the files make on a throwaway server)",
    },
)
def docs(_c: Context, *, output: str | None = None, check: bool = False, live: bool = False) -> None:
    """Document the schema in Markdown, with diagrams.

    Exit codes: 0; 2 flags, settings or files; 4 with --check: out of date; 7 no PostgreSQL programs, or no database.
    """
    with task_context() as context:
        from kernel.cli.docs import run_docs

        code = run_docs(context, output=output, check=check, live=live)
    if code:
        raise Exit(code=code)


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
    """Stop the embedded server, and that of finished tests.

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


_FLEET = {
    "inventory": "the file with the targets (default: fleet.toml)",
    "only": "names of targets, with commas between them (default: all)",
    "wave": "the targets of this wave only (default: all waves)",
    "at-a-time": "how many targets at a time (default: as in the inventory, else 16)",
    "per-server": "how many connections to one server (default: as in the inventory, else 4)",
    "part": "part K/N of the targets, for jobs that share the work (default: all)",
    "cluster": "the scheduler of a Dask cluster, such as tcp://HOST:8786 (default: threads)",
    "format": _FORMAT,
    "json": _JSON,
}


@task(
    name="status",
    positional=[],
    auto_shortflags=False,
    help={"check": "exit 3 when anything is pending, 4 on drift (default: exit 0)", **_FLEET},
)
def fleet_status(
    _c: Context,
    *,
    check: bool = False,
    inventory: str = "fleet.toml",
    only: str = "",
    wave: str = "",
    at_a_time: str = "",
    per_server: str = "",
    part: str = "",
    cluster: str = "",
    format: str | None = None,  # noqa: A002 - the name of the flag
    json: bool = False,
) -> None:
    """Show which versions the targets of a fleet are at.

    Exit codes: 0; with --check 3 pending, 4 drift; 2 flags, settings, files or inventory; 7 a target cannot be read.
    """
    with task_context(
        json=json, output_format=format, reported_task="fleet.status", after_signal="nothing was changed"
    ) as context:
        from kernel.cli.fleet import FleetFlags, run_fleet_status

        flags = FleetFlags(
            inventory=inventory,
            only=only,
            wave=wave,
            at_a_time=at_a_time,
            per_server=per_server,
            part=part,
            cluster=cluster,
        )
        code = run_fleet_status(context, flags, check=check)
    if code:
        raise Exit(code=code)


@task(
    name="migrate",
    positional=[],
    auto_shortflags=False,
    help={
        "to": "the last version to apply, such as 016 (default: all)",
        "until": "the last wave (default: all waves)",
        "failed": "the targets that the last run did not finish (default: all)",
        "max-failures": "targets of a wave that may fail: 3, or 5% (default: as in the inventory, else 0)",
        "timeout": "how long a target may take, such as 10min (default: as in the inventory, else no limit)",
        "dry-run": "show what would be applied and write nothing; --dry does the same (default: no)",
        "phase": _PHASE,
        "yes": "do not ask after a wave with hold = ask (default: ask at a terminal, end in a script)",
        **_FLEET,
    },
)
def fleet_migrate(
    c: Context,
    *,
    to: str | None = None,
    until: str = "",
    failed: bool = False,
    max_failures: str = "",
    timeout: str = "",
    dry_run: bool = False,
    phase: str = "",
    yes: bool = False,
    inventory: str = "fleet.toml",
    only: str = "",
    wave: str = "",
    at_a_time: str = "",
    per_server: str = "",
    part: str = "",
    cluster: str = "",
    format: str | None = None,  # noqa: A002 - the name of the flag
    json: bool = False,
) -> None:
    """Migrate the targets of a fleet, wave by wave.

    Exit codes: 0 all are migrated, or held after a wave; 2 flags, settings, files or inventory; 5 another rollout runs;
    of the targets the worst of 6 a migration failed, 4 drift, 7 unreachable, 5 lock busy; 130 and 143 interrupted.
    """
    with task_context(
        json=json, output_format=format, reported_task="fleet.migrate", after_signal=_AFTER_ROLLOUT_SIGNAL
    ) as context:
        from kernel.cli.fleet import FleetFlags
        from kernel.cli.fleet_migrate import MigrateFlags, run_fleet_migrate

        flags = FleetFlags(
            inventory=inventory,
            only=only,
            wave=wave,
            at_a_time=at_a_time,
            per_server=per_server,
            part=part,
            cluster=cluster,
        )
        own = MigrateFlags(
            to=to,
            until=until,
            failed=failed,
            max_failures=max_failures,
            timeout=timeout,
            dry_run=dry_run or bool(c.config.run.dry),
            phase=phase,
            yes=yes,
        )
        code = run_fleet_migrate(context, flags, own)
    if code:
        raise Exit(code=code)


@task(
    name="verify",
    positional=[],
    auto_shortflags=False,
    help={"schema": "compare the catalogs of targets with the same records (default: the ledgers only)", **_FLEET},
)
def fleet_verify(
    _c: Context,
    *,
    schema: bool = False,
    inventory: str = "fleet.toml",
    only: str = "",
    wave: str = "",
    at_a_time: str = "",
    per_server: str = "",
    part: str = "",
    cluster: str = "",
    format: str | None = None,  # noqa: A002 - the name of the flag
    json: bool = False,
) -> None:
    """Compare the ledgers and catalogs of a fleet.

    Exit codes: 0; 2 flags, settings, files or inventory; 4 drift, or with --schema catalogs that differ; 7 a target
    cannot be read.
    """
    with task_context(
        json=json, output_format=format, reported_task="fleet.verify", after_signal="nothing was changed"
    ) as context:
        from kernel.cli.fleet import FleetFlags, run_fleet_verify

        flags = FleetFlags(
            inventory=inventory,
            only=only,
            wave=wave,
            at_a_time=at_a_time,
            per_server=per_server,
            part=part,
            cluster=cluster,
        )
        code = run_fleet_verify(context, flags, schema=schema)
    if code:
        raise Exit(code=code)


@task(
    name="snapshot-test",
    positional=[],
    auto_shortflags=False,
    help={
        "schema-only": "copy the schemas without rows (default: with rows)",
        "jobs": "parallel connections for restore and checks (default: the number of CPUs, 2 to 8)",
        "report": "write an HTML report of each kind into this folder (default: none)",
        "max-block": "milliseconds that reads or writes may be blocked (default: 1000)",
        "fail-on": "error, warning or never: the lowest severity that fails the rehearsal (default: error)",
        "reader": "seconds that a long read holds its locks before a migration, under traffic (default: 0)",
        "dry-run": "show the kinds and rehearse nothing; --dry does the same (default: no)",
        **_FLEET,
    },
)
def fleet_snapshot_test(
    c: Context,
    *,
    schema_only: bool = False,
    jobs: str = "",
    report: str = "",
    max_block: str = "1000",
    fail_on: str = "error",
    reader: str = "0",
    dry_run: bool = False,
    inventory: str = "fleet.toml",
    only: str = "",
    wave: str = "",
    at_a_time: str = "",
    per_server: str = "",
    part: str = "",
    cluster: str = "",
    format: str | None = None,  # noqa: A002 - the name of the flag
    json: bool = False,
) -> None:
    """Rehearse on a copy of one target of each kind.

    Exit codes: 0 passed; 8 findings at or above the threshold; 2 flags, settings, files or inventory; 4 drift;
    7 a target cannot be read or copied; 130 and 143 interrupted, with the copy removed.
    """
    with task_context(
        json=json, output_format=format, reported_task="fleet.snapshot-test", after_signal=_AFTER_REHEARSAL_SIGNAL
    ) as context:
        from kernel.cli.fleet import FleetFlags
        from kernel.cli.fleet_snapshot_test import SnapshotFlags, run_fleet_snapshot_test

        flags = FleetFlags(
            inventory=inventory,
            only=only,
            wave=wave,
            at_a_time=at_a_time,
            per_server=per_server,
            part=part,
            cluster=cluster,
        )
        own = SnapshotFlags(
            schema_only=schema_only,
            jobs=jobs,
            report=report,
            max_block=max_block,
            fail_on=fail_on,
            reader=reader,
            dry_run=dry_run or bool(c.config.run.dry),
        )
        code = run_fleet_snapshot_test(context, flags, own)
    if code:
        raise Exit(code=code)


_db = Collection("db")
for _task in (
    migrate,
    status,
    verify,
    preflight,
    lint,
    snapshot_test,
    rollback,
    new,
    adopt,
    baseline,
    repair,
    renumber,
    squash,
    docs,
    start,
    stop,
    shell,
):
    _db.add_task(_task)
_fleet = Collection("fleet")
for _task in (fleet_status, fleet_migrate, fleet_verify, fleet_snapshot_test):
    _fleet.add_task(_task)
namespace = Collection(_db, _fleet)
