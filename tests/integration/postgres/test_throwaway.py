"""A throwaway server is there at once, and gone with its data however its process ends."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

from kernel.errors import ServerFailed
from kernel.postgres import cache
from kernel.postgres.account import server_account
from kernel.postgres.cache import programs_cache_key
from kernel.postgres.cluster import read_postmaster
from kernel.postgres.throwaway import FALLBACK_FOLDER, MEMORY_FOLDER, throwaway_server

if TYPE_CHECKING:
    from tests.integration.postgres.conftest import Person

pytestmark = pytest.mark.slow
# A command that has a server until its stdin is closed; it tells the URL, and the server's folder.
HAVE = """
import sys
from pathlib import Path
from kernel.postgres.throwaway import throwaway_server
with throwaway_server(bindir=Path(sys.argv[1]), room_bytes=int(sys.argv[2])) as server:
    print(server.url, server.data, sep="\\n", flush=True)
    sys.stdin.read()
"""

# A command that stops short of starting its server, when the data is there; it tells the server's folder.
FILL = """
import sys
from pathlib import Path
from kernel.postgres import throwaway, watchdog
def stop_short(cluster, settings):
    print(cluster.folder, flush=True)
    sys.stdin.read()
watchdog.configure_cluster = stop_short
with throwaway.throwaway_server(bindir=Path(sys.argv[1])):
    pass
"""


def told(command: subprocess.Popen[str]) -> tuple[str, Path]:
    assert command.stdout
    url = command.stdout.readline().strip()
    assert url, command.communicate()[1]
    return url, Path(command.stdout.readline().strip())


def one(url: str, statement: str) -> object:
    with psycopg.connect(url, autocommit=True) as connection:
        row = connection.execute(statement.encode()).fetchone()
        assert row
        return row[0]


def pid(folder: Path) -> int:
    server = read_postmaster(folder / "data")
    assert server
    return server.pid


def running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def parent(process: int) -> int:
    answer = subprocess.run(["ps", "-o", "ppid=", "-p", str(process)], capture_output=True, text=True, check=True)
    return int(answer.stdout)


def gone_within(seconds: float, folder: Path, process: int) -> bool:
    deadline = time.monotonic() + seconds
    while (folder.exists() or running(process)) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not folder.exists() and not running(process)


def test_the_block_has_a_server_and_leaves_nothing() -> None:
    with throwaway_server() as server:
        assert one(server.url, "SELECT upper('ü')") == "Ü"
        assert one(server.conninfo, "SELECT current_database()") == "postgres"
        process = pid(server.data)
    assert not server.data.exists()
    assert not running(process)


def test_an_error_in_the_block_takes_the_server_with_it() -> None:
    with pytest.raises(LookupError), throwaway_server() as server:
        raise LookupError
    assert not server.data.exists()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "terminated"])
def test_neither_server_nor_data_outlives_its_process(person: Person, how: signal.Signals) -> None:
    command = person.begin(HAVE, person.bindir, 1)
    url, folder = told(command)
    process = pid(folder)
    busy = psycopg.connect(url)
    busy.execute("CREATE TABLE here (i int)")
    command.send_signal(how)
    assert gone_within(2, folder, process)
    busy.close()


def test_a_process_killed_before_its_server_starts_leaves_no_folder(person: Person) -> None:
    """The watchdog is there before the data is."""
    command = person.begin(FILL, person.bindir)
    assert command.stdout
    folder = Path(command.stdout.readline().strip())
    assert (folder / "data" / "PG_VERSION").exists()
    command.kill()
    command.wait()
    assert gone_within(2, folder, command.pid)


def test_a_terminated_watchdog_takes_the_server_with_it() -> None:
    with throwaway_server() as server:
        process = pid(server.data)
        os.kill(parent(process), signal.SIGTERM)
        assert gone_within(2, server.data, process)


def test_a_dead_server_leaves_no_data_either() -> None:
    with throwaway_server() as server:
        os.kill(pid(server.data), signal.SIGKILL)
    assert not server.data.exists()


def test_shared_memory_lies_among_the_data_that_is_removed() -> None:
    with throwaway_server() as server:
        if server.data.parent != MEMORY_FOLDER:
            pytest.skip("no room for data in memory")
        assert list((server.data / "data" / "pg_dynshmem").iterdir())


def test_settings_override_the_defaults_and_can_still_be_altered() -> None:
    settings = {"fsync": "on", "max_connections": "17", "cluster_name": "it's a \\ name"}
    with throwaway_server(settings=settings) as server:
        assert one(server.url, "SHOW full_page_writes") == "off"
        assert one(server.url, "SHOW synchronous_commit") == "off"
        assert one(server.url, "SHOW fsync") == "on"
        assert one(server.url, "SHOW max_connections") == "17"
        assert one(server.url, "SELECT setting FROM pg_settings WHERE name = 'cluster_name'") == "it's a \\ name"
        with psycopg.connect(server.url, autocommit=True) as connection:
            connection.execute("ALTER SYSTEM SET full_page_writes = on")
            connection.execute("SELECT pg_reload_conf()")
        deadline = time.monotonic() + 2
        while one(server.url, "SHOW full_page_writes") == "off" and time.monotonic() < deadline:
            time.sleep(0.01)
        assert one(server.url, "SHOW full_page_writes") == "on"


def test_a_setting_that_does_not_exist_quotes_the_log_and_leaves_nothing() -> None:
    with (
        pytest.raises(ServerFailed, match="no_such_setting") as caught,
        throwaway_server(settings={"no_such_setting": "1"}),
    ):
        pytest.fail("the server must not start")
    assert not Path(str(caught.value).partition(":")[0]).exists()


def test_two_servers_at_once_are_two() -> None:
    with throwaway_server() as first, throwaway_server() as second:
        with psycopg.connect(first.url) as connection:
            connection.execute("CREATE TABLE here (i int)")
        assert one(second.url, "SELECT to_regclass('here')") is None


def test_servers_share_the_identifier_of_their_template_unless_unique() -> None:
    identifier = "SELECT system_identifier FROM pg_control_system()"
    with throwaway_server() as first, throwaway_server() as second, throwaway_server(unique=True) as third:
        assert one(first.url, identifier) == one(second.url, identifier)
        assert one(first.url, identifier) != one(third.url, identifier)


def test_without_room_in_memory_the_data_lies_in_the_temporary_folder(person: Person) -> None:
    room = person.checkout / "tmp"
    room.mkdir()
    server_account(person.checkout).take_ownership(room, 0o700)
    command = person.begin(HAVE, person.bindir, 1 << 60, TMPDIR=str(room))
    url, folder = told(command)
    assert folder.parent == room
    assert one(url, "SELECT 1") == 1
    command.communicate(timeout=30)
    assert not folder.exists()


def test_a_temporary_folder_too_deep_for_a_socket_is_passed_over(person: Person) -> None:
    deep = person.checkout / ("d" * 100)
    deep.mkdir()
    server_account(person.checkout).take_ownership(deep, 0o700)
    command = person.begin(HAVE, person.bindir, 1 << 60, TMPDIR=str(deep))
    url, folder = told(command)
    assert folder.parent == FALLBACK_FOLDER
    assert one(url, "SELECT 1") == 1
    command.communicate(timeout=30)
    assert not folder.exists()


def test_a_cache_that_cannot_be_written_only_costs_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "cache_folder", lambda: Path("/dev/null/cache"))
    with throwaway_server() as server:
        assert one(server.url, "SELECT 1") == 1


def test_a_template_that_others_could_have_written_is_not_used(
    open_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "cache_folder", lambda: open_folder)
    with throwaway_server():
        pass
    (template,) = (path for path in (open_folder / "templates").iterdir() if path.is_dir())
    (template / "global" / "pg_control").write_bytes(b"forged")
    template.chmod(0o777)
    with throwaway_server() as server:
        assert one(server.url, "SELECT 1") == 1


def test_a_template_half_made_by_a_killed_process_is_made_again(
    open_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "cache_folder", lambda: open_folder)
    with throwaway_server() as server:
        name = f"{programs_cache_key(server.programs)}-{server_account(Path('/')).uid}"
    template = open_folder / "templates" / name
    template.rename(template.with_name(f"{name}.making"))
    with throwaway_server() as server:
        assert one(server.url, "SELECT 1") == 1
    assert [path.name for path in (open_folder / "templates").iterdir() if path.is_dir()] == [name]
