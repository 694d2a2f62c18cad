"""A password never shows: not in what a task prints, not in the arguments of a process, not in a file it leaves."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote
from uuid import uuid4

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from kernel.db.advisory_lock import advisory_lock_key
from tests.cli.conftest import PATIENCE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cli.conftest import Project

_SAMPLE_SECONDS = 0.02  # psql lives for a tenth of a second and more
_PROC = Path("/proc")

# Every task, in the ways in which it fails when the database answers.
RUNS = [
    ("db.status",),
    ("db.status", "--check", "--json"),
    ("--debug", "db.status"),
    ("db.verify",),
    ("db.verify", "--json"),
    ("db.migrate", "--dry-run"),
    ("db.migrate", "--to", "999"),
    ("db.migrate", "--lock-wait", "0"),
    ("db.migrate",),
    ("db.migrate", "--json"),
    ("--debug", "db.migrate"),
    ("db.rollback", "--revert"),
    ("db.rollback", "--revert", "--json"),
    ("db.rollback", "--steps", "9"),
    ("db.baseline", "--to", "001"),
    ("db.repair", "--accept", "001"),
    ("db.repair", "--accept", "003", "--json"),
    ("db.renumber", "001_role.sql"),
    ("db.new", "016_numbered"),
    ("db.start",),
    ("db.stop",),
    ("db.shell",),
]
# When it does not, a task fails before its flags matter: one run of each is enough.
ONE_OF_EACH = list({next(word for word in run if word.startswith("db.")): run for run in RUNS}.values())


@dataclass(kw_only=True)
class Seen:
    """A project, the password that must not be seen, and all that was seen of its runs."""

    project: Project
    mark: str
    environ: dict[str, str]
    printed: str = ""
    codes: dict[tuple[str, ...], int] = field(default_factory=dict)

    def run(self, *arguments: str) -> str:
        """Run `inv` to its end, with something for psql to do; what it printed."""
        ended = subprocess.run(
            [sys.executable, "-m", "invoke", *arguments],
            cwd=self.project.root,
            env=self.environ,
            input="SELECT pg_sleep(0.1);\nSELECT nothing;\n",
            capture_output=True,
            timeout=PATIENCE_SECONDS,
            check=False,
            encoding="utf-8",
        )
        self.codes[arguments] = ended.returncode
        self.printed += ended.stdout + ended.stderr
        return ended.stdout + ended.stderr

    def call(self, *arguments: str) -> str:
        """Run the same without a process of its own; what it printed."""
        ended = self.project.call(*arguments, **self.environ)
        self.codes[arguments] = ended.code
        self.printed += ended.out + ended.err
        return ended.out + ended.err

    def refute(self, arguments: list[str]) -> None:
        """Fail when the password was printed, was an argument of a process, or stands in a file we did not write."""
        assert "Traceback" not in self.printed
        assert [line for line in self.printed.splitlines() if self.mark in line] == []
        assert [one for one in arguments if self.mark in one] == []
        folders = (self.project.root, Path(self.environ["TMPDIR"]))
        left = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
        told = {path for path in left if self.mark.encode() in path.read_bytes()}
        assert {
            path for path in told if path.name != ".env" and path.parent.name not in ("migrations", "revert")
        } == set()


@contextmanager
def sampled(mark: str) -> Iterator[list[str]]:
    """The arguments of every process of the machine that hold `mark`, looked at all the time inside the block."""
    found: list[str] = []
    over = threading.Event()

    def sample() -> None:
        while not over.wait(_SAMPLE_SECONDS):
            found.extend(one for one in arguments_of_all() if mark in one)

    sampler = threading.Thread(target=sample)
    sampler.start()
    try:
        yield found
    finally:
        over.set()
        sampler.join()


def arguments_of_all() -> list[str]:
    if not _PROC.is_dir():
        return subprocess.run(("ps", "-axww", "-o", "args="), capture_output=True, text=True, check=True).stdout.split(
            "\n"
        )
    found = []
    for path in _PROC.glob("[0-9]*/cmdline"):
        try:
            found.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:  # it has ended
            continue
    return found


@pytest.fixture
def seen(project: Project, tmp_path: Path) -> Seen:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    environ = {"PATH": os.environ["PATH"], "HOME": str(project.root), "TMPDIR": str(temporary)}
    url = {"DATABASE_URL": make_conninfo(project.url, password=None)}
    return Seen(project=project, mark=f"marked{uuid4().hex}", environ=environ | url)


@pytest.fixture
def guarded(seen: Seen) -> Iterator[str]:
    """A superuser whom the server asks for the marked password, unlike everybody else."""
    project = seen.project
    name = f"{project.value('SELECT current_database()')}_guarded"
    before = project.value("SELECT pg_read_file(current_setting('hba_file'))")
    project.rows(
        f"SET password_encryption = 'scram-sha-256'; CREATE ROLE {name} LOGIN SUPERUSER PASSWORD '{seen.mark}'"
    )
    _admit(project, f"local all {name} scram-sha-256\n{before}")
    yield name
    _admit(project, before)
    project.rows(f"DROP OWNED BY {name}; DROP ROLE {name}")


def _admit(project: Project, rules: str) -> None:
    path = project.value("SELECT current_setting('hba_file')")
    project.connection.execute(
        psycopg.sql.SQL("COPY (SELECT unnest(string_to_array({}, E'\\n'))) TO {}").format(rules.rstrip("\n"), path)
    )
    loaded = project.value("SELECT pg_conf_load_time()")
    project.rows("SELECT pg_reload_conf()")
    project.until(f"SELECT pg_conf_load_time() > '{loaded}'")


def _url(conninfo: str, mark: str) -> str:
    """The conninfo as a URL, with the password where people write it."""
    parts = {name: quote(str(value), safe="") for name, value in conninfo_to_dict(conninfo).items()}
    return f"postgresql://{parts['user']}:{mark}@/{parts['dbname']}?host={parts['host']}&port={parts['port']}"


def _fill(project: Project, mark: str) -> None:
    """Files with the password in them, of which the second fails, and so does what undoes the first."""
    project.write("001_role.sql", f"CREATE TABLE one (password text DEFAULT '{mark}');\n")
    project.write("revert/001_role.sql", f"ALTER ROLE nobody_knows PASSWORD '{mark}';\n")
    project.write("002_role.sql", f"ALTER ROLE nobody_knows PASSWORD '{mark}';\n")


CONDITIONS = ["answers", "refuses", "is not there", "is written wrong"]


@pytest.mark.slow
@pytest.mark.parametrize("condition", CONDITIONS)
@pytest.mark.parametrize("way", ["URL", "keywords", "PGPASSWORD", ".env"])
def test_no_task_shows_the_password_whatever_becomes_of_it(seen: Seen, guarded: str, way: str, condition: str) -> None:
    project, mark = seen.project, seen.mark
    _fill(project, mark)
    conninfo = make_conninfo(project.url, user=guarded, password=mark)
    if condition == "is not there":
        conninfo = make_conninfo(conninfo, host="127.0.0.1", port=1)
    if condition == "refuses":
        project.rows(f"ALTER ROLE {guarded} PASSWORD 'another'")
    written = conninfo if way == "keywords" else _url(conninfo, mark)
    if way == "PGPASSWORD":
        written, seen.environ["PGPASSWORD"] = make_conninfo(conninfo, password=None), mark
    if condition == "is written wrong":
        written = written.replace("@", "/@") if "@" in written else f"'{written}"
    if way == ".env":
        (project.root / way).write_text(f"DATABASE_URL={written}\n")
        seen.environ["DATABASE_URL"] = ""
    else:
        seen.environ["DATABASE_URL"] = written
    seen.environ["KERNEL_STORAGE_MODE"] = "SUPABASE"
    with sampled(mark) as arguments:
        for run in RUNS if condition == "answers" else ONE_OF_EACH:
            yes = ("--yes",) if {"db.rollback", "db.baseline", "db.repair"} & {*run} else ()
            # Only a task that a server answers starts programs that could show it, and psql is started in any case.
            call = seen.run if condition == "answers" or run == ("db.shell",) else seen.call
            call(*run, *yes)
    seen.refute(arguments)
    codes = {code for run, code in seen.codes.items() if "db.migrate" in run}
    assert {"answers": 6, "refuses": 7, "is not there": 7, "is written wrong": 2}[condition] in codes
    assert 1 not in {code for run, code in seen.codes.items() if run != ("db.shell",)}


STATEMENTS = {
    "that fails": "ALTER ROLE nobody_knows PASSWORD '{}';",
    "with an error of syntax at it": "ALTER ROLE nobody_knows SET PASSWORD '{}';",
    "with an error behind it": "CREATE ROLE nobody_knows PASSWORD '{}' NOLOGON;",
    "in a block": "DO $$ BEGIN EXECUTE 'ALTER ROLE nobody_knows PASSWORD ''{}'''; END $$;",
    "put together": "DO $$ BEGIN EXECUTE format('ALTER ROLE nobody_knows PASSWORD %L', '{}'); END $$;",
    "outside of a transaction": "-- migrate: no-transaction\nALTER ROLE nobody_knows PASSWORD '{}';",
    "of a subscription": "CREATE SUBSCRIPTION s CONNECTION 'host=127.0.0.1 port=1 password={}' PUBLICATION p;",
    "of a subscription among others": "CREATE SUBSCRIPTION s CONNECTION'password={}' PUBLICATION p; SELECT 1;",
    "of a foreign server": "CREATE USER MAPPING FOR nobody_knows SERVER s OPTIONS (password '{}');",
    "that is not closed": "ALTER ROLE nobody_knows PASSWORD '{};",
    "for psql": "\\password {}",
}


@pytest.mark.parametrize("statement", STATEMENTS.values(), ids=STATEMENTS)
def test_the_password_in_a_statement_is_masked_in_text_and_json(seen: Seen, statement: str) -> None:
    seen.project.write("001_role.sql", statement.format(seen.mark))
    text = seen.call("db.migrate")
    document = seen.call("db.migrate", "--json")
    seen.refute([])
    assert set(seen.codes.values()) <= {2, 6}
    assert "001_role.sql" in text
    assert "001_role.sql" in document


def test_a_changed_password_is_masked_in_the_diff_of_drift(seen: Seen) -> None:
    project = seen.project
    identity = {f"GIT_{who}_{what}": "a@b" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    script = "DO $$ BEGIN IF false THEN ALTER ROLE r PASSWORD '{}'; END IF; END $$;\n"
    project.write("001_role.sql", script.format("before"))
    for command in (("git", "init", "-q"), ("git", "add", "migrations"), ("git", "commit", "-q", "-m", "x")):
        subprocess.run(command, cwd=project.root, env=seen.environ | identity, check=True)
    seen.call("db.migrate")
    project.write("001_role.sql", script.format(seen.mark))
    for run in (("db.migrate",), ("db.status",), ("db.verify", "--json")):
        assert "ALTER ROLE r PASSWORD '" in seen.call(*run)
    seen.refute([])


def test_the_password_in_a_blocker_s_query_is_masked(seen: Seen) -> None:
    project = seen.project
    project.write("001_one.sql", "SELECT 1;\n")
    seen.call("db.migrate")
    project.write("002_one.sql", "ALTER TABLE one ADD COLUMN a int;\n")
    project.rows("CREATE TABLE one (id int)")
    seen.environ |= {"KERNEL_LOCK_TIMEOUT": "200ms", "KERNEL_LOCK_RETRIES": "0"}
    with psycopg.connect(project.url) as other:
        other.execute(f"LOCK TABLE one; SELECT 'password={seen.mark}'".encode())
        assert "password=…" in seen.call("db.migrate")
    seen.refute([])


def test_psql_is_given_the_password_but_not_as_an_argument(seen: Seen, guarded: str) -> None:
    seen.environ["DATABASE_URL"] = _url(make_conninfo(seen.project.url, user=guarded), seen.mark)
    with sampled(seen.mark) as arguments, sampled(f"user={guarded}") as witness:
        assert "pg_sleep" in seen.run("db.shell")
    assert witness, "psql was never seen, so nothing is known of its arguments"
    seen.refute(arguments)


def test_a_holder_of_the_lock_is_named_without_a_password(seen: Seen) -> None:
    project = seen.project
    project.write("001_one.sql")
    with psycopg.connect(project.url, application_name="the other runner") as other:
        other.execute("SELECT pg_advisory_lock(%s)", (advisory_lock_key("public", "schema_migrations"),))
        seen.environ["DATABASE_URL"] = make_conninfo(project.url, password=seen.mark)
        assert "the other runner" in seen.call("db.migrate", "--lock-wait", "0", "--json")
    assert set(seen.codes.values()) == {5}
    seen.refute([])
