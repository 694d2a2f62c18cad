"""What stands in for production: a pooler, which cannot be dumped through, and a standby, which is as good as any."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import psycopg
import pytest

from kernel.errors import DatabaseRefused, RestoreFailed
from kernel.postgres.programs import find_programs
from kernel.postgres.throwaway import THROWAWAY_SETTINGS, open_watched_cluster, throwaway_server
from kernel.rehearsal.dump.archive.contents import read_archive_contents
from kernel.rehearsal.dump.production import export_production, open_production
from tests.faults.pgbouncer import pgbouncer

if TYPE_CHECKING:
    from pathlib import Path

    from tests.faults.fault_database import FaultDatabase

pytestmark = pytest.mark.slow


def test_a_pooler_that_shares_its_sessions_is_refused_as_production_with_the_reason(
    target: FaultDatabase, free_folder: Path, tmp_path: Path
) -> None:
    with pgbouncer(target.server, free_folder / "transaction", mode="transaction") as conninfo:
        url = psycopg.conninfo.make_conninfo(conninfo, dbname=target.name)
        with pytest.raises(DatabaseRefused, match="a pooler, and pg_dump needs real sessions"):
            export_production(url, tmp_path / "dump", target.server.server.programs)


def test_a_pooler_that_refuses_the_settings_of_pg_dump_is_named_in_the_remedy(
    target: FaultDatabase, free_folder: Path, tmp_path: Path
) -> None:
    with pgbouncer(target.server, free_folder / "session", mode="session") as conninfo:
        url = psycopg.conninfo.make_conninfo(conninfo, dbname=target.name)
        with pytest.raises(RestoreFailed, match="unsupported startup parameter") as refused:
            export_production(url, tmp_path / "dump", target.server.server.programs)
    assert "ignore_startup_parameters" in (refused.value.hint or "")
    assert not (tmp_path / "dump").exists()


def test_a_standby_is_dumped_with_everything_that_has_arrived_there(tmp_path: Path) -> None:
    chosen = find_programs(None)
    with throwaway_server(chosen, settings={"wal_level": "replica", "max_wal_senders": "4"}) as primary:
        with psycopg.connect(primary.conninfo, autocommit=True) as connection:
            connection.execute("CREATE TABLE t AS SELECT generate_series(1, 1000) AS a")
            connection.execute("CREATE UNLOGGED TABLE u AS SELECT 1 AS a")
        with open_watched_cluster(chosen) as guard:
            backup = tmp_path / "backup"
            command = ("pg_basebackup", "--checkpoint=fast", "--no-sync", f"--pgdata={backup}", "-d", primary.conninfo)
            subprocess.run([chosen.bin / command[0], *command[1:]], check=True)
            (backup / "standby.signal").touch()
            subprocess.run(["/bin/cp", "-a", f"{backup}/.", guard.cluster.data], check=True)
            account = guard.cluster.account
            for path in (guard.cluster.data, *guard.cluster.data.rglob("*")):
                os.chown(path, account.uid, account.gid)
            standby = guard.serve(THROWAWAY_SETTINGS)
            with open_production(standby.conninfo) as (connection, _):
                assert connection.execute("SELECT pg_is_in_recovery()").fetchone() == (True,)
            dump = export_production(standby.conninfo, tmp_path / "dump", chosen)
        contents = read_archive_contents(dump, chosen)
    assert contents.data_bytes > 0
