"""The development server keeps its data, is shared by commands, and survives what kills its users."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

from kernel.errors import ProgramsMissing, ServerFailed
from kernel.postgres import development, initdb
from kernel.postgres.cluster import POSTMASTER_FILE, read_postmaster
from kernel.postgres.development import (
    development_data_folder,
    development_server,
    start_development_server,
    stop_development_server,
)
from kernel.postgres.file_lock import is_file_locked
from kernel.postgres.initdb import BUILTIN_MAJOR
from kernel.postgres.process import DISK_FULL_REMEDY

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kernel.postgres.programs import Programs
    from tests.integration.postgres.conftest import Person

pytestmark = pytest.mark.slow

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root serves through another account")

# A command that uses the server until its stdin is closed; it tells the URL and whether it started the server.
USE = """
import sys
from pathlib import Path
from kernel.postgres.development import development_server
with development_server(Path(sys.argv[1]), bindir=Path(sys.argv[2])) as server:
    print(server.url, server.started, flush=True)
    sys.stdin.read()
"""

START = """
import sys
from pathlib import Path
from kernel.postgres.development import start_development_server
server = start_development_server(Path(sys.argv[1]), bindir=Path(sys.argv[2]))
print(server.url, server.started, flush=True)
sys.stdin.read()
"""


def using(person: Person, script: str = USE, /, **environ: str) -> subprocess.Popen[str]:
    return person.begin(script, person.checkout, person.bindir, **environ)


def told(command: subprocess.Popen[str]) -> tuple[str, bool]:
    """The URL that a command tells, and whether it started the server; returns once it uses it."""
    assert command.stdout
    line = command.stdout.readline().split()
    assert line, command.communicate()[1]
    return line[0], line[1] == "True"


def leave(command: subprocess.Popen[str]) -> None:
    _, errors = command.communicate(timeout=30)
    assert (command.returncode, errors) == (0, "")


def folder(person: Person) -> Path:
    return development_data_folder(person.checkout, None)


def alive(person: Person) -> bool:
    return is_file_locked(folder(person) / "alive.lock")


def pid(person: Person) -> int:
    server = read_postmaster(folder(person) / "data")
    assert server
    return server.pid


def query(url: str, statement: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url) as connection:
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


def kill(person: Person) -> None:
    """Kill the server's first process, and return when it no longer listens."""
    server = read_postmaster(folder(person) / "data")
    assert server
    os.kill(server.pid, signal.SIGKILL)
    while server.answers():
        time.sleep(0.001)


def gone(person: Person) -> bool:
    """Whether the server is gone within two seconds."""
    deadline = time.monotonic() + 2
    while alive(person) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not alive(person)


def test_data_outlives_the_server(person: Person) -> None:
    first = using(person)
    url, started = told(first)
    assert started
    query(url, "CREATE TABLE kept AS SELECT 'ü' AS word")
    leave(first)
    assert not alive(person)
    second = using(person)
    assert told(second) == (url, True)
    assert query(url, "SELECT word FROM kept") == [("ü",)]
    leave(second)


def test_the_server_speaks_utf8_and_utc_and_listens_on_no_network(me: Person) -> None:
    with development_server(me.checkout) as server:
        show = (
            "SELECT current_setting('server_encoding'), current_setting('TimeZone'), current_setting('log_timezone'),"
        )
        assert query(server.url, f"{show} current_setting('listen_addresses')") == [("UTF8", "UTC", "UTC", "")]
        assert query(server.url, "SELECT upper('ü'), current_database()") == [("Ü", "kernel")]
        assert query(server.conninfo, "SELECT current_user") == [("postgres",)]


def test_two_commands_at_once_on_a_fresh_folder_share_one_server(person: Person) -> None:
    commands = [using(person), using(person)]
    answers = [told(command) for command in commands]
    assert answers[0][0] == answers[1][0]
    assert sorted(started for _, started in answers) == [False, True]
    leave(commands[0])
    assert query(answers[1][0], "SELECT 1") == [(1,)]
    leave(commands[1])
    assert not alive(person)


def test_a_kept_server_stays_until_it_is_stopped(person: Person) -> None:
    starter = using(person, START)
    url, started = told(starter)
    leave(starter)
    visitor = using(person)
    assert (started, told(visitor)) == (True, (url, False))
    leave(visitor)
    assert query(url, "SELECT 1") == [(1,)]
    assert stop_development_server(person.checkout)
    assert not alive(person)
    assert not stop_development_server(person.checkout)


def test_starting_twice_is_starting_once(me: Person) -> None:
    assert start_development_server(me.checkout).started
    before = pid(me)
    assert not start_development_server(me.checkout).started
    assert pid(me) == before


def test_asking_to_keep_ends_with_the_server_it_was_said_of(me: Person) -> None:
    start_development_server(me.checkout)
    kill(me)
    with development_server(me.checkout) as server:
        assert server.started
    assert not alive(me)


def test_a_server_in_use_is_not_stopped(person: Person) -> None:
    command = using(person)
    url, _ = told(command)
    with pytest.raises(ServerFailed, match="another command uses its server"):
        stop_development_server(person.checkout)
    assert query(url, "SELECT 1") == [(1,)]


def test_stopping_where_nothing_was_ever_started_makes_nothing(tmp_path: Path) -> None:
    assert not stop_development_server(tmp_path)
    assert not list(tmp_path.iterdir())


def test_after_a_killed_command_the_next_one_shares_its_server_and_stops_it(person: Person) -> None:
    killed = using(person)
    url, _ = told(killed)
    killed.kill()
    killed.wait()
    assert alive(person)
    following = using(person)
    assert told(following) == (url, False)
    leave(following)
    assert not alive(person)


def test_a_killed_server_is_started_again_with_its_data(person: Person) -> None:
    first = using(person)
    url, _ = told(first)
    query(url, "CREATE TABLE kept AS SELECT 1 AS number")
    kill(person)
    second = using(person)
    assert told(second) == (url, True)
    assert query(url, "SELECT number FROM kept") == [(1,)]


def test_a_reused_process_number_does_not_pass_for_the_server(me: Person) -> None:
    """After a reboot, the number in postmaster.pid may belong to anybody: here to this test."""
    with development_server(me.checkout) as server:
        record = (server.data / "data" / POSTMASTER_FILE).read_text(encoding="utf-8")
        first = read_postmaster(server.data / "data")
        assert first
    # A process of the server's own account, for PostgreSQL itself sees through a foreign one.
    with subprocess.Popen(["/bin/sleep", "60"], user=(server.data / "data").stat().st_uid) as other:
        try:
            stale = record.replace(str(first.pid), str(other.pid), 1)
            (server.data / "data" / POSTMASTER_FILE).write_text(stale, encoding="utf-8")
            with development_server(me.checkout) as again:
                assert again.started
                assert query(again.url, "SELECT 1") == [(1,)]
            assert other.poll() is None
        finally:
            other.kill()


def test_an_interrupted_initdb_leaves_nothing_in_the_way(me: Person) -> None:
    making = folder(me) / "data.making"
    making.mkdir(parents=True)
    (making / "PG_VERSION").write_text("15\n", encoding="ascii")
    with development_server(me.checkout) as server:
        assert query(server.url, "SELECT 1") == [(1,)]
    assert not making.exists()


def test_ctrl_c_at_the_terminal_does_not_reach_the_server(person: Person) -> None:
    starter = using(person, START)
    url, _ = told(starter)
    os.killpg(starter.pid, signal.SIGINT)
    starter.communicate()
    assert query(url, "SELECT 1") == [(1,)]
    assert os.getsid(pid(person)) != starter.pid


def test_an_interrupted_command_still_leaves(person: Person) -> None:
    command = using(person)
    told(command)
    command.send_signal(signal.SIGINT)
    command.communicate(timeout=30)
    assert gone(person)


def test_the_server_sees_neither_pg_variables_nor_secrets(person: Person) -> None:
    misleading = {
        "PGDATA": "/nonexistent",
        "PGPORT": "1",
        "PGOPTIONS": "-c x=y",
        "DATABASE_URL": "postgresql://u:secret@h",
    }
    command = using(person, **misleading)
    url, _ = told(command)
    assert query(url, "SELECT current_setting('port')") == [("5432",)]
    if sys.platform == "linux":
        seen = {line.partition("=")[0] for line in Path(f"/proc/{pid(person)}/environ").read_text().split("\0")}
        assert not seen & misleading.keys()


def test_the_socket_can_be_reached_by_its_owner_alone(me: Person) -> None:
    with development_server(me.checkout):
        server = read_postmaster(folder(me) / "data")
        assert server
        status = server.socket_folder.stat()
        assert stat.S_IMODE(status.st_mode) == 0o700
        assert status.st_uid == (folder(me) / "data").stat().st_uid
        assert len(os.fsencode(server.socket_folder)) < 80
    assert not server.socket_folder.exists()


@pytest.fixture
def squatted(me: Person) -> Iterator[Path]:
    """The folder of the socket, made beforehand by somebody who lets others in."""
    with development_server(me.checkout):
        server = read_postmaster(folder(me) / "data")
    assert server
    server.socket_folder.mkdir()
    server.socket_folder.chmod(0o777)
    yield server.socket_folder
    server.socket_folder.rmdir()


def test_a_socket_folder_open_to_others_is_refused(me: Person, squatted: Path) -> None:
    with pytest.raises(ServerFailed, match=f"{squatted}: not a private folder"), development_server(me.checkout):
        pytest.fail("the server must not start")
    assert not alive(me)


def test_data_of_another_major_is_served_by_its_own_programs(me: Person, found: Programs, wheel: Programs) -> None:
    if wheel.major == found.major:
        pytest.skip("only one major version of PostgreSQL here")
    with development_server(me.checkout, bindir=wheel.bin):
        pass
    with development_server(me.checkout) as server:
        assert server.programs.major == wheel.major


def test_data_whose_programs_are_missing_says_so_with_both_ways_out(me: Person, found: Programs) -> None:
    with development_server(me.checkout):
        pass
    (folder(me) / "data" / "PG_VERSION").write_text("9\n", encoding="ascii")
    with pytest.raises(ProgramsMissing) as caught, development_server(me.checkout, bindir=found.bin):
        pytest.fail("the server must not start")
    assert "made by PostgreSQL 9" in str(caught.value)
    assert "set KERNEL_PG_BINDIR" in str(caught.value)
    assert f"remove {folder(me)}" in str(caught.value)


def test_data_of_another_postgresql_is_left_alone(me: Person) -> None:
    with development_server(me.checkout) as server:
        data = server.data / "data"
    with pytest.raises(ServerFailed, match="data of another PostgreSQL; set KERNEL_DATA_DIR"):
        start_development_server(me.checkout, data_dir=data)


def test_a_data_folder_that_is_none_is_refused(me: Person) -> None:
    (folder(me) / "data").mkdir(parents=True)
    (folder(me) / "data" / "letter").touch()
    with pytest.raises(ServerFailed, match="no PG_VERSION"):
        start_development_server(me.checkout)


def test_a_server_that_does_not_start_quotes_its_log(me: Person) -> None:
    with development_server(me.checkout) as server:
        data = server.data / "data"
    with (data / "postgresql.conf").open("a", encoding="utf-8") as configuration:
        configuration.write("no_such_setting = 1\n")
    with pytest.raises(ServerFailed, match="no_such_setting"):
        start_development_server(me.checkout)
    assert not alive(me)


def test_the_named_folder_is_used(me: Person, open_folder: Path) -> None:
    with development_server(me.checkout, data_dir=open_folder / "elsewhere") as server:
        assert server.data == open_folder / "elsewhere"
    assert not (me.checkout / ".kernel").exists()


def test_a_folder_that_cannot_be_written_is_said_with_the_remedy(me: Person) -> None:
    (me.checkout / "letter").touch()
    with pytest.raises(ServerFailed, match=r"letter: .*set KERNEL_DATA_DIR"):
        start_development_server(me.checkout, data_dir=Path("letter"))


@root_only
def test_a_named_folder_in_a_private_home_is_refused_by_the_name_of_the_home(me: Person) -> None:
    me.checkout.chmod(0o700)
    with pytest.raises(ServerFailed, match=f"may not enter {me.checkout}; set KERNEL_DATA_DIR"):
        development_data_folder(me.checkout, Path("data"))


@root_only
def test_a_checkout_in_a_private_home_keeps_its_data_outside(
    me: Person, open_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(development, "SYSTEM_DATA_FOLDER", open_folder / "system")
    me.checkout.chmod(0o700)
    outside = folder(me)
    assert outside.parent == open_folder / "system"
    with development_server(me.checkout) as server:
        assert server.data == outside
    assert stat.S_IMODE(me.checkout.stat().st_mode) == 0o700
    assert development_data_folder(open_folder / "other" / me.checkout.name, None) != outside


@root_only
def test_root_shares_the_server_of_the_checkouts_owner(person: Person) -> None:
    command = using(person)
    url, _ = told(command)
    with development_server(person.checkout) as server:
        assert (server.url, server.started) == (url, False)
    assert query(url, "SELECT 1") == [(1,)]


@pytest.fixture
def small_disk(open_folder: Path) -> Iterator[Path]:
    place = open_folder / "small"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", place], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("no small file system can be mounted here")
    yield place
    subprocess.run(["umount", place], check=True)


@root_only
def test_a_full_disk_is_named_and_leaves_no_half_made_data(me: Person, small_disk: Path) -> None:
    with pytest.raises(ServerFailed, match="No space left on device") as caught:
        start_development_server(me.checkout, data_dir=small_disk)
    assert caught.value.hint == DISK_FULL_REMEDY
    assert not list(small_disk.glob("data*"))


def test_without_c_utf8_the_locale_falls_back(me: Person, found: Programs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(initdb, "LOCALE_OPTIONS", ("--locale=xx_XX.UTF-8",))
    with development_server(me.checkout, bindir=found.bin) as server:
        assert query(server.url, "SELECT current_setting('server_encoding')") == [("UTF8",)]


def test_postgresqls_own_locale_serves_where_the_system_has_none(
    me: Person, wheel: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    if wheel.major < BUILTIN_MAJOR:
        pytest.skip("no PostgreSQL with locales of its own")
    monkeypatch.setattr(initdb, "LOCALE_OPTIONS", ("--locale=xx_XX.UTF-8",))
    with development_server(me.checkout, bindir=wheel.bin) as server:
        assert query(server.url, "SELECT upper('ü')") == [("Ü",)]
