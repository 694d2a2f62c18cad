"""A server under a watchdog: it can be started again with other settings, and never outlives our process.

A watchdog serves once. For the next start a second one takes the folder over before the first is sent away, so that
there is no moment in which a SIGKILL of ours would leave a server or its data behind.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from kernel.errors import ServerFailed
from kernel.postgres.account import open_private_file
from kernel.postgres.cluster import LEAVE_LINE, SERVE_LINE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from kernel.postgres.cluster import Cluster, Server
    from kernel.postgres.programs import Programs


WATCHDOG_END_SECONDS = 30.0

CONFIGURATION_FILE = "aibos-kernel.conf"
INCLUDE_LINE = f"\ninclude '{CONFIGURATION_FILE}'\n"


@dataclass(frozen=True, slots=True)
class _Watchdog:
    """A watchdog, and our end of its pipe."""

    process: subprocess.Popen[bytes]
    pipe: int


@dataclass(slots=True, kw_only=True)
class WatchedCluster:
    """A cluster that nobody else serves, under watch from before there is anything in it.

    `kept` data stays when we leave or die, other data goes. `place_settings` are what its folder asks of a server,
    `environ` is added to the server's environment.
    """

    cluster: Cluster
    programs: Programs
    sockets: Path
    kept: bool
    folder_settings: Mapping[str, str] = field(default_factory=dict)
    environ: Mapping[str, str] = field(default_factory=dict)
    _watchdog: _Watchdog | None = None
    _has_served: bool = False

    def serve(self, settings: Mapping[str, str]) -> Server:
        """Start the server with these settings, after a clean stop if it runs with others; returns when it accepts.

        Raises ServerFailed, which quotes its log.
        """
        try:
            if self._has_served:
                self.stop()
                self._replace_watchdog()
            configure_cluster(self.cluster, {**self.folder_settings, **settings})
            os.write(self._current_watchdog.pipe, SERVE_LINE)
        except OSError as error:
            raise ServerFailed(f"{self.cluster.folder}: {error.strerror}; no server could be started there") from error
        self._has_served = True
        return self.cluster.describe_server(
            self.cluster.wait_until_accepting(), self.programs, database="postgres", started=True
        )

    def stop(self) -> None:
        """Stop the server cleanly, if it runs; its data stays under watch. Raises ServerFailed."""
        self.cluster.stop()

    def keep_data_as(self, folder: Path) -> None:
        """Give the data its lasting name, a path in the same file system; call it while the server is stopped.

        Raises OSError.
        """
        self.cluster.folder.rename(folder)
        self.cluster = replace(self.cluster, folder=folder)
        self.kept = True

    @property
    def _current_watchdog(self) -> _Watchdog:
        if self._watchdog is None:
            raise ServerFailed(f"{self.cluster.folder}: nobody watches over it")
        return self._watchdog

    def _start_watchdog(self) -> None:
        receiving, sending = os.pipe()
        try:
            watchdog = self.cluster.start_watchdog(
                self.programs, self.sockets, pipe=receiving, kept=self.kept, environ=self.environ
            )
        except OSError:
            os.close(sending)
            raise
        finally:
            os.close(receiving)
        self._watchdog = _Watchdog(watchdog, sending)

    def _replace_watchdog(self) -> None:
        former = self._current_watchdog
        self._start_watchdog()
        try:
            os.write(former.pipe, LEAVE_LINE)
        finally:
            _end_watchdog(former, self.cluster)

    def _stop_watchdog(self) -> None:
        if self._watchdog is not None:
            _end_watchdog(self._watchdog, self.cluster)


@contextmanager
def run_watchdog(guard: WatchedCluster) -> Iterator[WatchedCluster]:
    """Watch over the guard's folders; leaving returns when the server and all that is not kept are gone.

    Raises ServerFailed when there can be no watchdog, or when that takes too long.
    """
    try:
        guard._start_watchdog()  # noqa: SLF001 - the other half of the class, as a context manager
    except OSError as error:
        for folder in (guard.sockets, *(() if guard.kept else (guard.cluster.folder,))):
            shutil.rmtree(folder, ignore_errors=True)
        raise ServerFailed(f"{guard.cluster.folder}: no watchdog for its server: {error.strerror}") from error
    try:
        yield guard
    finally:
        guard._stop_watchdog()  # noqa: SLF001 - likewise


def configure_cluster(cluster: Cluster, settings: Mapping[str, str]) -> None:
    """Make these the settings of a cluster's next start, in place of those before and of what ALTER SYSTEM left.

    They stand in a file of their own, whose strings are quoted as in SQL and know backslashes as well. Raises OSError.
    """
    lines = []
    for name, value in settings.items():
        quoted = value.replace("\\", "\\\\").replace("'", "''")
        lines.append(f"{name} = '{quoted}'\n")
    _write_private_file(cluster.data / CONFIGURATION_FILE, "".join(lines))
    _write_private_file(cluster.data / "postgresql.auto.conf", "")
    given = cluster.data / "postgresql.conf"
    if not given.read_text(encoding="utf-8").endswith(INCLUDE_LINE):
        _write_private_file(given, INCLUDE_LINE, os.O_APPEND)


def _write_private_file(path: Path, text: str, how: int = os.O_TRUNC) -> None:
    with os.fdopen(open_private_file(path, os.O_WRONLY | how), "w", encoding="utf-8") as file:
        file.write(text)


def _end_watchdog(duty: _Watchdog, cluster: Cluster) -> None:
    os.close(duty.pipe)
    try:
        duty.process.wait(WATCHDOG_END_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise ServerFailed(f"{cluster.folder}: its server does not end; end it, and remove that by hand") from error
