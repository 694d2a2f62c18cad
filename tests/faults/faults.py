"""The faults themselves: each is done to a run that has been stopped, and tells how the run may end."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, NoReturn

from tests.faults import audit, runner

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from pathlib import Path

    from tests.faults.fault_database import FaultDatabase
    from tests.faults.proxy import Proxy

_CHUNK = b"\n" * 4096
_FAILED = (6, 7)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopped:
    """A run that stands still at a step; `out` reads its stdout, `let_go` takes the step's obstacle away."""

    target: FaultDatabase
    process: subprocess.Popen[str]
    proxy: Proxy
    version: str
    pipe: Path
    out: IO[bytes]
    disk: Path
    let_go: Callable[[], None]

    def end(self) -> int:
        """The exit code."""
        code, _, err = runner.finish(self.process)
        assert "Traceback" not in err, err
        return code


def interrupt(run: Stopped) -> None:
    run.process.send_signal(signal.SIGINT)
    run.proxy.release()
    assert run.end() == 130


def terminate(run: Stopped) -> None:
    run.process.send_signal(signal.SIGTERM)
    run.proxy.release()
    assert run.end() == 143


def kill(run: Stopped) -> None:
    run.process.kill()
    run.proxy.release()
    assert run.end() == -signal.SIGKILL


def end_backend(run: Stopped) -> None:
    run.target.observer.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE application_name LIKE 'inv db%' AND datname = current_database()"
    )
    run.proxy.release()
    assert run.end() in _FAILED


def restart_server(run: Stopped) -> None:
    run.target.server.shut_down()
    run.target.server.start()
    run.target.reconnect_observer()
    run.proxy.release()
    assert run.end() in _FAILED


def cut(run: Stopped) -> None:
    run.proxy.cut()
    assert run.end() in _FAILED


def silence(run: Stopped) -> None:
    run.proxy.swallow()
    run.process.send_signal(signal.SIGTERM)
    assert run.end() == 143
    run.proxy.restore()


def close_output(run: Stopped) -> None:
    run.out.close()
    run.let_go()
    run.proxy.release()
    assert run.end() == 0


def fill_output(run: Stopped) -> None:
    filling = os.open(run.pipe, os.O_WRONLY | os.O_NONBLOCK)
    try:
        while True:
            os.write(filling, _CHUNK)
    except BlockingIOError:
        os.close(filling)
    run.let_go()
    run.proxy.release()
    # It is recorded before it is told, so a reader that pauses holds up the next file, never this one.
    audit.await_row(run.target.observer, f"SELECT FROM schema_migrations WHERE version = '{run.version}'")
    assert run.process.poll() is None
    os.set_blocking(run.out.fileno(), True)
    while run.out.read(len(_CHUNK)):
        pass
    assert run.end() == 0


def fill_disk(run: Stopped) -> None:
    filler = run.disk / "filler"
    try:
        _fill(filler)
    except OSError:
        run.let_go()
        run.proxy.release()
        assert run.end() == 6
    finally:
        filler.unlink()


def _fill(path: Path) -> NoReturn:
    with path.open("wb", buffering=0) as file:
        while True:
            file.write(_CHUNK)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Something that happens to a run; `short` is the head of its column.

    `pooled`: the run reaches its server through a PgBouncer in session mode.
    """

    name: str
    short: str
    happen: Callable[[Stopped], None]
    pooled: bool = False


FULL_DISK = Fault(name="disk full", short="disk", happen=fill_disk)
FAULTS = (
    Fault(name="SIGINT", short="int", happen=interrupt),
    Fault(name="SIGTERM", short="term", happen=terminate),
    Fault(name="SIGKILL", short="kill", happen=kill),
    Fault(name="backend terminated", short="backend", happen=end_backend),
    Fault(name="server shut down and restarted", short="server", happen=restart_server),
    Fault(name="connection cut", short="cut", happen=cut),
    Fault(name="network silent, then SIGTERM", short="silent", happen=silence),
    Fault(name="stdout closed", short="closed", happen=close_output),
    Fault(name="stdout full", short="full", happen=fill_output),
    FULL_DISK,
    Fault(name="SIGKILL, through PgBouncer in session mode", short="b-kill", happen=kill, pooled=True),
    Fault(name="connection cut, through PgBouncer in session mode", short="b-cut", happen=cut, pooled=True),
    Fault(name="stdout closed, through PgBouncer in session mode", short="b-closed", happen=close_output, pooled=True),
)
