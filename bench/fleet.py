"""Five files for each target of a fleet: python -m bench.fleet ours|psql|status FOLDER SCHEMAS DATABASES PSQL.

Prints the seconds. The targets are so many schemas of the database of MIGRATION_DATABASE_URL, and databases of its
server and of a second one; making them is not counted, nor for `status` their migration.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from bench.server import open_benchmark_server

if TYPE_CHECKING:
    from collections.abc import Iterable

_CHECKOUT = Path(__file__).resolve().parent.parent
_AT_A_TIME = 8
_LIMITS = f"at_a_time = {_AT_A_TIME}\nper_server = {_AT_A_TIME}\n"
_SCHEMAS = '[[targets]]\nurl = "$MIGRATION_DATABASE_URL"\nschemas = "tenant_*"\n'
_DATABASE = '[[targets]]\nurl = "{variable}"\nname = "{name}"\ndatabase = "{name}"\n'
_VARIABLES = ("MIGRATION_DATABASE_URL", "SECOND_URL")
_LIBPQ = {"PGHOST": "host", "PGPORT": "port", "PGUSER": "user", "PGDATABASE": "dbname"}


def main(kind: str, folder: Path, schemas: int, databases: int, psql: str) -> None:
    """Make the targets, do the work, and print how long that took."""
    with ExitStack() as stack:
        inventory = folder / "fleet.toml"
        environments, text = _make_schemas(schemas) if schemas else ([], "")
        if databases:
            others, entries = _make_databases(stack, databases)
            environments, text = environments + others, text + entries
        inventory.write_text(_LIMITS + text, encoding="utf-8")
        if kind == "status":
            _task("fleet.migrate", inventory)
        began = time.perf_counter()
        if kind == "psql":
            script = str(folder / "all.sql")
            with ThreadPoolExecutor(max_workers=_AT_A_TIME) as pool:
                list(pool.map(lambda environment: _psql(psql, script, environment), environments))
        else:
            _task("fleet.status" if kind == "status" else "fleet.migrate", inventory)
        seconds = time.perf_counter() - began
    print(seconds)


def _make_schemas(count: int) -> tuple[list[dict[str, str]], str]:
    """Create the schemas; return the environments in which psql reaches them, and the inventory."""
    names = [f"tenant_{number:04}" for number in range(count)]
    with psycopg.connect(os.environ["MIGRATION_DATABASE_URL"], autocommit=True) as connection:
        for name in names:
            connection.execute(f"CREATE SCHEMA {name}".encode())
        connection.execute("CHECKPOINT")
    return [{"PGOPTIONS": f"-c search_path={name}"} for name in names], _SCHEMAS


def _make_databases(stack: ExitStack, count: int) -> tuple[list[dict[str, str]], str]:
    """Create half of the databases on a second server; those of the first one are dropped at the end."""
    second = stack.enter_context(open_benchmark_server(None)).server.url
    os.environ["SECOND_URL"] = second
    environments, text = [], ""
    for number, variable in enumerate(_VARIABLES):
        url = os.environ[variable]
        names = [f"fleet_{one:04}" for one in range(number, count, len(_VARIABLES))]
        connection = stack.enter_context(psycopg.connect(url, autocommit=True))
        _run_all(connection, (f"CREATE DATABASE {name}" for name in names))
        stack.callback(_run_all, connection, [f"DROP DATABASE {name} WITH (FORCE)" for name in names])
        connection.execute("CHECKPOINT")
        text += "".join(_DATABASE.format(variable=f"${variable}", name=name) for name in names)
        environments += [_libpq_environment(make_conninfo(url, dbname=name)) for name in names]
    return environments, text


def _run_all(connection: psycopg.Connection[tuple[object, ...]], statements: Iterable[str]) -> None:
    for statement in statements:
        connection.execute(statement.encode())


def _libpq_environment(url: str) -> dict[str, str]:
    parameters = conninfo_to_dict(url)
    return {variable: str(parameters[name]) for variable, name in _LIBPQ.items() if name in parameters}


def _task(task: str, inventory: Path) -> None:
    command = (sys.executable, "-m", "invoke", task, "--inventory", str(inventory))
    subprocess.run(command, cwd=_CHECKOUT, check=True, stdout=subprocess.DEVNULL)


def _psql(psql: str, script: str, environment: dict[str, str]) -> None:
    command = (psql, "-X", "-q", "-v", "ON_ERROR_STOP=1", "-f", script)
    subprocess.run(command, env=os.environ | environment, check=True)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), sys.argv[5])
