"""A dump to rehearse on: the tables of pgbench at a scale, and the Kernel's schema.

The tables, rows and keys are those of `pgbench -i --foreign-keys` (PostgreSQL documentation, "pgbench"), created by
SQL, because not every PostgreSQL has pgbench. The Kernel's schema is created by its migrations.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
from psycopg.conninfo import make_conninfo

from bench.model import BenchmarkFailed
from kernel.postgres.process import program_environment
from kernel.postgres.throwaway import throwaway_server

if TYPE_CHECKING:
    from kernel.postgres.cluster import Server

ACCOUNTS_PER_BRANCH = 100_000
_CHECKOUT = Path(__file__).resolve().parent.parent
_DATABASE = "production"
_PGBENCH = """
CREATE TABLE pgbench_history (tid int, bid int, aid int, delta int, mtime timestamp, filler char(22));
CREATE TABLE pgbench_tellers (tid int NOT NULL, bid int, tbalance int, filler char(84)) WITH (fillfactor = 100);
CREATE TABLE pgbench_accounts (aid int NOT NULL, bid int, abalance int, filler char(84)) WITH (fillfactor = 100);
CREATE TABLE pgbench_branches (bid int NOT NULL, bbalance int, filler char(88)) WITH (fillfactor = 100);
INSERT INTO pgbench_branches SELECT n, 0 FROM generate_series(1, {branches}) n;
INSERT INTO pgbench_tellers SELECT n, (n - 1) / 10 + 1, 0 FROM generate_series(1, {branches} * 10) n;
INSERT INTO pgbench_accounts SELECT n, (n - 1) / {each} + 1, 0, '' FROM generate_series(1, {branches} * {each}) n;
ALTER TABLE pgbench_branches ADD PRIMARY KEY (bid);
ALTER TABLE pgbench_tellers ADD PRIMARY KEY (tid);
ALTER TABLE pgbench_accounts ADD PRIMARY KEY (aid);
ALTER TABLE pgbench_tellers ADD CONSTRAINT pgbench_tellers_bid_fkey FOREIGN KEY (bid) REFERENCES pgbench_branches;
ALTER TABLE pgbench_accounts ADD CONSTRAINT pgbench_accounts_bid_fkey FOREIGN KEY (bid) REFERENCES pgbench_branches;
ALTER TABLE pgbench_history ADD CONSTRAINT pgbench_history_bid_fkey FOREIGN KEY (bid) REFERENCES pgbench_branches;
ALTER TABLE pgbench_history ADD CONSTRAINT pgbench_history_tid_fkey FOREIGN KEY (tid) REFERENCES pgbench_tellers;
ALTER TABLE pgbench_history ADD CONSTRAINT pgbench_history_aid_fkey FOREIGN KEY (aid) REFERENCES pgbench_accounts;
"""


def dump(path: Path, scale: int, psql: Path) -> Path:
    """Write a plain dump of `scale` branches with 100,000 accounts each, by the pg_dump next to `psql`.

    Raises BenchmarkFailed when the migrations cannot be applied.
    """
    with throwaway_server(bindir=psql.parent if psql.parent.name == "bin" else None) as server:
        with psycopg.connect(server.conninfo, autocommit=True) as administrator:
            administrator.execute(f"CREATE DATABASE {_DATABASE}".encode())
        _migrate(server)
        with psycopg.connect(server.conninfo, dbname=_DATABASE) as connection:
            connection.execute(_PGBENCH.format(branches=scale, each=ACCOUNTS_PER_BRANCH).encode())
        conninfo = make_conninfo(server.conninfo, dbname=_DATABASE)
        command = (str(server.programs.bin / "pg_dump"), f"--dbname={conninfo}", f"--file={path}")
        subprocess.run(command, check=True, env=program_environment())
    return path


def _migrate(server: Server) -> None:
    """Apply the migrations of the checkout as a user would, without the settings of the developer."""
    settings = {
        "MIGRATION_DATABASE_URL": server.url.replace("/postgres?", f"/{_DATABASE}?", 1),
        "KERNEL_MIGRATIONS_DIR": str(_CHECKOUT / "migrations"),
    }
    done = subprocess.run(
        (sys.executable, "-m", "invoke", "db.migrate"),
        cwd=_CHECKOUT,
        env=program_environment(settings),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise BenchmarkFailed(f"the Kernel's schema could not be created: {done.stderr.strip()}")
