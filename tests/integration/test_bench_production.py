from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bench import production
from kernel.postgres.process import program_environment

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kernel.postgres.cluster import Server

MIGRATIONS = Path(__file__).resolve().parents[2] / "migrations"


def _statements(lines: list[str]) -> Iterator[str]:
    """The lines without comments, and without the two that have a random key."""
    yield from (line for line in lines if line and not line.startswith(("--", "\\restrict", "\\unrestrict")))


@pytest.mark.slow
def test_the_dump_has_the_rows_of_pgbench_and_the_schema_of_the_kernel(
    server: Server, database: str, psql: Path, tmp_path: Path
) -> None:
    ours = set(_statements(production.dump(tmp_path / "dump.sql", 1, psql).read_text().splitlines()))
    pgbench = server.programs.bin / "pgbench"
    if not pgbench.exists():
        pytest.skip("this PostgreSQL has no pgbench")
    environ = program_environment()
    made = [str(pgbench), "--initialize", "--quiet", "--foreign-keys", "--scale=1", database]
    subprocess.run(made, check=True, env=environ, capture_output=True)
    dumping = [str(server.programs.bin / "pg_dump"), "--table=pgbench_*", f"--dbname={database}"]
    done = subprocess.run(dumping, check=True, env=environ, capture_output=True, text=True)
    theirs = list(_statements(done.stdout.splitlines()))
    assert len(theirs) > production.ACCOUNTS_PER_BRANCH
    assert set(theirs) <= ours
    applied = {path.name for path in MIGRATIONS.glob("*.sql")}
    assert all(any(f"\t{name}\t" in line for line in ours) for name in applied)
