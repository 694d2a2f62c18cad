"""The least that a task on a database can cost: Invoke, psycopg, one connection, one SELECT."""

from __future__ import annotations

from invoke.context import Context  # noqa: TC002 - Invoke reads the signatures of tasks
from invoke.tasks import task


@task
def ping(_c: Context) -> None:
    """Connect to the database that PGHOST and its kin name."""
    import psycopg  # here, as in the project's own tasks.py: --list does not pay for it

    with psycopg.connect() as connection:
        connection.execute("SELECT 1")
