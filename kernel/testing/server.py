"""The server of the tests: that of TEST_DATABASE_URL, else an embedded one without fsync, in memory if there is room.

The embedded server is one for each checkout and PostgreSQL, shared by the processes of concurrent runs. It stops with
the last of them, also if they are killed, unless the database of a failed test is kept, and its data stays for the next
run until the machine restarts. Data of checkouts that are gone, or that no run has used for long, is removed.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

from psycopg.conninfo import conninfo_to_dict

from kernel.config.conninfo import check_conninfo
from kernel.errors import Problem, ServerFailed, SettingsError
from kernel.postgres.account import server_account, write_private_file
from kernel.postgres.cache import programs_cache_key
from kernel.postgres.development import (
    START_LOCK,
    USE_LOCK,
    development_server,
    release_development_server,
    start_development_server,
    stop_development_server,
)
from kernel.postgres.file_lock import is_file_locked
from kernel.postgres.programs import find_programs
from kernel.postgres.throwaway import MEMORY_FOLDER, NEEDED_MEMORY_BYTES, THROWAWAY_SETTINGS
from kernel.postgres.unused_server import start_watching

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kernel.config.settings import Settings


URL_VARIABLE = "TEST_DATABASE_URL"

ORIGIN_FILE = "origin"
ALIVE_LOCK = "alive.lock"
UNUSED_SECONDS = 14 * 86_400.0
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")

# Autovacuum would connect to the template, and clones would wait for it. A small WAL leaves more memory.
SERVER_SETTINGS = {**THROWAWAY_SETTINGS, "autovacuum": "off", "max_wal_size": "128MB", "min_wal_size": "32MB"}


@dataclass(frozen=True, slots=True, kw_only=True)
class TestServer:
    """Where databases for tests are made; `url` may hold a password. `data` is that of a server of our own."""

    __test__ = False  # its name does not make it a test

    url: str = field(repr=False)
    data: Path | None

    @property
    def embedded(self) -> bool:
        return self.data is not None


@contextmanager
def open_test_server(settings: Settings) -> Iterator[TestServer]:
    """Use the server of the tests in the block. Raises SettingsError, ProgramsMissing, ServerFailed."""
    if settings.test_database_url is not None:
        try:
            check_conninfo(settings.test_database_url, shared=False)
        except ValueError as error:
            raise SettingsError([Problem(message=f"{URL_VARIABLE}: {error}")]) from error
        yield TestServer(url=settings.test_database_url, data=None)
        return
    folder = _data_folder(settings)
    _remove_unused_data(folder.parent)
    in_memory = {"dynamic_shared_memory_type": "mmap"} if folder.is_relative_to(MEMORY_FOLDER) else {}
    with development_server(
        settings.root, data_dir=folder, bindir=settings.pg_bindir, settings={**SERVER_SETTINGS, **in_memory}
    ) as server:
        write_private_file(folder / ORIGIN_FILE, f"{settings.root}\n{_boot_id()}\n")
        with suppress(OSError):  # without it the server of killed tests runs until the next ones end
            start_watching(folder)
        yield TestServer(url=server.url, data=folder)


def keep_running(settings: Settings, server: TestServer, *, keep: bool) -> None:
    """Let an embedded server run on after the last process that uses it, or not. Raises ServerFailed."""
    if server.data is None:
        return
    if keep:
        start_development_server(settings.root, data_dir=server.data, bindir=settings.pg_bindir)
    else:
        release_development_server(settings.root, data_dir=server.data)


def stop_test_servers(root: Path) -> bool:
    """Stop the embedded servers that finished tests of a checkout have left running; False without one.

    Raises ServerFailed.
    """
    stopped = False
    for parent in _data_parents():
        for folder in _data_folders(parent):
            if _read_origin(folder)[0] == str(root) and not is_file_locked(folder / USE_LOCK):
                stopped |= stop_development_server(root, data_dir=folder)
    return stopped


def database_url(url: str, name: str, *, with_password: bool = True) -> str:
    """The URL of a database on the server of `url`, which may be a URL or keywords of libpq."""
    parameters = {name: str(value) for name, value in conninfo_to_dict(url).items() if value is not None}
    user, password = parameters.pop("user", ""), parameters.pop("password", "")
    host, port = parameters.pop("host", ""), parameters.pop("port", "")
    parameters.pop("dbname", None)
    login = quote(user, safe="")
    if password and with_password:
        login += f":{quote(password, safe='')}"
    place = ""
    if host and not set(host) & set("/@,:%"):
        place = host + (f":{port}" if port else "")
    else:  # the folder of a socket, several hosts, an IPv6 address
        parameters |= {key: value for key, value in (("host", host), ("port", port)) if value}
    if login and not place:  # most programs read no user in front of an empty host
        parameters["user"] = user
        if password and with_password:
            parameters["password"] = password
        login = ""
    query = f"?{urlencode(parameters, quote_via=quote, safe='')}" if parameters else ""
    return f"postgresql://{login}{'@' if login else ''}{place}/{quote(name, safe='')}{query}"


def _data_parents() -> Iterator[Path]:
    """The folders that may hold the data of test servers of this user."""
    for place in (MEMORY_FOLDER, Path(tempfile.gettempdir())):
        if place.is_dir():
            yield place / f"aibos-kernel-tests-{server_account(place).uid}"


def _data_folder(settings: Settings) -> Path:
    """The folder of a checkout's server: in memory when there is room, or data already; else in TMPDIR.

    It is in a folder that only the account of the server may enter. Raises ServerFailed when that is another one's.
    """
    name = _folder_name(settings)
    for parent in _data_parents():
        in_memory = parent.parent == MEMORY_FOLDER
        if in_memory and shutil.disk_usage(MEMORY_FOLDER).free < NEEDED_MEMORY_BYTES and not (parent / name).is_dir():
            continue
        server_account(parent.parent).make_private_folder(parent)
        return parent / name
    raise ServerFailed(f"{tempfile.gettempdir()}: no such folder for the server of the tests; set TMPDIR")


def _folder_name(settings: Settings) -> str:
    """The folder of a checkout's server: another one for another PostgreSQL, since it cannot read the data.

    Also another one after a restart of the machine: without fsync, data on a disk may not have survived it.
    """
    key = programs_cache_key(find_programs(settings.pg_bindir))
    digest = hashlib.sha256(f"{settings.root}\0{key}\0{_boot_id()}".encode(errors="surrogateescape")).hexdigest()
    return digest[:16]


def _boot_id() -> str:
    try:
        return BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:  # not on Linux
        return ""


def _data_folders(parent: Path) -> list[Path]:
    try:
        return sorted(entry for entry in parent.iterdir() if (entry / ORIGIN_FILE).is_file())
    except OSError:
        return []


def _read_origin(folder: Path) -> tuple[str, str]:
    root, _, boot_id = (folder / ORIGIN_FILE).read_text(encoding="utf-8", errors="surrogateescape").partition("\n")
    return root, boot_id.strip()


def _remove_unused_data(parent: Path) -> None:
    """Remove the data of checkouts that are gone, of an earlier boot, or unused for long; not of a running server."""
    for folder in _data_folders(parent):
        with suppress(OSError):  # another process removes it as well
            root, boot_id = _read_origin(folder)
            age_seconds = time.time() - (folder / ORIGIN_FILE).stat().st_mtime
            wanted = os.path.isdir(root) and boot_id == _boot_id() and age_seconds < UNUSED_SECONDS  # noqa: PTH112 - the path may hold any bytes
            if not wanted and not any(is_file_locked(folder / lock) for lock in (USE_LOCK, START_LOCK, ALIVE_LOCK)):
                shutil.rmtree(folder)
