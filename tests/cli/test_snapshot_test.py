"""db.snapshot-test as people meet it: what it needs, what it refuses, what it says, and what it leaves alone."""

from __future__ import annotations

import gzip
import hashlib
import os
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import psycopg
import pytest
import zstandard
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tests.cli.conftest import SECRET
from tests.cli.test_secrets import sampled

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kernel.postgres.cluster import Server
    from tests.cli.conftest import Completed, Project

FIRST = "CREATE TABLE orders (id int PRIMARY KEY, total int);\n"
LEDGER = """
CREATE TABLE schema_migrations (version varchar(255) PRIMARY KEY, filename varchar(255) NOT NULL,
    applied_at timestamp NOT NULL DEFAULT now(), checksum varchar(64) NOT NULL)
"""
EDITED = "UPDATE schema_migrations SET checksum = 'another'"
HARMLESS = "ALTER TABLE orders ADD COLUMN IF NOT EXISTS note text;\n"
UNRECORDED = """\
production.sql: holds the table public.orders, but no schema_migrations; say which files made them: \
inv db.baseline --to VERSION, or --to 0 if none of the files did"""
SLOW = pytest.mark.slow
LOSS = "DELETE FROM orders WHERE id <= 3;\n"


@dataclass(kw_only=True)
class Rehearsals:
    """A project whose first migration is applied in production, a database of `server`, and one that is pending."""

    project: Project
    server: Server
    temporary: Path

    @property
    def embedded(self) -> Path:
        """Where the development server would keep its data, if anybody started it."""
        return self.project.root / "embedded"

    @property
    def production(self) -> str:
        return make_conninfo(self.project.url, password=SECRET)

    @property
    def name(self) -> str:
        """The name of production's database."""
        return str(conninfo_to_dict(self.production)["dbname"])

    @property
    def test_name(self) -> str:
        return f"{self.name}_tested"

    @property
    def test_db(self) -> str:
        return make_conninfo(self.production, dbname=self.test_name)

    def pending(self, script: str, version: str = "002") -> None:
        """Make this the script of a migration that is pending."""
        self.project.write(f"{version}_pending.sql", script)

    def dump(self, *options: str, name: str = "production.sql") -> Path:
        """A dump of production by pg_dump."""
        path = self.project.root / name
        database = make_conninfo(self.server.conninfo, dbname=self.name)
        command = [str(self.server.programs.bin / "pg_dump"), *options, f"--file={path}", f"--dbname={database}"]
        subprocess.run(command, check=True)
        return path

    def run(self, *flags: str | Path, **environ: str) -> Completed:
        """Rehearse to the end, in a process of its own."""
        return self._without_traces(self.project.ended(self.start(*flags, **environ)))

    def call(self, *flags: str | Path, **environ: str) -> Completed:
        """The same as `run`, as `Project.call` is the same as `inv`."""
        return self._without_traces(self.project.call(*self._arguments(flags), **self._environment(environ)))

    def start(self, *flags: str | Path, **environ: str) -> subprocess.Popen[str]:
        """Begin a rehearsal."""
        return self.project.start(*self._arguments(flags), **self._environment(environ))

    def _arguments(self, flags: tuple[str | Path, ...]) -> tuple[str, ...]:
        return ("db.snapshot-test", *map(str, flags))

    def _environment(self, environ: dict[str, str]) -> dict[str, str]:
        return {
            "DATABASE_URL": "",
            "TMPDIR": str(self.temporary),
            "KERNEL_DATA_DIR": str(self.embedded),
            "KERNEL_PG_BINDIR": str(self.server.programs.bin),
            **environ,
        }

    def _without_traces(self, ended: Completed) -> Completed:
        """Nothing is left in TMPDIR, and the embedded server was not started."""
        assert list(self.temporary.iterdir()) == []
        assert not self.embedded.exists()
        return ended

    def rows(self, database: str, query: str) -> list[tuple[Any, ...]]:
        """What a superuser sees in one of the server's databases."""
        with psycopg.connect(self.server.conninfo, dbname=database, autocommit=True) as connection:
            cursor = connection.execute(query.encode())
            return cursor.fetchall() if cursor.description else []


@pytest.fixture
def rehearsals(project: Project, server: Server) -> Iterator[Rehearsals]:
    first = project.write("001_first.sql", FIRST)
    project.rows(f"{FIRST} {LEDGER}; INSERT INTO orders SELECT i, i FROM generate_series(1, 100) AS i")
    checksum = hashlib.sha256(first.read_bytes()).hexdigest()
    project.rows(f"INSERT INTO schema_migrations VALUES ('001', '001_first.sql', now(), '{checksum}')")
    # Root's servers run as somebody else, who cannot get into pytest's own folders.
    with tempfile.TemporaryDirectory(prefix="rehearsals-") as temporary:
        Path(temporary).chmod(0o1777)
        it = Rehearsals(project=project, server=server, temporary=Path(temporary))
        it.pending(HARMLESS)
        yield it
    beside = f"SELECT datname FROM pg_database WHERE starts_with(datname, '{it.test_name}')"
    for (name,) in it.rows("postgres", beside):
        project.connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.mark.slow
@pytest.mark.parametrize("options", [(), ("--format=custom",), ("--format=directory",), ("--format=tar",)])
def test_a_pending_file_that_cannot_be_rehearsed_is_found_before_the_restore(
    rehearsals: Rehearsals, options: tuple[str, ...]
) -> None:
    rehearsals.pending("-- rehearse: rows odrers=-3\nDELETE FROM orders WHERE id <= 3;\n")
    result = rehearsals.run("--dump", rehearsals.dump(*options), "--jobs", "1")
    assert (result.code, result.out) == (2, "")
    assert "002_pending.sql:1: -- rehearse: rows: no table odrers; do you mean orders" in result.err
    assert "restoring" not in result.err
    rehearsals.pending("-- rehearse: rows orders=-3\nDELETE FROM orders WHERE id <= 3;\n")
    assert rehearsals.run("--dump", rehearsals.dump(*options, name="again"), "--fail-on", "never").code == 0


@pytest.mark.slow
@pytest.mark.parametrize("options", [(), ("--format=custom",)])
def test_schema_only_says_that_no_rows_were_rehearsed(rehearsals: Rehearsals, options: tuple[str, ...]) -> None:
    rehearsals.pending("CREATE TABLE IF NOT EXISTS another (id int);\n")
    dump = rehearsals.dump(*options)
    assert "--schema-only: no rows were restored" in rehearsals.run("--dump", dump, "--schema-only").err
    assert "no rows" not in rehearsals.run("--dump", dump).err


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/null").is_char_device(), reason="needs a device")
def test_a_device_is_no_place_for_a_report_and_stays_a_device(rehearsals: Rehearsals) -> None:
    result = rehearsals.call("--dump", rehearsals.dump(), "--report", "/dev/null")
    assert (result.code, result.out) == (2, "")
    assert "--report /dev/null: cannot be written: it is no ordinary file; name another place" in result.err
    assert Path("/dev/null").is_char_device()


@pytest.mark.slow
def test_the_pending_files_are_checked_before_a_restore_that_would_fail(rehearsals: Rehearsals) -> None:
    dump = rehearsals.dump()
    text = dump.read_text().replace(
        "CREATE TABLE public.orders", "CREATE TABLE public.x (i no_such_type);\n\nCREATE TABLE public.orders"
    )
    dump.write_text(text)
    rehearsals.pending("SELECT 'unterminated;\n")
    assert rehearsals.call("--dump", dump).code == 2
    rehearsals.pending(HARMLESS)
    assert rehearsals.call("--dump", dump).code == 7


def test_a_dump_is_rehearsed_and_the_whole_answer_is_on_stdout(rehearsals: Rehearsals) -> None:
    result = rehearsals.run("--dump", rehearsals.dump(), "--report", "page.html")
    assert (result.code, result.err) == (0, "")
    assert result.out.startswith("PASS ")
    assert "1 migration rehearsed on production.sql" in result.out
    assert result.out.endswith("report     page.html\n")
    assert "002_pending.sql" in (rehearsals.project.root / "page.html").read_text()


@pytest.mark.slow
def test_a_loss_fails_it_and_the_document_says_where(rehearsals: Rehearsals) -> None:
    rehearsals.pending(LOSS)
    result = rehearsals.run("--dump", rehearsals.dump(), "--json")
    assert (result.code, result.document["verdict"], result.document["restore"]["reused"]) == (8, "fail", False)
    (orders,) = [one for one in result.document["tables"] if one["table"] == "public.orders"]
    assert (orders["rows_before"], orders["rows_after"], orders["removed"]) == (100, 97, 3)
    assert [one["version"] for one in result.document["migrations"]] == ["002"]
    assert {(one["version"], one["severity"]) for one in result.document["reasons"]} == {("002", "error")}


@pytest.mark.slow
def test_rows_in_the_way_of_a_migration_are_counted_and_the_query_lists_them(rehearsals: Rehearsals) -> None:
    rehearsals.project.rows("UPDATE orders SET total = NULL WHERE id <= 7")
    rehearsals.pending("SELECT 1;\nALTER TABLE orders ALTER COLUMN total SET NOT NULL;\n")
    result = rehearsals.call("--dump", rehearsals.dump(), "--json")
    assert result.code == 8
    (run,) = result.document["migrations"]
    (violation,) = run["failed"]["violations"]
    assert violation["rows"] == 7
    assert len(rehearsals.project.rows(violation["query"])) == 7


@pytest.mark.slow
def test_with_nothing_pending_it_says_so_and_passes(rehearsals: Rehearsals) -> None:
    (rehearsals.project.migrations / "002_pending.sql").unlink()
    result = rehearsals.call("--dump", rehearsals.dump())
    assert (result.code, result.out) == (
        0,
        "nothing to rehearse: every migration is applied in production.sql\n",
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ((), "nothing to rehearse on: give a dump with --dump PATH, or set PROD_DB"),
        pytest.param(("--dump", "x", "--jobs", "0"), "--jobs 0: expected a whole number from 1", marks=SLOW),
        pytest.param(("--dump", "x", "--fail-on", "x"), "--fail-on x: expected error, warning or never", marks=SLOW),
        pytest.param(
            ("--dump", "x", "--max-block", "1s"), "--max-block 1s: expected a whole number from 0", marks=SLOW
        ),
        (("--dump", "x", "--report", "no/x.html"), "--report no/x.html: its folder does not exist; make it first"),
        (("--dump", "x", "--report", "x"), "--report x: that is the dump; name another file"),
        (("--dump", "x", "--queries", "no.sql"), "no.sql: cannot be read: No such file or directory"),
        (
            ("--dump", "x", "--queries", "pg_stat_statements"),
            "--queries pg_stat_statements: they are read from production; set PROD_DB, or give a file",
        ),
        (
            ("--dump", "x", "--suggest"),
            "--suggest: the files are written next to the report; name one with --report PATH",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused_before_any_work(
    rehearsals: Rehearsals, flags: tuple[str, ...], message: str
) -> None:
    result = rehearsals.call(*flags)
    assert (result.code, result.out, result.err) == (2, "", f"error: {message}\n")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(None, "no such file; give a dump that pg_dump wrote, a file or a folder", marks=SLOW),
        pytest.param(b"\0\1\2" * 1000, "neither SQL nor an archive of pg_dump", marks=SLOW),
        pytest.param(b"PGDMP\1\16", "cut short", marks=SLOW),
        (b"--\n-- PostgreSQL database dump\n--\n\n\\! touch owned\n", r"\!: a command of psql"),
        (b"--\n-- PostgreSQL database dump\n--\n\nCREATE TABLE a (id int);\n", "cut short"),
    ],
    ids=["missing", "garbage", "an archive's first bytes", "a command of psql", "cut short"],
)
def test_what_is_no_dump_is_refused_in_one_document(rehearsals: Rehearsals, text: bytes | None, message: str) -> None:
    path = rehearsals.project.root / "bad.dump"
    if text is not None:
        path.write_bytes(text)
    result = rehearsals.call("--dump", path, "--json")
    assert (result.code, result.error["code"]) == (7, "dump_unreadable")
    assert message in result.error["message"]
    assert "bad.dump" in result.error["message"]
    assert result.err == f"error: {result.error['message']}\n"
    assert not (rehearsals.project.root / "owned").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("prepare", "script", "code", "message"),
    [
        pytest.param(
            "",
            "-- rehearse: rows nosuch=+1\nSELECT 1;\n",
            2,
            "002_pending.sql:1: -- rehearse: rows: no table nosuch",
            marks=SLOW,
        ),
        ("", "SELECT 1;\n\\set a 1\n", 2, "002_pending.sql:2:1: \\set: psql's own commands do not run here"),
        pytest.param(EDITED, HARMLESS, 4, "001_first.sql: changed after it was applied", marks=SLOW),
        ("DROP TABLE schema_migrations", HARMLESS, 4, UNRECORDED),
    ],
    ids=["a declaration that names nothing", "a file that cannot be run", "drift", "no records"],
)
def test_what_db_migrate_would_refuse_is_refused_with_its_place(
    rehearsals: Rehearsals, prepare: str, script: str, code: int, message: str
) -> None:
    rehearsals.project.rows(prepare or "SELECT")
    rehearsals.pending(script)
    result = rehearsals.call("--dump", rehearsals.dump())
    assert (result.code, result.out) == (code, "")
    assert result.err.startswith(f"error: {message}")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("prepare", "script", "code", "message"),
    [
        ("", "SELECT 1;\n\\set a 1\n", 2, "002_pending.sql:2:1: \\set: psql's own commands do not run here"),
        ("", "-- rehearse: row orders=1\nSELECT 1;\n", 2, "002_pending.sql:1: -- rehearse: row: no such word"),
        (EDITED, HARMLESS, 4, "001_first.sql: changed after it was applied"),
    ],
)
def test_production_is_not_dumped_when_its_pending_files_cannot_run(
    rehearsals: Rehearsals, prepare: str, script: str, code: int, message: str
) -> None:
    rehearsals.project.rows(prepare or "SELECT")
    rehearsals.project.rows("CREATE ROLE ledger_reader LOGIN; GRANT SELECT ON schema_migrations TO ledger_reader")
    try:
        reading = make_conninfo(rehearsals.production, user="ledger_reader")
        rehearsals.pending(script)
        result = rehearsals.call(PROD_DB=reading)
        assert (result.code, result.out) == (code, "")
        assert result.err.startswith(f"error: {message}")
    finally:
        rehearsals.project.rows("DROP OWNED BY ledger_reader; DROP ROLE ledger_reader")


@pytest.mark.slow
@pytest.mark.parametrize("source", ["plain", "custom", "directory", "PROD_DB"])
def test_the_schema_alone_knows_what_is_applied_by_the_ledger_that_the_setting_names(
    rehearsals: Rehearsals, source: str
) -> None:
    rehearsals.project.rows(
        'CREATE SCHEMA "my app"; ALTER TABLE schema_migrations SET SCHEMA "my app";'
        'ALTER TABLE "my app".schema_migrations RENAME TO "the ledger";'
        # Of another service, which has applied 002.
        f"{LEDGER}; INSERT INTO schema_migrations VALUES ('002', '002_other.sql', now(), 'x')"
    )
    named = {"KERNEL_MIGRATIONS_TABLE": '"my app"."the ledger"'}
    given = {"PROD_DB": rehearsals.production} if source == "PROD_DB" else {}
    flags: list[str | Path] = [] if given else ["--dump", rehearsals.dump(f"--format={source}", name=source)]
    result = rehearsals.run("--schema-only", "--json", *flags, **named, **given)
    assert [one["version"] for one in result.document["migrations"]] == ["002"]
    rehearsals.pending("-- rehearse: row orders=1\nSELECT 1;\n")
    refused = rehearsals.run("--json", *flags, **named, **given)
    assert (refused.code, refused.error["line"]) == (2, 1)


@pytest.mark.slow
def test_test_db_is_overwritten_only_with_yes_and_stays_as_the_migrations_left_it(rehearsals: Rehearsals) -> None:
    dump = rehearsals.dump()
    rehearsals.rows("postgres", f"CREATE DATABASE {rehearsals.test_name}")
    rehearsals.rows(rehearsals.test_name, "CREATE TABLE precious (id int)")
    refused = rehearsals.call("--dump", dump, TEST_DB=rehearsals.test_db)
    assert refused.code == 2
    assert f"TEST_DB ({rehearsals.test_name}) would be overwritten and holds table precious; say so with --yes" in (
        refused.err
    )
    assert rehearsals.rows(rehearsals.test_name, "SELECT * FROM precious") == []

    assert rehearsals.call("--dump", dump, "--yes", TEST_DB=rehearsals.test_db).code == 0
    recorded = rehearsals.rows(rehearsals.test_name, "SELECT version FROM schema_migrations ORDER BY 1")
    assert recorded == [("001",), ("002",)]
    assert rehearsals.rows(rehearsals.test_name, "SELECT count(note), count(*) FROM orders") == [(0, 100)]
    assert rehearsals.rows(
        "postgres", f"SELECT datname FROM pg_database WHERE starts_with(datname, '{rehearsals.test_name}')"
    ) == [(rehearsals.test_name,)]


@pytest.mark.slow
@SLOW
@pytest.mark.parametrize("variable", ["PROD_DB", "DATABASE_URL", "MIGRATION_DATABASE_URL"])
@pytest.mark.parametrize("way", ["the same", "another host name", "another user", "a service"])
def test_production_is_never_overwritten_whatever_its_urls_say(
    rehearsals: Rehearsals, role: str, variable: str, way: str
) -> None:
    rehearsals.project.rows(f"ALTER ROLE {role} SUPERUSER")
    host = str(conninfo_to_dict(rehearsals.production)["host"])
    service = rehearsals.project.root / "services"
    service.write_text(f"[that]\nhost={host}\n")
    target = {
        "the same": rehearsals.production,
        "another host name": make_conninfo(rehearsals.production, host=f"{host}/"),
        "another user": make_conninfo(rehearsals.production, user=role),
        "a service": f"service=that dbname={rehearsals.name} user={role}",
    }[way]
    before = rehearsals.project.state()
    result = rehearsals.run(
        *("--yes", "--dump", rehearsals.dump()),
        **{variable: rehearsals.production, "TEST_DB": target, "PGSERVICEFILE": str(service)},
    )
    assert result.code == 7
    assert f"error: TEST_DB is the database that {variable} names" in result.err
    assert rehearsals.project.state() == before


@pytest.mark.slow
@SLOW
def test_what_could_not_be_restored_is_named_and_cannot_move_the_cursor(rehearsals: Rehearsals) -> None:
    dump = rehearsals.dump()
    hostile = 'CREATE TABLE public."a\x1b[2Jb" (id nosuch);\n\n'
    dump.write_text(dump.read_text().replace("CREATE TABLE public.orders", f"{hostile}CREATE TABLE public.orders"))
    result = rehearsals.run("--dump", dump)
    assert result.code == 7
    assert result.err.startswith("error: production.sql: 1 thing could not be restored:\n")
    assert 'CREATE TABLE public."a⟨U+001B⟩[2Jb" (id nosuch): type "nosuch" does not exist (42704)' in result.err
    assert "\x1b" not in result.err


@pytest.mark.slow
@SLOW
def test_an_unreachable_production_is_named_by_its_variable(rehearsals: Rehearsals) -> None:
    result = rehearsals.run(PROD_DB=make_conninfo(rehearsals.production, host="127.0.0.1", port=1))
    assert result.code == 7
    assert result.err.startswith("error: PROD_DB: connection failed")


@pytest.mark.slow
@SLOW
def test_what_speaks_against_test_db_is_said_before_production_is_dumped(rehearsals: Rehearsals) -> None:
    with psycopg.connect(rehearsals.production) as blocking:
        blocking.execute("LOCK TABLE orders")  # a dump would wait for it, and then fail
        result = rehearsals.run("--yes", PROD_DB=rehearsals.production, TEST_DB=rehearsals.production)
    assert result.code == 7
    assert "error: TEST_DB is the database that PROD_DB names" in result.err


@pytest.mark.slow
@SLOW
def test_the_environment_of_libpq_does_not_lead_to_another_database(rehearsals: Rehearsals, role: str) -> None:
    rehearsals.project.rows(f"ALTER ROLE {role} SUPERUSER")
    rehearsals.rows("postgres", f"CREATE DATABASE {role}")
    try:
        rehearsals.rows(role, "CREATE TABLE precious (id int)")
        host = conninfo_to_dict(rehearsals.server.conninfo)["host"]
        result = rehearsals.run(
            *("--dump", rehearsals.dump()),
            TEST_DB=f"host={host} user={role}",
            DATABASE_URL=rehearsals.project.url,
            PGDATABASE="template1",
        )
        assert result.code == 2
        assert f"TEST_DB ({role}) would be overwritten and holds table precious" in result.err
        assert rehearsals.rows(role, "SELECT * FROM precious") == []
    finally:
        rehearsals.rows("postgres", f"DROP DATABASE {role}")


@pytest.mark.slow
@SLOW
@pytest.mark.parametrize("form", ["plain", "custom", "directory", "tar", "plain.gz", "plain.zst"])
def test_every_format_of_pg_dump_gives_the_same_copy(rehearsals: Rehearsals, form: str) -> None:
    rehearsals.pending(LOSS)
    kind, _, compression = form.partition(".")
    dump = rehearsals.dump(f"--format={kind}", name=f"production.{kind}")
    if compression:
        compress = gzip.compress if compression == "gz" else zstandard.compress
        dump.write_bytes(compress(dump.read_bytes()))
    result = rehearsals.run("--dump", dump, "--json", "--jobs", "1")
    assert result.code == 8
    (orders,) = result.document["tables"]
    assert (orders["rows_before"], orders["removed"], orders["added"], orders["changed"]) == (100, 3, 0, 0)


@pytest.mark.slow
@SLOW
def test_a_role_that_may_only_read_suffices_and_production_is_not_written(rehearsals: Rehearsals, role: str) -> None:
    project = rehearsals.project
    mark = f"marked{uuid4().hex}"
    reading = make_conninfo(rehearsals.production, user=role, password=mark)
    refused = rehearsals.run(PROD_DB=reading)
    assert refused.code == 7
    assert f'GRANT SELECT ON ALL TABLES IN SCHEMA "public" TO "{role}"' in refused.err
    project.rows(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}")

    before, written = project.state(), _written(project)
    with sampled(mark) as shown:
        result = rehearsals.run("--json", "--report", "page.html", PROD_DB=reading)
    assert (result.code, shown) == (0, [])
    assert mark not in result.out + result.err + (project.root / "page.html").read_text()
    assert (project.state(), _written(project)) == (before, written)
    project.until("SELECT count(*) = 1 FROM pg_stat_activity WHERE datname = current_database()")  # the test's own


def _written(project: Project) -> Any:
    """Rows written in production, as its server counts them, and the log's end: nobody else is on the server."""
    project.rows("SELECT pg_stat_force_next_flush(); SELECT pg_stat_clear_snapshot()")
    return project.rows(
        "SELECT tup_inserted, tup_updated, tup_deleted, temp_bytes FROM pg_stat_database "
        "WHERE datname = current_database()"
    )


@pytest.mark.slow
@SLOW
def test_a_role_that_cannot_make_databases_is_told_what_it_needs(rehearsals: Rehearsals, role: str) -> None:
    result = rehearsals.run("--dump", rehearsals.dump(), TEST_DB=make_conninfo(rehearsals.test_db, user=role))
    assert result.code == 7
    assert f"{role} may not create databases" in result.err
    assert f"ALTER ROLE {role} CREATEDB, or leave TEST_DB empty for a throwaway server" in result.err


@pytest.mark.slow
@SLOW
def test_a_role_that_can_make_databases_suffices_for_test_db(rehearsals: Rehearsals, role: str) -> None:
    rehearsals.project.rows(f"ALTER ROLE {role} CREATEDB")
    dump = rehearsals.dump("--no-owner")
    result = rehearsals.run("--dump", dump, "--json", TEST_DB=make_conninfo(rehearsals.test_db, user=role))
    assert (result.code, result.document["verdict"]) == (0, "pass"), result.err
    owner = f"SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = '{rehearsals.test_name}'"
    assert rehearsals.rows("postgres", owner) == [(role,)]
    rehearsals.rows("postgres", f"DROP DATABASE {rehearsals.test_name}")


@pytest.mark.slow
@SLOW
def test_a_copy_of_prod_db_is_never_taken_for_production_as_it_is_later(rehearsals: Rehearsals) -> None:
    environ = {"PROD_DB": rehearsals.production, "TEST_DB": rehearsals.test_db}
    first = rehearsals.run("--keep", "--json", **environ)
    assert "the copy is not kept: PROD_DB is dumped again each time" in first.err
    rehearsals.project.rows("DELETE FROM orders WHERE id > 10")
    second = rehearsals.run("--json", **environ)
    assert not second.document["restore"]["reused"]
    assert [one["rows_before"] for one in second.document["tables"]] == [10]


@pytest.mark.slow
@SLOW
def test_a_kept_copy_is_cloned_the_next_time_and_can_be_forgotten(rehearsals: Rehearsals, tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root never keeps copies anywhere but in the cache of the system")
    cache = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    dump = rehearsals.dump()
    results = [rehearsals.run("--dump", dump, "--keep", "--json", **cache) for _ in range(2)]
    assert [(one.code, one.document["restore"]["reused"]) for one in results] == [(0, False), (0, True)]
    forgotten = rehearsals.run("--forget", "--json", **cache)
    assert (forgotten.code, forgotten.document["forgotten"]) == (0, ["production.sql"])
    assert rehearsals.run("--forget", **cache).out == "no copy is kept\n"
    assert not rehearsals.run("--dump", dump, "--json", **cache).document["restore"]["reused"]


@pytest.mark.slow
@SLOW
@pytest.mark.parametrize(
    ("script", "flags", "code"),
    [
        (LOSS, ("--fail-on", "never"), 0),
        (LOSS, ("--fail-on", "warning"), 8),
        (HARMLESS, ("--fail-on", "warning"), 0),
        ("ALTER TABLE orders ALTER COLUMN total TYPE bigint;\n", ("--max-block", "60000"), 0),
        ("ALTER TABLE orders ALTER COLUMN total TYPE bigint;\n", ("--max-block", "0"), 8),
    ],
)
def test_the_threshold_decides_what_fails(
    rehearsals: Rehearsals, script: str, flags: tuple[str, ...], code: int
) -> None:
    rehearsals.pending(script)
    result = rehearsals.run("--dump", rehearsals.dump(), *flags)
    assert (result.code, result.out.split()[0]) == (code, "FAIL" if code else "PASS")


@pytest.mark.slow
@SLOW
def test_two_rehearsals_at_once_do_not_meet(rehearsals: Rehearsals) -> None:
    rehearsals.pending("CREATE TABLE slept AS SELECT 1 AS one FROM pg_sleep(1);\n")
    dump = rehearsals.dump()
    children = [rehearsals.start("--dump", dump, "--json") for _ in range(2)]
    results = [rehearsals.project.ended(child) for child in children]
    assert [(one.code, one.document["verdict"]) for one in results] == [(0, "pass"), (0, "pass")]


@pytest.mark.slow
@SLOW
def test_a_test_db_in_use_by_another_rehearsal_is_busy(rehearsals: Rehearsals) -> None:
    rehearsals.pending("SELECT pg_sleep(60);\n")
    dump = rehearsals.dump()
    first = rehearsals.start("--dump", dump, TEST_DB=rehearsals.test_db)
    rehearsals.project.until(
        f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{rehearsals.test_name}' AND wait_event = 'PgSleep'"
    )
    second = rehearsals.project.ended(rehearsals.start("--dump", dump, "--json", TEST_DB=rehearsals.test_db))
    assert (second.code, second.error["code"]) == (5, "lock_busy")
    assert f"another rehearsal uses TEST_DB ({rehearsals.test_name})" in second.err
    first.terminate()
    assert rehearsals.project.ended(first).code == 143


@pytest.mark.slow
@SLOW
@pytest.mark.parametrize("source", ["plain", "custom", "directory", "PROD_DB"])
def test_the_schema_alone_still_knows_what_is_applied(rehearsals: Rehearsals, source: str) -> None:
    if source == "PROD_DB":
        result = rehearsals.run("--schema-only", "--json", PROD_DB=rehearsals.production)
    else:
        dump = rehearsals.dump(f"--format={source}", name=source)
        result = rehearsals.run("--schema-only", "--json", "--dump", dump)
    document = result.document
    assert [one["version"] for one in document["migrations"]] == ["002"]
    assert "not-rehearsed" in {finding["rule"] for finding in document["findings"]}
    assert [one["rows_before"] for one in document["tables"] if one["table"] == "public.orders"] == [0]


@pytest.mark.slow
@SLOW
def test_a_migration_that_makes_a_role_can_be_rehearsed(rehearsals: Rehearsals) -> None:
    rehearsals.pending("CREATE ROLE made_by_the_migration;\nGRANT SELECT ON orders TO made_by_the_migration;\n")
    result = rehearsals.run("--dump", rehearsals.dump(), "--json")
    assert (result.code, result.document["rerun_safe"]) == (0, None)


AS_OWNER = """\
DO $$ BEGIN IF current_user <> '{role}' THEN RAISE EXCEPTION 'run as %', current_user; END IF; END $$;
CREATE SCHEMA IF NOT EXISTS inner_schema;
ALTER TABLE orders ADD COLUMN IF NOT EXISTS note text;
CREATE TABLE IF NOT EXISTS made (id int);
"""


@pytest.mark.slow
@SLOW
@pytest.mark.parametrize("form", ["plain", "custom"])
def test_the_migrations_run_as_kernel_role(rehearsals: Rehearsals, role: str, form: str) -> None:
    rehearsals.project.rows(f"ALTER TABLE orders OWNER TO {role}; ALTER TABLE schema_migrations OWNER TO {role}")
    rehearsals.pending(AS_OWNER.format(role=role))
    rehearsals.project.write("revert/002_pending.sql", "DROP TABLE made; ALTER TABLE orders DROP COLUMN note;")
    rehearsals.pending(
        "-- migrate: no-transaction\nCREATE INDEX CONCURRENTLY IF NOT EXISTS o_total ON orders (total);", "003"
    )
    dump = rehearsals.dump(f"--format={form}")
    ended = rehearsals.run("--dump", dump, "--json", KERNEL_ROLE=role)
    assert (ended.code, ended.document["verdict"]) == (0, "pass"), ended.out
    assert "KERNEL_ROLE" not in ended.err
    assert [one["version"] for one in ended.document["migrations"]] == ["002", "003"]

    rehearsals.project.rows(f"ALTER TABLE orders OWNER TO {rehearsals.project.connection.info.user}")
    refused = rehearsals.run("--dump", rehearsals.dump(f"--format={form}"), "--json", KERNEL_ROLE=role)
    assert refused.code == 8
    (failed,) = [one["failed"] for one in refused.document["migrations"] if one.get("failed")]
    assert failed["message"] == "must be owner of table orders"
    assert f"the role {role} of KERNEL_ROLE has here what the dump grants it" in failed["hint"]


@pytest.mark.slow
@SLOW
def test_a_dump_that_does_not_name_kernel_role_is_rehearsed_as_the_owner_of_the_copy(
    rehearsals: Rehearsals, role: str
) -> None:
    ended = rehearsals.run("--dump", rehearsals.dump("--no-owner", "--no-privileges"), KERNEL_ROLE=role)
    assert ended.code == 0
    assert f"warning: KERNEL_ROLE: the dump names no role {role} as an owner or in a privilege" in ended.err


@pytest.mark.slow
def test_a_rename_over_two_phases_is_rehearsed_with_the_queries_of_both_versions(rehearsals: Rehearsals) -> None:
    project = rehearsals.project
    (project.migrations / "002_pending.sql").unlink()
    project.write(
        "002_add_amount.sql",
        "ALTER TABLE orders ADD COLUMN amount int;\n"
        "CREATE FUNCTION keep_equal() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN NEW.amount := coalesce(NEW.amount, NEW.total); RETURN NEW; END $$;\n"
        "CREATE TRIGGER keep_equal BEFORE INSERT ON orders FOR EACH ROW EXECUTE FUNCTION keep_equal();\n",
    )
    project.write(
        "003_fill_amount.sql",
        "-- rehearse: changes orders.amount\nUPDATE orders SET amount = total WHERE amount IS NULL;\n",
    )
    contract = (
        "-- migrate: phase=after\n-- migrate: allow=drop-column no version reads it\n"
        "DROP TRIGGER keep_equal ON orders;\nDROP FUNCTION keep_equal();\nALTER TABLE orders DROP COLUMN total;\n"
    )
    project.write("004_drop_total.sql", contract)
    project.write("005_notes.sql", "CREATE TABLE IF NOT EXISTS notes (id int);\n")  # passes 004
    old, new = project.root / "old.sql", project.root / "new.sql"
    old.write_text("SELECT total FROM orders WHERE id = $1;\nINSERT INTO orders (id, total) VALUES ($1, $2);\n")
    new.write_text("SELECT amount FROM orders WHERE id = $1;\nSELECT id FROM notes;\n")
    dump = rehearsals.dump()
    flags = ("--dump", dump, "--queries", old, "--queries-after", new, "--json")

    passed = rehearsals.run(*flags)
    broken = [one for one in passed.document["findings"] if one["rule"] == "breaks-running-version"]
    assert [one["message"] for one in broken if "old.sql" in one["message"] or "new.sql" in one["message"]] == []
    assert passed.code == 0, passed.document["findings"]
    assert [one["version"] for one in passed.document["migrations"]] == ["002", "003", "005", "004"]

    new.write_text("SELECT amount, total FROM orders;\nSELECT missing FROM orders;\n")
    failed = rehearsals.run(*flags)
    messages = [one["message"] for one in failed.document["findings"] if one["severity"] == "error"]
    assert failed.code == 8
    assert any("new.sql:1" in one and "does not exist (42703)" in one for one in messages)
    assert any("new.sql:2" in one and "between the phases" in one for one in messages)

    view = "CREATE VIEW amounts AS SELECT amount FROM orders;\n"
    project.write("005_notes.sql", f"CREATE TABLE IF NOT EXISTS notes (id int);\n{view}")
    in_order = rehearsals.run("--dump", dump, "--json")
    assert [one["version"] for one in in_order.document["migrations"]] == ["002", "003", "004", "005"]
    assert "would refuse a file after 004_drop_total.sql" in in_order.err
    (project.migrations / "005_notes.sql").unlink()

    project.write("004_drop_total.sql", contract.replace("-- migrate: phase=after\n", ""))
    at_once = rehearsals.run("--dump", dump, "--queries", old, "--json")
    assert at_once.code == 8
    assert any("old.sql:1" in one["message"] for one in at_once.document["findings"] if one["severity"] == "error")


@pytest.mark.slow
def test_repeatable_files_are_rehearsed_also_where_nothing_else_is_pending(rehearsals: Rehearsals) -> None:
    project = rehearsals.project
    (project.migrations / "002_pending.sql").unlink()
    view = "CREATE OR REPLACE VIEW amounts AS SELECT id, total FROM orders;\n"
    project.write("repeatable/amounts.sql", view)
    project.write("repeatable/sums.sql", "CREATE OR REPLACE VIEW sums AS SELECT sum(total) AS total FROM amounts;\n")
    url = make_conninfo(rehearsals.server.conninfo, dbname=rehearsals.name)
    assert project.call("db.migrate", DATABASE_URL=url).code == 0
    assert "nothing to rehearse" in rehearsals.run("--dump", rehearsals.dump()).out

    queries = project.root / "queries.sql"
    queries.write_text("SELECT total FROM sums;\nSELECT id FROM amounts;\n")
    project.write("repeatable/amounts.sql", "CREATE OR REPLACE VIEW amounts AS SELECT total, id FROM orders;\n")
    page = project.root / "page.html"
    passed = rehearsals.run("--dump", rehearsals.dump(), "--queries", queries, "--report", page, "--json")
    assert passed.code == 0, passed.err + passed.out
    assert [one["filename"] for one in passed.document["migrations"]] == [
        "repeatable/amounts.sql",
        "repeatable/sums.sql",
    ]
    assert "repeatable/sums.sql" in page.read_text()

    project.write("repeatable/amounts.sql", "CREATE OR REPLACE VIEW amounts AS SELECT total FROM orders;\n")
    broken = rehearsals.run("--dump", rehearsals.dump(), "--queries", queries, "--json")
    assert broken.code == 8
    assert any(
        "queries.sql:2" in one["message"] and one["version"] in ("amounts", "sums")
        for one in broken.document["findings"]
        if one["rule"] == "breaks-running-version"
    )

    project.write("002_index.sql", "CREATE INDEX orders_total ON orders (total);\n")
    suggested = rehearsals.run("--dump", rehearsals.dump(), "--suggest", "--report", page, "--json")
    (one,) = suggested.document["suggestions"]
    assert (one["filename"], one["proven"]) == ("002_index.sql", True)
