"""db.start, db.stop and db.shell: the embedded development server, and psql on whatever database the settings name."""

from __future__ import annotations

import os
import signal
import subprocess
from typing import TYPE_CHECKING

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from kernel.db.connection import configured_database_url
from kernel.errors import UsageError
from kernel.postgres.development import start_development_server, stop_development_server
from kernel.postgres.programs import find_client_program

if TYPE_CHECKING:
    from kernel.cli.context import TaskContext


def run_start(desk: TaskContext) -> None:
    """Keep the embedded server running and print its URL. Raises UsageError in production, ServerFailed."""
    if desk.settings.production:
        raise UsageError("the embedded server is for development, and KERNEL_STORAGE_MODE=SUPABASE is production")
    server = start_development_server(
        desk.settings.root, data_dir=desk.settings.data_dir, bindir=desk.settings.pg_bindir
    )
    desk.console.print_line(
        f"embedded PostgreSQL ({server.programs.origin}) runs until inv db.stop, its data in {server.data}"
    )
    if desk.settings.database_variable:
        desk.console.print_line(f"warning: the tasks use {desk.settings.database_variable}, not this server")
    desk.console.print_result(server.url)


def run_stop(desk: TaskContext) -> None:
    """Stop it. Raises ServerFailed while a command uses it."""
    stopped = stop_development_server(desk.settings.root, data_dir=desk.settings.data_dir)
    desk.console.print_result("stopped" if stopped else "the embedded server was not running")


def run_psql(desk: TaskContext) -> int:
    """Run psql; its exit code. The password goes by the environment, never on the command line."""
    psql = find_client_program("psql", desk.settings.pg_bindir)
    with configured_database_url(desk.settings, say=desk.console.print_line) as url:
        parameters = conninfo_to_dict(url)
        environ = dict(os.environ)
        if password := parameters.pop("password", None):
            environ["PGPASSWORD"] = str(password)
        signal.signal(signal.SIGINT, lambda *_: None)  # Ctrl-C is psql's: it ends a query, not the shell
        return subprocess.call([psql, make_conninfo("", **parameters)], env=environ)  # noqa: S603 - psql, as asked for
