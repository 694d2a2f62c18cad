"""fleet.toml: every problem at once with its line, no secrets, and the targets in waves and parts."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from kernel.errors import FilesInvalid, SettingsError, UsageError
from kernel.fleet.addresses import Addresses
from kernel.fleet.dispatch import Dispatch, Limits
from kernel.fleet.inventory import parse_failure_limit, read_inventory
from kernel.fleet.servers import Probe, address_key, assign_servers, refuse_too_many_connections
from kernel.fleet.target import ASK, Address, Target, Wave
from kernel.fleet.targets import choose_targets, divide_into_waves
from kernel.fleet.toml_places import key_lines

if TYPE_CHECKING:
    from pathlib import Path

    from kernel.fleet.target import Inventory

SECRET = "opensesame4711"  # noqa: S105 - of nothing

BAD = f"""\
per_sever = 4
timeout = "10"

[[targets]]
name = "eu-1"
url = "postgresql://u:{SECRET}@h/db"

[[targets]]
name = "eu-1"
url = "host=h password={SECRET}"
lables = {{ region = "eu" }}

[[targets]]
query = \"\"\"
[[targets]]
url = 1
\"\"\"
url = "$A"

[[targets]]
name = "-rf"
command = [
  "print-url", "]",
]
  [targets.labels]
  region = 5

[[waves]]
match = {{ tier = 4 }}
hold = "soon"
"""


def _read(folder: Path, text: str) -> Inventory:
    (folder / "fleet.toml").write_text(text)
    return read_inventory(folder / "fleet.toml")


def _target(name: str, **values: str) -> Target:
    return Target(name=name, address=Address(variable="URL"), labels=values)


def test_all_problems_of_the_file_are_reported_at_once_each_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(FilesInvalid) as refused:
        _read(tmp_path, BAD)
    assert [(problem.line, problem.message.split(":")[0]) for problem in refused.value.problems] == [
        (1, "per_sever"),
        (2, "timeout"),
        (6, "url"),
        (9, "the name eu-1 is that of line 4 too; rename one of them"),
        (10, "url"),
        (11, "lables"),
        (14, "query"),
        (21, "name"),
        (26, "labels.region"),
        (28, "needs a name"),
        (29, "match.tier"),
        (30, "hold"),
    ]
    assert "write per_server" in str(refused.value)


def test_a_secret_in_the_file_is_refused_and_not_repeated(tmp_path: Path) -> None:
    for text in (
        f"postgresql://u:{SECRET}@h/db",
        f"postgresql://u@h/db?password={SECRET}",
        f"host=h sslpassword={SECRET}",
        f"postgresql://$USER:{SECRET}@h/db",
    ):
        with pytest.raises(FilesInvalid, match=r"fleet\.toml:3: url: ") as refused:
            _read(tmp_path, f'[[targets]]\nname = "a"\nurl = "{text}"\n')
        assert SECRET not in str(refused.value)


def test_a_file_that_is_no_toml_or_has_no_targets_is_refused_with_its_place(tmp_path: Path) -> None:
    with pytest.raises(FilesInvalid, match=r"fleet\.toml:2:10: is no TOML"):
        _read(tmp_path, "a = 1\n[[targets]\n")
    with pytest.raises(FilesInvalid, match=r"has no targets; write \[\[targets\]\]"):
        _read(tmp_path, "")
    with pytest.raises(FilesInvalid, match="no such file"):
        read_inventory(tmp_path / "absent.toml")


def test_limits_of_the_file_are_those_of_every_wave_that_has_none_of_its_own(tmp_path: Path) -> None:
    inventory = _read(
        tmp_path,
        """
        per_server = 7
        max_failures = "5%"
        [[targets]]
        name = "a"
        url = "service=a"
        [[waves]]
        name = "canary"
        match = { tier = ["c*", "x"] }
        max_failures = 0
        hold = "ask"
        [[waves]]
        name = "rest"
        hold = "10min"
        timeout = "90s"
        """,
    )
    canary, rest = inventory.waves
    assert (canary.per_server, canary.max_failures.allowed(100), canary.hold_seconds) == (7, 0, ASK)
    assert (rest.per_server, rest.max_failures.allowed(100), rest.hold_seconds, rest.timeout_seconds) == (7, 5, 600, 90)
    assert canary.match == {"tier": ("c*", "x")}


def test_lines_are_those_outside_of_strings_and_arrays() -> None:
    text = 'a = [\n"[[x]]",\n]\nb = """\nc = 1\n"""\n[[t]]\nd = 1 # e = 2\n[[t]]\n[t.u]\n"f" = 1\n'
    assert key_lines(text) == {
        ("", 0, "a"): 1,
        ("", 0, "b"): 4,
        ("t", 0, ""): 7,
        ("t", 0, "d"): 8,
        ("t", 1, ""): 9,
        ("t.u", 1, ""): 10,
        ("t.u", 1, "f"): 11,
    }


@pytest.mark.parametrize("text", ["-1", "101%", "5 percent", "", "1.5", "٣"])
def test_a_failure_limit_is_a_number_or_a_percentage(text: str) -> None:
    with pytest.raises(ValueError, match="expected a number"):
        parse_failure_limit(text)
    assert (parse_failure_limit("2.5%").allowed(1000), parse_failure_limit("3").allowed(1)) == (25, 3)


def test_a_target_belongs_to_the_first_wave_that_it_matches_and_none_is_left_out() -> None:
    targets = [_target("b", size="10"), _target("a", size="9"), _target("c", tier="canary")]
    waves = (Wave(name="first", match={"tier": ("can*",)}), Wave(name="rest", order="-size"))
    divided = divide_into_waves(targets, waves, filename="fleet.toml")
    assert [[target.name for target in found] for _, found in divided] == [["c"], ["b", "a"]]
    with pytest.raises(FilesInvalid, match="no wave has b, a; add one without match"):
        divide_into_waves(targets, waves[:1], filename="fleet.toml")


def test_parts_share_the_targets_without_overlap() -> None:
    targets = [_target(str(number)) for number in range(10)]
    parts = [choose_targets(targets, only=(), part=(number, 3)) for number in (1, 2, 3)]
    assert sorted(target.name for part in parts for target in part) == sorted(target.name for target in targets)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    with pytest.raises(UsageError, match="--only x: no such target"):
        choose_targets(targets, only=("1", "x"), part=(1, 1))


def test_a_url_gets_the_database_and_the_search_path_of_the_target() -> None:
    addresses = Addresses({"URL": "postgresql://u@h/db?options=-c%20geqo%3Doff"})
    target = Target(
        name="t", address=Address(variable="URL"), database="other", schema='te"n ant', search_path=("public",)
    )
    assert addresses.url(target) == (
        r"""user=u dbname=other host=h options='-c geqo=off -c search_path="te""n\\ ant",\\ public'"""
    )


def test_a_command_gets_the_name_as_an_argument_and_its_output_is_never_quoted() -> None:
    addresses = Addresses({})
    address = Address(command=("printf", "host=%s", "{name}"))
    assert addresses.url(Target(name="$(id);x", address=address)) == "host=$(id);x"
    for command in (("printf", f"pass word={SECRET} ="), ("false",), ("no-such-program",), ("true",)):
        with pytest.raises(SettingsError, match=f"command {command[0]}: ") as refused:
            addresses.url(Target(name="t", address=Address(command=command)))
        assert SECRET not in str(refused.value)


def test_two_names_of_one_database_are_refused() -> None:
    targets = [
        Target(name=name, address=Address(variable=variable), database="db", schema=schema)
        for name, variable, schema in (("a", "A", "s"), ("b", "B", "s"), ("c", "B", "t"), ("d", "C", "s"))
    ]
    probes = {
        (Address(variable="A"), ""): Probe(server="h:1", identity="7 10:00"),
        (Address(variable="B"), ""): Probe(server="alias:1", identity="7 10:00"),
        (Address(variable="C"), ""): Probe(server="clone:1", identity="7 10:05"),
    }
    with pytest.raises(FilesInvalid, match="a and b are both the schema s of h:1/db; remove one"):
        assign_servers(targets, probes, filename="fleet.toml")
    assigned = assign_servers(targets[1:], probes, filename="fleet.toml")
    assert [target.server for target in assigned] == ["alias:1", "alias:1", "clone:1"]


def test_more_connections_than_a_server_has_left_are_refused() -> None:
    targets = tuple(Target(name=str(n), address=Address(variable="A"), server="h:1") for n in range(10))
    probes = {address_key(targets[0]): Probe(server="h:1", identity="7", connections_left=6)}
    refuse_too_many_connections([(Wave(per_server=6), targets), (Wave(per_server=9), targets[:3])], probes)
    with pytest.raises(UsageError, match=r"h:1 has 6 connections left, and wave all asks for 7; .*--per-server 3"):
        refuse_too_many_connections([(Wave(per_server=7), targets)], probes)


def test_no_server_gets_more_jobs_than_its_limit_and_every_job_runs_once() -> None:
    lock = threading.Lock()
    now: dict[str, int] = {}
    highest: dict[str, int] = {}
    done: list[tuple[str, int]] = []

    def work(job: tuple[str, int]) -> None:
        with lock:
            for key in (job[0], "all"):
                now[key] = now.get(key, 0) + 1
                highest[key] = max(highest.get(key, 0), now[key])
        time.sleep(0.001)
        with lock:
            done.append(job)
            for key in (job[0], "all"):
                now[key] -= 1

    jobs = [("slow" if number % 3 else "fast", number) for number in range(90)]
    with ThreadPoolExecutor(max_workers=20) as pool:
        dispatch = Dispatch[tuple[str, int], None](
            lambda job: pool.submit(work, job),
            jobs,
            server_of=lambda job: job[0],
            limits=Limits(at_a_time=5, per_server=3),
        )
        ended = [job for job, _ in dispatch.results()]
    assert sorted(done) == sorted(ended) == sorted(jobs)
    assert highest == {"slow": 3, "fast": 3, "all": 5}


def test_after_a_stop_no_job_begins_and_those_that_run_are_awaited() -> None:
    with ThreadPoolExecutor(max_workers=2) as pool:
        dispatch = Dispatch[int, int](
            lambda job: pool.submit(lambda: job),
            range(10),
            server_of=lambda _job: "",
            limits=Limits(at_a_time=2, per_server=2),
        )
        ended = []
        for job, future in dispatch.results():
            dispatch.stop()
            ended.append((job, future.result()))
        assert sorted(ended) == [(0, 0), (1, 1)]
        assert sorted(dispatch.not_started()) == list(range(2, 10))
