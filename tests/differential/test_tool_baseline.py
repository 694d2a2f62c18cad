"""db.baseline --from on databases that the real tools have migrated.

They are dbmate, node-pg-migrate and the Supabase CLI (npm), sql-migrate and Sqitch (Debian), and Alembic (PyPI).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from psycopg.conninfo import conninfo_to_dict

from kernel.config.ledger_name import parse_ledger_name
from kernel.db.connection import open_session
from kernel.errors import ToolLedgerUnfit
from kernel.migrations.adopt import adopt_directory
from kernel.migrations.migration import require_migrations
from kernel.migrations.tool_matches import MatchedBy, Proof
from kernel.operations.tool_baseline import ToolBaselineRequest, record_tool_baseline
from tests.differential.test_adopt import run_tool
from tests.histories import STEPS, Step, write_history

if TYPE_CHECKING:
    from kernel.operations.tool_baseline import ToolBaseline
    from tests.differential.databases import DatabasePair

pytestmark = pytest.mark.slow

_PROOFS = {"supabase": Proof.PROVEN}
_STEPS = STEPS[:3]  # those that run in a transaction


def baseline(databases: DatabasePair, tool: str) -> ToolBaseline:
    """Record what the tool has applied to the first database; the files are in the folder of the second."""
    with open_session(databases.psql_conninfo, migrations_table=parse_ledger_name("kernel_migrations")) as session:
        baseline = record_tool_baseline(
            session,
            require_migrations(databases.folder),
            ToolBaselineRequest(tool=tool),
            lock_wait_seconds=0,
            waiting=lambda _holder: None,
        )
        recorded = session.connection.execute("SELECT filename FROM kernel_migrations ORDER BY version").fetchall()
    assert [name for (name,) in recorded] == [one.filename for one in baseline.matches.applied]
    return baseline


def run(*command: str, folder: Path, **environ: str) -> None:
    environ = {"PATH": os.environ["PATH"], "HOME": str(folder), "TZ": "UTC", **environ}
    completed = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, check=False)
    assert completed.returncode == 0, completed.stdout + completed.stderr


@pytest.mark.parametrize("tool", ["dbmate", "sql-migrate", "node-pg-migrate", "supabase"])
def test_every_file_that_the_tool_has_applied_is_recorded(databases: DatabasePair, tmp_path: Path, tool: str) -> None:
    adopted_as = "node-pg-migrate-sql" if tool == "node-pg-migrate" else tool
    theirs = tmp_path / "tool/supabase/migrations"
    write_history(theirs, adopted_as, outside=False)
    run_tool(adopted_as, tmp_path / "tool", databases)
    adopt_directory(theirs, adopted_as, databases.folder, environ={})
    (databases.folder / "004_of_ours.sql").write_text("SELECT 1;\n")
    files = baseline(databases, tool).matches.files
    assert [one.matched_by for one in files] == [MatchedBy.HEADER] * len(_STEPS) + [None]
    assert [one.proof for one in files] == [_PROOFS.get(tool, Proof.NOT_KEPT)] * len(_STEPS) + [None]


def test_a_statement_that_the_supabase_cli_did_not_apply_is_found(databases: DatabasePair, tmp_path: Path) -> None:
    theirs = tmp_path / "tool/supabase/migrations"
    write_history(theirs, "supabase", outside=False)
    run_tool("supabase", tmp_path / "tool", databases)
    adopt_directory(theirs, "supabase", databases.folder, environ={})
    path = databases.folder / "002_add_isbn.sql"
    path.write_text(f"{path.read_text()}\n-- a comment\nALTER TABLE books ADD COLUMN more text;\n")
    with pytest.raises(ToolLedgerUnfit) as refused:
        baseline(databases, "supabase")
    assert [one.file for one in refused.value.problems] == ["002_add_isbn.sql"]


def deploy_script(step: Step) -> str:
    return f"-- Deploy books:{step.name} to pg\n\nBEGIN;\n\n{step.up}\nCOMMIT;\n"


@pytest.mark.skipif(not shutil.which("sqitch"), reason="no sqitch on PATH")
def test_scripts_of_sqitch_are_proven_by_their_hashes(databases: DatabasePair, tmp_path: Path) -> None:
    folder = tmp_path / "sqitch"
    folder.mkdir()
    parts = conninfo_to_dict(databases.psql_conninfo)
    user, name, socket, port = (str(parts[key]) for key in ("user", "dbname", "host", "port"))
    environ = {"SQITCH_FULLNAME": "The Tests", "SQITCH_EMAIL": "tests@example.org"}
    run("sqitch", "init", "books", "--engine", "pg", folder=folder, **environ)
    for step in _STEPS:
        run("sqitch", "add", step.name, "-n", step.name, folder=folder, **environ)
        (folder / f"deploy/{step.name}.sql").write_text(deploy_script(step))
    run("sqitch", "deploy", f"db:pg://{user}@/{name}?host={socket}&port={port}", folder=folder, **environ)
    by_header, by_name, changed = _STEPS
    header = f"-- Migration: 001 - Create books\n-- Description: adopted from sqitch: deploy/{by_header.name}.sql\n\n"
    (databases.folder / "001_create_books.sql").write_text(header + deploy_script(by_header))
    for number, step in ((2, by_name), (3, changed)):
        header = f"-- Description: adopted from sqitch: deploy/{step.name}.sql\n"
        (databases.folder / f"00{number}_{step.name}.sql").write_text(header + deploy_script(step))
    assert [one.proof for one in baseline(databases, "sqitch").matches.files] == [Proof.PROVEN] * len(_STEPS)


def alembic_revision(index: int, step: Step) -> str:
    """A migration of Alembic, with the index at the end of its revision."""
    before = f"'0a000000000{index - 1}'" if index > 1 else "None"
    return (
        f"from alembic import op\nrevision = '0a000000000{index}'\ndown_revision = {before}\n"
        f"def upgrade():\n    op.execute({step.up!r})\n"
    )


def test_files_up_to_the_revision_of_alembic_are_recorded(databases: DatabasePair, tmp_path: Path) -> None:
    alembic = shutil.which("alembic", path=str(Path(sys.executable).parent))
    if alembic is None:
        pytest.skip("no alembic next to this Python")
    folder = tmp_path / "alembic"
    folder.mkdir()
    run(alembic, "init", "migrations", folder=folder)
    parts = conninfo_to_dict(databases.psql_conninfo)
    url = f"postgresql+psycopg://{parts['user']}@/{parts['dbname']}?host={parts['host']}&port={parts['port']}"
    config = folder / "alembic.ini"
    lines = [
        f"sqlalchemy.url = {url}" if line.startswith("sqlalchemy.url") else line
        for line in config.read_text().splitlines()
    ]
    config.write_text("\n".join(lines))
    for index, step in enumerate(_STEPS, start=1):
        revision = f"0a000000000{index}_{step.name}.py"
        (folder / "migrations/versions" / revision).write_text(alembic_revision(index, step))
        header = f"-- Description: adopted from alembic: {revision}\n\n"
        (databases.folder / f"00{index}_{step.name}.sql").write_text(header + step.up)
    run(alembic, "upgrade", "0a0000000002", folder=folder)
    files = baseline(databases, "alembic").matches.files
    assert [one.matched_by for one in files] == [MatchedBy.ORDER, MatchedBy.HEADER, None]
