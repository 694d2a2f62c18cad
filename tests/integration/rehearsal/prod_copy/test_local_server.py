"""A copy on a local server: the template never changes, clones equal it, and nothing stays but what is kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from kernel.config.ledger_name import parse_ledger_name
from kernel.errors import DatabaseRefused
from kernel.rehearsal.prod_copy import DatabaseLocale, ProdCopy, open_copy
from tests.integration.rehearsal.prod_copy.conftest import Production, rows

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

pytestmark = pytest.mark.slow  # each makes databases of its own; the quick suite rehearses end to end in tests/cli

WAITING = "waiting for another rehearsal of the same dump, to use the copy that it keeps\n"
COUNT = "SELECT count(*) FROM orders"

# Properties of a database outside of its files; the setting that makes the template read-only is not cloned.
AROUND = """
SELECT pg_get_userbyid(datdba), datacl::text, encoding, datcollate, (
    SELECT array_agg((setrole::regrole, entry)::text ORDER BY setrole, place)
    FROM pg_db_role_setting, unnest(setconfig) WITH ORDINALITY AS settings (entry, place)
    WHERE setdatabase = d.oid AND entry NOT LIKE 'default_transaction_read_only%'
) FROM pg_database AS d WHERE datname = current_database()
"""

# Uses a copy with a clone until it is killed; prints the folder of the data.
USE = """
import sys
from pathlib import Path
import psycopg
from kernel.rehearsal.prod_copy import CopyRequest, CopyTarget, open_copy
from kernel.postgres.programs import find_programs

def restore(url):
    if sys.argv[2] == "restoring":
        wait(url)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE TABLE orders AS SELECT i AS id FROM generate_series(1, 1000) AS i")
    return ()

def wait(url):
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE TABLE scratch AS SELECT 1")
        connection.execute("CREATE ROLE made_by_a_migration")
        print(connection.execute("SHOW data_directory").fetchone()[0], flush=True)
    sys.stdin.read()

request = CopyRequest(
    digest="ab" * 32,
    name="prod.dump",
    programs=find_programs(Path(sys.argv[4])),
    target=CopyTarget(keep=sys.argv[3] == "keep", store_folder=Path(sys.argv[1])),
)
with open_copy(request, restore=restore) as copy, copy.clone("rehearsal") as clone:
    wait(clone.url)
"""


def folder_of(copy: ProdCopy) -> Path:
    return Path(rows(copy.url, "SHOW data_directory")[0][0]).parent


# Keeps a copy; the restore waits for a line of stdin.
KEEP = """
import sys
from pathlib import Path
import psycopg
from kernel.rehearsal.prod_copy import CopyRequest, CopyTarget, open_copy
from kernel.rehearsal.prod_copy.server_settings import GB
from kernel.postgres.programs import find_programs

def restore(url):
    print("restoring", flush=True)
    sys.stdin.readline()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE TABLE orders AS SELECT i AS id FROM generate_series(1, 1000) AS i")
    return ()

request = CopyRequest(
    digest="ab" * 32,
    name="prod.dump",
    programs=find_programs(Path(sys.argv[2])),
    memory_bytes=GB,
    target=CopyTarget(keep=True, store_folder=Path(sys.argv[1])),
    print_line=lambda line: print(line, flush=True),
)
with open_copy(request, restore=restore) as copy, copy.clone("rehearsal"):
    print("reused" if copy.restored.reused else "restored", flush=True)
"""


def test_a_dump_is_loaded_with_fast_settings_and_rehearsed_with_those_of_production(production: Production) -> None:
    show = "SELECT current_setting('wal_level'), current_setting('full_page_writes'), current_setting('autovacuum')"
    seen: list[Any] = []
    production.also = lambda connection: seen.append(connection.execute(show.encode()).fetchone())
    request = production.request()
    with open_copy(request, restore=production.restore) as copy:
        assert seen == [("minimal", "off", "off")]
        assert rows(copy.url, show) == [("replica", "on", "off")]
        copy.checkpoint()


def test_a_clone_can_be_changed_and_the_template_cannot(production: Production) -> None:
    with open_copy(production.request(), restore=production.restore) as copy:
        with copy.clone("rehearsal") as clone:
            rows(clone.url, "DELETE FROM orders WHERE id <= 10")
            assert rows(clone.url, COUNT) == [(990,)]
            assert rows(copy.url, COUNT) == [(1000,)]
            with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
                rows(copy.url, "DELETE FROM orders")
        with copy.clone("rehearsal") as again:
            assert rows(again.url, COUNT) == [(1000,)]
        assert copy.restored.size_bytes == rows(copy.url, "SELECT pg_database_size('golden')")[0][0]
        assert (copy.restored.reused, copy.restored.warnings) == (False, ("the extension zombodb is missing",))
        folder = folder_of(copy)
    assert not folder.exists()
    assert production.kept == []


def test_a_clone_has_the_settings_privileges_owner_and_locale_of_the_template(production: Production) -> None:
    def dress(connection: psycopg.Connection[Any]) -> None:
        for statement in (
            "CREATE ROLE boss",
            'CREATE ROLE "a ""hostile"" name"',
            'ALTER DATABASE golden SET search_path = "$user", public, "a, b"',
            "ALTER DATABASE golden SET app.tenant = 'x=y''z'",
            'ALTER ROLE "a ""hostile"" name" IN DATABASE golden SET work_mem = \'5MB\'',
            "ALTER DATABASE golden SET role = boss",
            "REVOKE ALL ON DATABASE golden FROM PUBLIC",
            'GRANT CONNECT, TEMPORARY ON DATABASE golden TO "a ""hostile"" name" WITH GRANT OPTION',
            "ALTER DATABASE golden OWNER TO boss",
        ):
            connection.execute(statement)

    production.also = dress
    request = production.request(
        settings={"TimeZone": "Europe/Vienna", "no_such_setting": "1"},
        locale=DatabaseLocale(encoding="LATIN1", collate="C", ctype="C"),
    )
    with open_copy(request, restore=production.restore) as copy, copy.clone('x"; DROP DATABASE golden; --') as clone:
        (template,) = rows(copy.url, AROUND)
        assert rows(clone.url, AROUND) == [template]
        assert template[0] == "boss"
        assert template[2:4] == (8, "C")
        assert len(template[4]) == 5
        assert rows(clone.url, "SELECT current_setting('TimeZone'), current_setting('search_path')") == [
            ("Europe/Vienna", '"$user", public, "a, b"')
        ]
        assert clone.warnings == ()
        assert ["no_such_setting" in warning for warning in copy.restored.warnings] == [False, True]


def test_clones_stand_side_by_side_and_roles_of_one_are_gone_for_the_next(production: Production) -> None:
    with open_copy(production.request(), restore=production.restore) as copy:
        with copy.clone("first") as first, copy.clone("second") as second:
            rows(first.url, "CREATE ROLE made_by_a_migration; CREATE TABLE here (i int)")
            assert rows(second.url, "SELECT to_regclass('here')") == [(None,)]
        with copy.clone("third") as third:
            rows(third.url, "CREATE ROLE made_by_a_migration")
            with pytest.raises(DatabaseRefused, match="the name of the clone third is taken"):
                copy.clone("third").__enter__()


def test_a_reader_of_the_template_is_named_when_it_is_cloned(
    production: Production, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kernel.rehearsal.prod_copy.databases._DISCONNECT_GRACE_SECONDS", 0.1)
    with (
        open_copy(production.request(), restore=production.restore) as copy,
        psycopg.connect(copy.url, application_name="the reader") as reader,
        pytest.raises(
            DatabaseRefused, match=rf"golden: other sessions .*pid {reader.info.backend_pid} \(postgres, the reader"
        ),
    ):
        copy.clone("rehearsal").__enter__()


def test_a_kept_copy_is_opened_without_restoring(production: Production) -> None:
    request = production.request(keep=True)
    with open_copy(request, restore=production.restore) as copy, copy.clone("rehearsal") as clone:
        rows(clone.url, "DROP TABLE orders; CREATE ROLE made_by_a_migration")
        rows(clone.url, "ALTER SYSTEM SET work_mem = '9MB'")
    assert len(production.kept) == 1
    with open_copy(production.request(), restore=production.restore) as copy, copy.clone("rehearsal") as clone:
        assert (copy.restored.reused, copy.restored.warnings) == (True, ("the extension zombodb is missing",))
        assert rows(clone.url, "SELECT count(*), current_setting('work_mem') FROM orders") == [(1000, "4MB")]
        assert rows(clone.url, "SELECT current_setting('wal_level'), current_setting('fsync')") == [("replica", "off")]
        assert rows(clone.url, "SELECT FROM pg_roles WHERE rolname = 'made_by_a_migration'") == []
    with open_copy(production.request(schema_only=True), restore=production.restore) as copy:
        assert not copy.restored.reused
    assert production.restores == 2
    assert production.printed == []


def test_copies_that_differ_in_rows_or_in_the_role_they_are_prepared_for_are_kept_apart(production: Production) -> None:
    request = production.request(keep=True)
    named = parse_ledger_name("billing.ledger")
    variants = [
        request,
        replace(request, role="app_owner"),
        replace(request, schema_only=True),
        replace(request, schema_only=True, ledger=named),
    ]
    assert len({one.variant for one in variants}) == len(variants)
    assert replace(request, ledger=named).variant == request.variant, "all rows are there, whatever the ledger"


def test_a_copy_in_use_is_not_shared(production: Production) -> None:
    with open_copy(production.request(keep=True), restore=production.restore) as first:
        with open_copy(production.request(), restore=production.restore) as second:
            assert folder_of(first) != folder_of(second)
            assert rows(second.url, COUNT) == [(1000,)]
        (line,) = production.printed
        assert "in use by another rehearsal" in line
    assert production.restores == 2
    assert len(production.kept) == 1


def test_of_two_processes_that_keep_a_copy_of_one_dump_the_second_waits_and_uses_the_first_ones(
    production: Production, begin: Callable[..., subprocess.Popen[str]]
) -> None:
    first, second = (begin(KEEP, production.place, production.programs.bin) for _ in range(2))
    assert first.stdout
    assert second.stdout
    restoring, waiting = sorted((first, second), key=lambda child: child.stdout.readline() != "restoring\n")  # type: ignore[union-attr]  # a pipe
    # The one that waits goes on when the other has ended, which needs its stdin.
    done = restoring.communicate("go on")
    assert done == ("restored\n", "")
    assert waiting.communicate("go on") == ("reused\n", "")
    assert (restoring.returncode, waiting.returncode) == (0, 0)
    assert len(production.kept) == 1


def test_a_process_that_keeps_a_copy_waits_for_one_that_uses_it_without_keeping(
    production: Production, begin: Callable[..., subprocess.Popen[str]]
) -> None:
    with open_copy(production.request(keep=True), restore=production.restore):
        pass
    with open_copy(production.request(), restore=production.restore):
        child = begin(KEEP, production.place, production.programs.bin)
        assert child.stdout
        assert child.stdout.readline() == WAITING
    assert child.communicate("go on") == ("reused\n", "")
    assert production.printed == []


def test_when_the_first_fails_the_second_restores_and_keeps_it(
    production: Production, begin: Callable[..., subprocess.Popen[str]]
) -> None:
    first, second = (begin(KEEP, production.place, production.programs.bin) for _ in range(2))
    restoring, waiting = sorted((first, second), key=lambda child: child.stdout.readline() != "restoring\n")  # type: ignore[union-attr]  # a pipe
    restoring.kill()
    restoring.wait()
    assert waiting.communicate("go on") == ("restoring\nrestored\n", "")
    assert len(production.kept) == 1


def test_a_copy_whose_roles_or_tablespaces_changed_is_not_kept(production: Production) -> None:
    with open_copy(production.request(keep=True), restore=production.restore) as copy:
        rows(copy.server_url, "ALTER ROLE postgres SET work_mem = '1MB'")
    assert production.kept == []
    assert production.printed == ["the copy of prod.dump is not kept: roles or tablespaces were changed"]


@pytest.mark.parametrize("error", [LookupError, KeyboardInterrupt])
def test_a_restore_that_fails_or_is_interrupted_leaves_nothing(
    production: Production, error: type[BaseException]
) -> None:
    def fail(_: object) -> None:
        raise error

    production.also = fail
    with pytest.raises(error), open_copy(production.request(keep=True), restore=production.restore):
        pytest.fail("there is nothing to open")
    assert production.kept == []


def test_an_interruption_in_the_block_keeps_the_copy_and_drops_the_clone(production: Production) -> None:
    request = production.request(keep=True)

    def rehearse() -> None:
        with open_copy(request, restore=production.restore) as copy, copy.clone("rehearsal"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rehearse()
    (kept,) = production.kept
    assert not next(production.place.glob(f"*/{kept}/data/PG_VERSION")).with_name("postmaster.pid").exists()
    with open_copy(request, restore=production.restore) as copy:
        assert rows(copy.url, "SELECT datname FROM pg_database WHERE datname = 'rehearsal'") == []
    assert production.restores == 1


def test_without_a_store_nothing_is_kept_and_a_warning_is_printed(production: Production) -> None:
    request = production.request(keep=True, store_folder=Path("/dev/null/nowhere"))
    with open_copy(request, restore=production.restore) as copy:
        assert rows(copy.url, COUNT) == [(1000,)]
    assert production.printed[0].startswith("warning: copies of production cannot be kept: ")


@pytest.mark.slow
def test_killed_while_it_is_used_the_copy_is_good_and_its_clones_are_gone(
    production: Production, begin: Callable[..., subprocess.Popen[str]]
) -> None:
    child = begin(USE, production.place, "using", "keep", production.programs.bin)
    assert child.stdout
    assert Path(child.stdout.readline().strip()).parent.name in production.kept
    child.kill()
    child.wait()
    with open_copy(production.request(), restore=production.restore) as copy:
        assert copy.restored.reused
        assert rows(copy.url, COUNT) == [(1000,)]
        left = "SELECT datname FROM pg_database WHERE datname = 'rehearsal' UNION ALL SELECT rolname FROM pg_roles"
        assert ("rehearsal",) not in (there := rows(copy.url, left))
        assert ("made_by_a_migration",) not in there
    assert production.restores == 0


@pytest.mark.slow
@pytest.mark.parametrize("keep", ["keep", "leave"])
def test_killed_while_it_is_made_the_copy_and_its_data_are_gone(
    production: Production, begin: Callable[..., subprocess.Popen[str]], keep: str
) -> None:
    child = begin(USE, production.place, "restoring", keep, production.programs.bin)
    assert child.stdout
    data = Path(child.stdout.readline().strip())
    assert data.exists()
    child.kill()
    child.wait()
    with open_copy(production.request(), restore=production.restore) as copy:
        assert not copy.restored.reused
    assert not data.exists()
    assert production.kept == []
