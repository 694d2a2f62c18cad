"""db.start, db.stop and db.shell: the embedded development server, and psql on the configured database."""

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
from kernel.testing.server import stop_test_servers

if TYPE_CHECKING:
    from kernel.cli.context import TaskContext


def run_start(context: TaskContext) -> None:
    """Start the embedded server, keep it running and print its URL. Raises UsageError in production, ServerFailed."""
    if context.settings.production:
        raise UsageError("the embedded server is for development; KERNEL_STORAGE_MODE=SUPABASE is production")
    server = start_development_server(
        context.settings.root, data_dir=context.settings.data_dir, bindir=context.settings.pg_bindir
    )
    context.console.print_line(
        f"embedded PostgreSQL ({server.programs.origin}) runs until inv db.stop, its data in {server.data}"
    )
    if context.settings.database_variable:
        context.console.print_line(f"warning: the tasks use {context.settings.database_variable}, not this server")
    context.console.print_result(server.url)


def run_stop(context: TaskContext) -> None:
    """Stop the embedded servers, also that of finished tests. Raises ServerFailed while a command uses it."""
    if stop_test_servers(context.settings.root):
        context.console.print_line("stopped the server of the tests")
    stopped = stop_development_server(context.settings.root, data_dir=context.settings.data_dir)
    context.console.print_result("stopped" if stopped else "the embedded server was not running")


def run_psql(context: TaskContext, *, command: str | None) -> int:
    """Run psql, on a terminal or with a `command`, and return its exit code.

    The password is passed in the environment, not on the command line. Raises UsageError for an empty command.
    """
    if command is not None and not command.strip():
        raise UsageError("-c: empty; write SQL, or omit the flag")
    psql = find_client_program("psql", context.settings.pg_bindir)
    with configured_database_url(context.settings, say=context.console.print_line) as url:
        parameters = conninfo_to_dict(url)
        environ = dict(os.environ)
        if password := parameters.pop("password", None):
            environ["PGPASSWORD"] = str(password)
        signal.signal(signal.SIGINT, lambda *_: None)  # Ctrl-C cancels a query in psql and must not end this process
        arguments = [] if command is None else ["-c", command]
        return subprocess.call([psql, *arguments, make_conninfo("", **parameters)], env=environ)  # noqa: S603 - psql
