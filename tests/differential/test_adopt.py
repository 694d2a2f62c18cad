"""A history applied by the tool that it is of, and the same one adopted and applied by the project: equal databases.

The tools are those that a package index has: dbmate, node-pg-migrate and the Supabase CLI (npm), sql-migrate (Debian).
NPM_TOOLS is the folder of the programs that npm installed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from psycopg.conninfo import conninfo_to_dict

from kernel.migrations.adopt import adopt_directory
from kernel.migrations.tool_formats import TOOLS
from tests.faults.proxy import open_proxy
from tests.histories import write_history

if TYPE_CHECKING:
    from tests.differential.databases import DatabasePair

pytestmark = pytest.mark.slow

_PROGRAMS = {
    "dbmate": "dbmate",
    "sql-migrate": "sql-migrate",
    "node-pg-migrate-sql": "node-pg-migrate",
    "supabase": "supabase",
}
# What the tools keep for themselves.
_OWN_TABLES = ("public.gorp_migrations*", "public.pgmigrations*")
_OWN_SCHEMAS = ("supabase_migrations",)


def run_tool(tool: str, folder: Path, databases: DatabasePair) -> None:
    """Apply the migrations of `folder`/supabase/migrations with the tool itself, to the first database."""
    program = shutil.which(_PROGRAMS[tool], path=f"{os.environ.get('NPM_TOOLS', '')}{os.pathsep}{os.environ['PATH']}")
    if program is None:
        pytest.skip(f"no {_PROGRAMS[tool]} in NPM_TOOLS or on PATH")
    parts = conninfo_to_dict(databases.psql_conninfo)
    user, name, socket, port = (str(parts[key]) for key in ("user", "dbname", "host", "port"))
    migrations = str(folder / "supabase/migrations")
    environ = {"PATH": os.environ["PATH"], "HOME": str(folder)}
    with ExitStack() as stack:
        match tool:
            case "dbmate":
                url = f"postgres://{user}@/{name}?socket={socket}&port={port}&sslmode=disable"
                arguments = ["--url", url, "-d", migrations, "--no-dump-schema", "up"]
            case "sql-migrate":
                source = f"host={socket} port={port} user={user} dbname={name} sslmode=disable"
                config = f"development:\n  dialect: postgres\n  datasource: {source}\n  dir: {migrations}\n"
                (folder / "dbconfig.yml").write_text(config)
                arguments = ["up"]
            case "node-pg-migrate-sql":
                environ["DATABASE_URL"] = f"postgres://{user}@/{name}?host={socket}&port={port}"
                arguments = ["up", "-m", migrations]
            case _:  # the Supabase CLI connects by TCP only
                (folder / "supabase/config.toml").write_text('project_id = "books"\n')
                line = stack.enter_context(open_proxy(Path(socket) / f".s.PGSQL.{port}"))
                url = f"postgres://{user}:unused@127.0.0.1:{line.port}/{name}?sslmode=disable"
                arguments = ["db", "push", "--db-url", url, "--yes"]
        completed = subprocess.run(
            [program, *arguments], cwd=folder, env=environ, capture_output=True, text=True, check=False, timeout=120
        )
    assert completed.returncode == 0, completed.stdout + completed.stderr


@pytest.mark.parametrize("tool", _PROGRAMS)
def test_an_adopted_history_makes_the_database_that_the_tool_makes(
    databases: DatabasePair, tmp_path: Path, tool: str
) -> None:
    assert tool in TOOLS
    theirs = tmp_path / "tool/supabase/migrations"
    # Every migration of these two runs in a transaction.
    write_history(theirs, tool, outside=tool not in ("node-pg-migrate-sql", "supabase"))
    run_tool(tool, tmp_path / "tool", databases)
    adopt_directory(theirs, tool, databases.folder, environ={})
    assert databases.migrate().error is None
    without = [
        *(f"--exclude-table={table}" for table in _OWN_TABLES),
        *(f"--exclude-schema={schema}" for schema in _OWN_SCHEMAS),
    ]
    by_tool = databases.dump_contents(databases.psql_conninfo, *without)
    assert "CREATE TABLE public.books" in by_tool
    assert databases.dump_contents(databases.kernel_conninfo, *without) == by_tool
