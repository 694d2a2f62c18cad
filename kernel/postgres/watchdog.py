"""A server under a watchdog process: it can be restarted with other settings and never outlives this process.

A watchdog starts its server once. For a restart, a second watchdog takes over the folder before the first ends, so
that a SIGKILL of this process at any time leaves neither a server nor its data.
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
    """A watchdog process and the write end of its pipe."""

    process: subprocess.Popen[bytes]
    pipe: int


@dataclass(slots=True, kw_only=True)
class WatchedCluster:
    """A cluster without another server, under a watchdog since before its data was created.

    Data is removed when this process ends, unless `kept`. `folder_settings` are the server settings that its folder
    requires; `environ` is added to the server's environment.
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
        """Start the server with these settings, after a clean stop if it is running; wait until it accepts connections.

        Raises ServerFailed, which quotes the server log.
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
        """Stop the server cleanly if it is running; the watchdog keeps watching its data. Raises ServerFailed."""
        self.cluster.stop()

    def keep_data_as(self, folder: Path) -> None:
        """Rename the cluster's folder to `folder`, a path in the same file system, and keep it.

        Call it while the server is stopped. Raises OSError.
        """
        self.cluster.folder.rename(folder)
        self.cluster = replace(self.cluster, folder=folder)
        self.kept = True

    @property
    def _current_watchdog(self) -> _Watchdog:
        if self._watchdog is None:
            raise ServerFailed(f"{self.cluster.folder}: no watchdog is running for it")
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
def run_watchdog(watched: WatchedCluster) -> Iterator[WatchedCluster]:
    """Run a watchdog for the cluster; after the block, wait until the server and all data that is not kept are gone.

    Raises ServerFailed when the watchdog cannot start, or when the server does not end in WATCHDOG_END_SECONDS.
    """
    try:
        watched._start_watchdog()  # noqa: SLF001 - the other half of the class, as a context manager
    except OSError as error:
        for folder in (watched.sockets, *(() if watched.kept else (watched.cluster.folder,))):
            shutil.rmtree(folder, ignore_errors=True)
        raise ServerFailed(f"{watched.cluster.folder}: no watchdog for its server: {error.strerror}") from error
    try:
        yield watched
    finally:
        watched._stop_watchdog()  # noqa: SLF001 - likewise


def configure_cluster(cluster: Cluster, settings: Mapping[str, str]) -> None:
    """Set the settings of a cluster's next start; they replace the previous ones and those of ALTER SYSTEM.

    They are written to a separate file, whose strings are quoted as in SQL with backslash escapes. Raises OSError.
    """
    lines = []
    for name, value in settings.items():
        quoted = value.replace("\\", "\\\\").replace("'", "''")
        lines.append(f"{name} = '{quoted}'\n")
    _write_private_file(cluster.data / CONFIGURATION_FILE, "".join(lines))
    _write_private_file(cluster.data / "postgresql.auto.conf", "")
    main_file = cluster.data / "postgresql.conf"
    if not main_file.read_text(encoding="utf-8").endswith(INCLUDE_LINE):
        _write_private_file(main_file, INCLUDE_LINE, os.O_APPEND)


def _write_private_file(path: Path, text: str, flags: int = os.O_TRUNC) -> None:
    with os.fdopen(open_private_file(path, os.O_WRONLY | flags), "w", encoding="utf-8") as file:
        file.write(text)


def _end_watchdog(watchdog: _Watchdog, cluster: Cluster) -> None:
    os.close(watchdog.pipe)
    try:
        watchdog.process.wait(WATCHDOG_END_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise ServerFailed(f"{cluster.folder}: its server does not end; end it, and remove that by hand") from error
