"""A server under a watchdog process: it can be restarted with other settings and never outlives this process.

A watchdog starts its server once. For a restart, a second watchdog takes over the folder before the first ends, so
that a SIGKILL of this process at any time leaves neither a server nor its data.
"""

from __future__ import annotations

import shutil
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import IO, TYPE_CHECKING, cast

from kernel.errors import ServerFailed
from kernel.postgres.account import write_private_file
from kernel.postgres.cluster import LEAVE_LINE, SERVE_LINE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from kernel.postgres.cluster import Cluster, Server
    from kernel.postgres.programs import Programs


WATCHDOG_END_SECONDS = 120.0  # a loaded disk takes its time to remove many files

CONFIGURATION_FILE = "aibos-kernel.conf"
INCLUDE_LINE = f"\ninclude '{CONFIGURATION_FILE}'\n"


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
    folder_settings: Mapping[str, str]
    environ: Mapping[str, str]
    _watchdog: subprocess.Popen[bytes] = field(init=False)
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
            cast("IO[bytes]", self._watchdog.stdin).write(SERVE_LINE)
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

    @contextmanager
    def run_watchdog(self) -> Iterator[None]:
        """Run a watchdog; after the block, wait until the server and all data that is not kept are gone.

        Raises ServerFailed when it cannot start, or when the server does not end in WATCHDOG_END_SECONDS.
        """
        try:
            self._start_watchdog()
        except OSError as error:
            for folder in (self.sockets, *(() if self.kept else (self.cluster.folder,))):
                shutil.rmtree(folder, ignore_errors=True)
            raise ServerFailed(f"{self.cluster.folder}: no watchdog for its server: {error.strerror}") from error
        try:
            yield
        finally:
            self._end_watchdog(self._watchdog)

    def _start_watchdog(self) -> None:
        self._watchdog = self.cluster.start_watchdog(self.programs, self.sockets, kept=self.kept, environ=self.environ)

    def _replace_watchdog(self) -> None:
        former = self._watchdog
        self._start_watchdog()
        self._end_watchdog(former, LEAVE_LINE)

    def _end_watchdog(self, watchdog: subprocess.Popen[bytes], line: bytes = b"") -> None:
        try:
            watchdog.communicate(line, WATCHDOG_END_SECONDS)  # closes the pipe, and waits
        except subprocess.TimeoutExpired as error:
            message = f"{self.cluster.folder}: its server does not end; end it, and remove that by hand"
            raise ServerFailed(message) from error


def configure_cluster(cluster: Cluster, settings: Mapping[str, str]) -> None:
    """Set the settings of a cluster's next start; they replace the previous ones and those of ALTER SYSTEM.

    They are written to a separate file, whose strings are quoted as in SQL with backslash escapes. Raises OSError.
    """
    lines = []
    for name, value in settings.items():
        quoted = value.replace("\\", "\\\\").replace("'", "''")
        lines.append(f"{name} = '{quoted}'\n")
    write_private_file(cluster.data / CONFIGURATION_FILE, "".join(lines))
    write_private_file(cluster.data / "postgresql.auto.conf", "")
    main_file = cluster.data / "postgresql.conf"
    if not main_file.read_text(encoding="utf-8").endswith(INCLUDE_LINE):
        write_private_file(main_file, INCLUDE_LINE, append=True)
