"""A Dask cluster for tests: a scheduler and workers in processes of their own, whose logs are in its folder."""

from __future__ import annotations

import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

LOGS = ("scheduler.log", "workers.log")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


@contextmanager
def dask_cluster(
    folder: Path, environment: Mapping[str, str], *, protocol: str = "tcp", dashboard: int = 0, threads: int = 3
) -> Iterator[str]:
    """Start a scheduler and two workers, which are started again when they are killed; yield the address.

    With `dashboard` the pages of the scheduler are on that port, and those of the workers on ports that it names.
    """
    port = free_port()
    address = f"{protocol}://127.0.0.1:{port}"
    dask = str(Path(sys.executable).with_name("dask"))
    pages = ("--dashboard-address", f"127.0.0.1:{dashboard}") if dashboard else ("--no-dashboard",)
    of_workers = ("--dashboard-address", "127.0.0.1:0") if dashboard else ("--no-dashboard",)
    commands = (
        (dask, "scheduler", "--host", "127.0.0.1", "--protocol", protocol, "--port", str(port), *pages),
        (
            *(dask, "worker", address, "--nworkers", "2", "--nthreads", str(threads), *of_workers),
            *("--local-directory", str(folder / "workers")),
        ),
    )
    started = []
    for command, name in zip(commands, LOGS, strict=True):
        with (folder / name).open("ab") as log:
            started.append(subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log))
    try:
        yield address
    finally:
        for process in reversed(started):
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
