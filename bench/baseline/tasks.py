"""A minimal task on a database: Invoke, psycopg, one connection, one SELECT."""

from __future__ import annotations

from invoke.context import Context  # noqa: TC002 - Invoke reads the signatures of tasks
from invoke.tasks import task


@task
def ping(_c: Context) -> None:
    """Connect to the database of the PG… variables."""
    import psycopg  # late, as in the project's tasks.py: --list does not need it

    with psycopg.connect() as connection:
        connection.execute("SELECT 1")
