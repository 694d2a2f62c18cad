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
from kernel.server.account import opened
from kernel.server.cluster import LEAVE, SERVE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from kernel.server.cluster import Cluster, Server
    from kernel.server.programs import Programs

END_SECONDS = 30.0

CONFIGURATION = "aibos-kernel.conf"
INCLUDE = f"\ninclude '{CONFIGURATION}'\n"


@dataclass(frozen=True, slots=True)
class _Duty:
    """A watchdog, and our end of its pipe."""

    watchdog: subprocess.Popen[bytes]
    pipe: int


@dataclass(slots=True, kw_only=True)
class Guard:
    """A cluster that nobody else serves, under watch from before there is anything in it.

    `kept` data stays when we leave or die, other data goes. `place_settings` are what its folder asks of a server,
    `environ` is added to the server's environment.
    """

    cluster: Cluster
    programs: Programs
    sockets: Path
    kept: bool
    place_settings: Mapping[str, str] = field(default_factory=dict)
    environ: Mapping[str, str] = field(default_factory=dict)
    _duty: _Duty | None = None
    _served: bool = False

    def serve(self, settings: Mapping[str, str]) -> Server:
        """Start the server with these settings, after a clean stop if it runs with others; returns when it accepts.

        Raises ServerFailed, which quotes its log.
        """
        try:
            if self._served:
                self.stop()
                self._relieve()
            configure(self.cluster, {**self.place_settings, **settings})
            os.write(self._on_duty.pipe, SERVE)
        except OSError as error:
            raise ServerFailed(f"{self.cluster.folder}: {error.strerror}; no server could be started there") from error
        self._served = True
        return self.cluster.server(self.cluster.accepting(), self.programs, database="postgres", started=True)

    def stop(self) -> None:
        """Stop the server cleanly, if it runs; its data stays under watch. Raises ServerFailed."""
        self.cluster.stop()

    def keep(self, folder: Path) -> None:
        """Give the data its lasting name, a path in the same file system; call it while the server is stopped.

        Raises OSError.
        """
        self.cluster.folder.rename(folder)
        self.cluster = replace(self.cluster, folder=folder)
        self.kept = True

    @property
    def _on_duty(self) -> _Duty:
        if self._duty is None:
            raise ServerFailed(f"{self.cluster.folder}: nobody watches over it")
        return self._duty

    def _begin(self) -> None:
        receiving, sending = os.pipe()
        try:
            watchdog = self.cluster.watch(
                self.programs, self.sockets, pipe=receiving, kept=self.kept, environ=self.environ
            )
        except OSError:
            os.close(sending)
            raise
        finally:
            os.close(receiving)
        self._duty = _Duty(watchdog, sending)

    def _relieve(self) -> None:
        former = self._on_duty
        self._begin()
        try:
            os.write(former.pipe, LEAVE)
        finally:
            _end(former, self.cluster)

    def _finish(self) -> None:
        if self._duty is not None:
            _end(self._duty, self.cluster)


@contextmanager
def watched(guard: Guard) -> Iterator[Guard]:
    """Watch over the guard's folders; leaving returns when the server and all that is not kept are gone.

    Raises ServerFailed when there can be no watchdog, or when that takes too long.
    """
    try:
        guard._begin()  # noqa: SLF001 - the other half of the class, as a context manager
    except OSError as error:
        for folder in (guard.sockets, *(() if guard.kept else (guard.cluster.folder,))):
            shutil.rmtree(folder, ignore_errors=True)
        raise ServerFailed(f"{guard.cluster.folder}: no watchdog for its server: {error.strerror}") from error
    try:
        yield guard
    finally:
        guard._finish()  # noqa: SLF001 - likewise


def configure(cluster: Cluster, settings: Mapping[str, str]) -> None:
    """Make these the settings of a cluster's next start, in place of those before and of what ALTER SYSTEM left.

    They stand in a file of their own, whose strings are quoted as in SQL and know backslashes as well. Raises OSError.
    """
    lines = []
    for name, value in settings.items():
        quoted = value.replace("\\", "\\\\").replace("'", "''")
        lines.append(f"{name} = '{quoted}'\n")
    _write(cluster.data / CONFIGURATION, "".join(lines))
    _write(cluster.data / "postgresql.auto.conf", "")
    given = cluster.data / "postgresql.conf"
    if not given.read_text(encoding="utf-8").endswith(INCLUDE):
        _write(given, INCLUDE, os.O_APPEND)


def _write(path: Path, text: str, how: int = os.O_TRUNC) -> None:
    with os.fdopen(opened(path, os.O_WRONLY | how), "w", encoding="utf-8") as file:
        file.write(text)


def _end(duty: _Duty, cluster: Cluster) -> None:
    os.close(duty.pipe)
    try:
        duty.watchdog.wait(END_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise ServerFailed(f"{cluster.folder}: its server does not end; end it, and remove that by hand") from error
