"""python -m bench backfill: a backfill under an application, with a standby and kills, and the same by one UPDATE.

The application is pgbench at a fixed rate, so that a transaction that waits delays those after it, as users do not
wait for each other. It is idle in windows of time that take turns with those of the backfill. Every row has to be
changed once: a column counts the changes, and a trigger logs each of them.

Exit codes: 0 every target is met, 1 one is missed, 2 and 7 no result.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import tabulate

from bench import files
from bench.model import BenchmarkFailed
from bench.server import open_benchmark_server
from bench.standby import PRIMARY_SETTINGS, LagWatch, open_standby
from kernel.errors import KernelError
from kernel.postgres.process import program_environment

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bench.server import BenchmarkServer

_CHECKOUT = Path(__file__).resolve().parent.parent
_ROWS, _QUICK_ROWS = 5_000_000, 200_000
_KILLS, _QUICK_KILLS = 100, 5
_WINDOW_SECONDS, _QUICK_WINDOW_SECONDS = 20, 5
_CLIENTS, _RATE = 4, 50
_RUN_SECONDS, _WARM_UP_SECONDS, _LEAST_SECONDS = 10, 1, 2
_TERMINATED = 143  # the exit code
BACKFILL, UPDATE = "the backfill", "one UPDATE"
_LIFE_SECONDS = (0.5, 2.0)  # of a runner that is killed
_MORE_THAN_MEMORY_BYTES = 1 << 62
# As many connections as a throwaway server has, or it does not start. A standby has a disk of its own, which this one
# on the same machine must not take from the primary.
_STANDBY_SETTINGS = {"max_connections": "200", "fsync": "off"}
_P99_TARGET = 1.2
_LAG_TARGET_BYTES = 64 << 20  # what lag= allows, and the WAL of a batch, which is not stopped in the middle

_TABLES = """
CREATE TABLE accounts (id bigint, balance bigint NOT NULL, filler char(84) NOT NULL DEFAULT '');
CREATE TABLE history (account bigint NOT NULL, delta int NOT NULL, at timestamptz NOT NULL DEFAULT now());
INSERT INTO accounts SELECT n, n % 1000 FROM generate_series(1, {rows}) n;
ALTER TABLE accounts ADD PRIMARY KEY (id);
ALTER TABLE accounts ADD COLUMN balance_cents bigint, ADD COLUMN changes int NOT NULL DEFAULT 0;
CREATE TABLE log (id bigint NOT NULL, xid xid8 NOT NULL DEFAULT pg_current_xact_id());
CREATE FUNCTION log_change() RETURNS trigger LANGUAGE plpgsql AS
  $$ BEGIN INSERT INTO log (id) VALUES (NEW.id); RETURN NULL; END $$;
CREATE TRIGGER log_change AFTER UPDATE OF changes ON accounts FOR EACH ROW EXECUTE FUNCTION log_change();
"""
_APPLICATION = """
\\set account random(1, {rows})
\\set delta random(-5000, 5000)
BEGIN;
UPDATE accounts SET balance = balance + :delta WHERE id = :account;
SELECT balance FROM accounts WHERE id = :account;
INSERT INTO history (account, delta) VALUES (:account, :delta);
END;
"""
_UPDATE = "UPDATE accounts SET balance_cents = balance * 100, changes = changes + 1;\n"
_BACKFILL = f"""
-- migrate: batch={{batch}} by=accounts.id
-- migrate: allow=range-not-repeatable the changes are counted, to see that each row is changed once
{_UPDATE}"""
_ONCE = """
SELECT (SELECT count(*) FROM accounts WHERE changes = 1) = {rows}
  AND (SELECT count(*) FROM log) = {rows} AND (SELECT count(DISTINCT id) FROM log) = {rows}
"""


class Window(NamedTuple):
    """A time that is measured, in seconds of time.time()."""

    began: float
    ended: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """What was measured while one thing ran under the application; latencies are of its transactions."""

    name: str
    seconds: float
    transactions: int
    p50_seconds: float
    p99_seconds: float
    longest_seconds: float
    lag_bytes: int
    kills: int = 0


def main(arguments: Sequence[str]) -> int:
    """Measure, print, and return the exit code."""
    options = _parser().parse_args(arguments)
    rows = options.rows or (_QUICK_ROWS if options.quick else _ROWS)
    kills = (_QUICK_KILLS if options.quick else _KILLS) if options.kills is None else options.kills
    bindir = os.environ.get("KERNEL_PG_BINDIR")
    try:
        with open_benchmark_server(Path(bindir) if bindir else None, PRIMARY_SETTINGS) as server:
            version = server.server.programs.version
            window_seconds = _QUICK_WINDOW_SECONDS if options.quick else _WINDOW_SECONDS
            with open_standby(server.server, _STANDBY_SETTINGS, room_bytes=_MORE_THAN_MEMORY_BYTES):
                phases = _measure(server, rows=rows, kills=kills, window_seconds=window_seconds, batch=options.batch)
    except KernelError as error:
        print(error, file=sys.stderr)
        return error.exit
    if options.json:
        print(json.dumps({"server": version, "rows": rows, "phases": [asdict(phase) for phase in phases]}))
    else:
        print(f"PostgreSQL {version}, {rows:,} rows, batches of {options.batch:,}; {_RATE} transactions/s by pgbench\n")
        print(_table(phases, rows))
    return 0 if _targets_met(phases) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench backfill", description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, help=f"rows of the table (default: {_ROWS:,})")
    parser.add_argument("--kills", type=int, help=f"runners that are killed (default: {_KILLS})")
    parser.add_argument("--batch", type=int, default=1000, help="rows of a batch (default: 1000)")
    parser.add_argument("--quick", action="store_true", help=f"{_QUICK_ROWS:,} rows, {_QUICK_KILLS} kills")
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of the table")
    return parser


def _measure(server: BenchmarkServer, *, rows: int, kills: int, window_seconds: float, batch: int) -> list[Phase]:
    """The phases: idle, the backfill with kills, and one UPDATE. Raises BenchmarkFailed when a row was missed."""
    phases: list[Phase] = []
    with tempfile.TemporaryDirectory(prefix="aibos-bench-") as name:
        folder = Path(name)
        for kind in (BACKFILL, UPDATE):
            with server.database(None) as database:
                _print(f"{kind}: a table of {rows:,} rows")
                _make_tables(server, database, folder, rows)
                prefix, idle, killed = folder / f"log-{len(phases)}", list[Window](), 0
                with LagWatch(server.server) as lag, _application(server, database, folder, rows, prefix):
                    time.sleep(_WARM_UP_SECONDS)
                    if kind == UPDATE:
                        busy = [_update(server, database)]
                    else:
                        runs = _Runs(server, database, folder, kills=kills, batch=batch)
                        idle, busy = runs.alternate(window_seconds)
                        killed = runs.kills
                if idle:
                    phases.append(_phase("idle", prefix, idle, lag_bytes=0))
                phases.append(_phase(kind, prefix, busy, lag_bytes=lag.largest_bytes, kills=killed))
                with server.connect(database) as connection:
                    if connection.execute(_ONCE.format(rows=rows).encode()).fetchone() != (True,):
                        raise BenchmarkFailed(f"{kind}: a row was not changed, or more than once")
    return phases


def _make_tables(server: BenchmarkServer, database: str, folder: Path, rows: int) -> None:
    with server.connect(database) as connection:
        connection.execute(_TABLES.format(rows=rows).encode())
        connection.execute((files.LEDGER + files.record(_write_tables(folder, rows))).encode())
        connection.execute("VACUUM ANALYZE accounts")
        connection.execute("CHECKPOINT")


def _write_tables(folder: Path, rows: int) -> Path:
    """The migration that the tables are recorded as."""
    path = folder / "migrations" / "001_tables.sql"
    path.parent.mkdir(exist_ok=True)
    path.write_text(_TABLES.format(rows=rows), encoding="utf-8")
    return path


def _phase(name: str, prefix: Path, windows: Sequence[Window], *, lag_bytes: int, kills: int = 0) -> Phase:
    latencies = sorted(_read_latencies(prefix, windows))
    if not latencies:
        raise BenchmarkFailed(f"{name}: pgbench logged no transaction")
    return Phase(
        name=name,
        seconds=sum(window.ended - window.began for window in windows),
        transactions=len(latencies),
        p50_seconds=latencies[len(latencies) // 2],
        p99_seconds=latencies[len(latencies) * 99 // 100],
        longest_seconds=latencies[-1],
        lag_bytes=lag_bytes,
        kills=kills,
    )


@contextmanager
def _application(server: BenchmarkServer, database: str, folder: Path, rows: int, prefix: Path) -> Iterator[None]:
    """Run pgbench again and again while the block runs: it writes the end of its log only when it ends by itself."""
    script = folder / "application.sql"
    script.write_text(_APPLICATION.format(rows=rows), encoding="utf-8")
    command = (
        str(server.server.programs.bin / "pgbench"),
        "--no-vacuum",
        f"--client={_CLIENTS}",
        f"--rate={_RATE}",
        f"--time={_RUN_SECONDS}",
        f"--file={script}",
        "--log",
    )
    environment = program_environment() | server.environment(database)
    ended = threading.Event()
    failures: list[str] = []

    def run() -> None:
        number = 0
        while not ended.is_set() and not failures:
            number += 1
            log = f"--log-prefix={prefix}-{number}"
            done = subprocess.run((*command, log), env=environment, capture_output=True, text=True, check=False)
            if done.returncode:
                failures.append(done.stderr)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
    if failures:
        raise BenchmarkFailed(f"pgbench failed: {failures[0]}")


def _read_latencies(prefix: Path, windows: Sequence[Window]) -> Iterator[float]:
    """The seconds of each transaction that was due in a window, to its end, which columns 5 and 6 of the log have."""
    for path in prefix.parent.glob(f"{prefix.name}-*"):
        for line in path.read_text(encoding="utf-8").splitlines():
            _, _, microseconds, _, seconds, fraction, *_ = line.split()
            latency = int(microseconds) / 1e6
            due = int(seconds) + int(fraction) / 1e6 - latency
            if any(window.began <= due <= window.ended for window in windows):
                yield latency


def _update(server: BenchmarkServer, database: str) -> Window:
    """Change all rows by one UPDATE of psql."""
    environment = program_environment() | server.environment(database)
    began = time.time()
    psql = str(server.server.programs.bin / "psql")
    subprocess.run((psql, "-X", "-q", "-c", _UPDATE), check=True, env=environment)
    time.sleep(max(0, began + _LEAST_SECONDS - time.time()))
    return Window(began, time.time())


class _Runs:
    """The runs of the backfill, of which the first are killed, and the others terminated at the end of a window."""

    def __init__(self, server: BenchmarkServer, database: str, folder: Path, *, kills: int, batch: int) -> None:
        migrations = folder / "migrations"
        (migrations / "002_backfill.sql").write_text(_BACKFILL.format(batch=batch), encoding="utf-8")
        self._environment = program_environment() | server.environment(database)
        self._environment["KERNEL_MIGRATIONS_DIR"] = str(migrations)
        self._kills_left = kills
        self.kills = 0
        self._chance = random.Random(7)  # noqa: S311 - moments, no secrets

    def alternate(self, window_seconds: float) -> tuple[list[Window], list[Window]]:
        """Run to the end; the windows without a run, and those with runs, which take turns so that both are alike."""
        idle, busy, is_done = list[Window](), list[Window](), False
        while not is_done:
            began = time.time()
            time.sleep(window_seconds / 2)
            idle.append(Window(began, time.time()))
            began = time.time()
            while not is_done and (left := began + window_seconds - time.time()) > 0:
                is_done = self._run(left)
            busy.append(Window(began, time.time()))
        return idle, busy

    def _run(self, seconds: float) -> bool:
        """Run for so many seconds; returns whether the backfill has ended."""
        kills = self._kills_left > 0
        with tempfile.TemporaryFile() as output:
            command = (sys.executable, "-m", "invoke", "db.migrate", "--lock-wait", "60")
            runner = subprocess.Popen(command, cwd=_CHECKOUT, env=self._environment, stdout=output, stderr=output)
            try:
                code = runner.wait(self._chance.uniform(*_LIFE_SECONDS) if kills else seconds)
            except subprocess.TimeoutExpired:
                runner.send_signal(signal.SIGKILL if kills else signal.SIGTERM)
                code = runner.wait()
            if code == -signal.SIGKILL:
                self._kills_left -= 1
                self.kills += 1
            if code not in (0, _TERMINATED, -signal.SIGKILL):
                output.seek(0)
                raise BenchmarkFailed(f"inv db.migrate ended with {code}: {output.read().decode()}")
        return code == 0


def _targets_met(phases: Sequence[Phase]) -> bool:
    idle, backfill, _ = phases
    return backfill.p99_seconds <= _P99_TARGET * idle.p99_seconds and backfill.lag_bytes <= _LAG_TARGET_BYTES


def _table(phases: Sequence[Phase], rows: int) -> str:
    idle = phases[0]
    lines = [
        (
            phase.name + (f", {phase.kills} kills" if phase.kills else ""),
            f"{phase.seconds:.0f} s",
            "" if phase is idle else f"{rows / phase.seconds:,.0f}",
            f"{phase.p50_seconds * 1000:.1f} ms",
            f"{phase.p99_seconds * 1000:.1f} ms",
            f"{phase.p99_seconds / idle.p99_seconds:.2f}",
            f"{phase.longest_seconds * 1000:.0f} ms",
            f"{phase.lag_bytes / 1e6:.0f} MB",
        )
        for phase in phases
    ]
    headers = ("under the application", "took", "rows/s", "p50", "p99", "p99 / idle", "longest", "replication lag")
    return tabulate.tabulate(lines, headers=headers, disable_numparse=True)


def _print(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
