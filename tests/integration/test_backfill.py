"""Backfills: every row once, in batches that commit with their progress, from where the last run stopped."""

from __future__ import annotations

import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from kernel.apply.events import BatchCommitted, BatchesShrunk, MigrationRetrying
from kernel.apply.executor import WaitLimits
from kernel.db.connection import open_session
from kernel.db.ledger import find_ledger
from kernel.errors import Drift, FilesInvalid, LockBusy
from kernel.operations.migrate import MigrateOptions, prepare_migrate
from kernel.operations.migrate_sql import migrate_sql
from kernel.operations.repair import restart_file
from kernel.plan import VersionState, read_status

if TYPE_CHECKING:
    from kernel.apply.events import Event
    from tests.integration.conftest import Project

HEAD = "-- migrate: batch=100 by=t.id pause=0\n"
BACKFILL = HEAD + "UPDATE t SET b = a + 1 WHERE b IS NULL;\n"
PROGRESS = "schema_migrations_progress"
# Each change of a row leaves a row in the log, with its transaction.
AUDIT = """
CREATE TABLE log (id text, b int, xid xid8 DEFAULT pg_current_xact_id());
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
  $$ BEGIN INSERT INTO log (id, b) VALUES (NEW.id::text, NEW.b); RETURN NEW; END $$;
CREATE TRIGGER note AFTER UPDATE ON t FOR EACH ROW EXECUTE FUNCTION note();
"""
ONCE = "SELECT count(*), count(DISTINCT id), count(DISTINCT xid) FROM log"


@pytest.fixture(autouse=True)
def _table(project: Project) -> None:
    """A migrated database with a table `t` of 1,000 rows with gaps in their keys."""
    rows = "INSERT INTO t (id, a) SELECT g * g, g FROM generate_series(1, 1000) g;"
    project.put("001_t.sql", f"CREATE TABLE t (id bigint PRIMARY KEY, a int, b int);{rows}{AUDIT}")
    project.migrate()


def stop_after(project: Project, batches: int) -> None:
    """Let runs fail after so many batches, as if the process had ended."""
    left = batches

    def react(event: Event) -> None:
        nonlocal left
        if isinstance(event, BatchCommitted):
            left -= 1
            if not left:
                raise _Stopped

    project.react = react


class _Stopped(Exception):
    pass


def stop(project: Project, batches: int) -> None:
    stop_after(project, batches)
    with pytest.raises(_Stopped):
        project.migrate()
    project.react = lambda _event: None


def test_every_row_is_changed_once_in_a_transaction_for_each_batch(project: Project) -> None:
    project.put("002_b.sql", BACKFILL)
    result = project.migrate()
    assert project.rows(ONCE) == [(1000, 1000, 10)]
    assert project.rows("SELECT count(*) FROM t WHERE b = a + 1") == [(1000,)]
    assert project.recorded() == ["001", "002"]
    assert project.rows(f"SELECT * FROM {PROGRESS}") == []
    assert result.applied[0].statements == 1
    assert re.fullmatch(r"10 batches of \S+ m?s, \S+ m?s at most", result.applied[0].note)
    assert [event.walk.percent for event in project.events if isinstance(event, BatchCommitted)][-1] == 100
    assert project.rows("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == [(0,)]


def test_the_record_is_of_the_transaction_of_the_last_batch(project: Project) -> None:
    project.put("002_b.sql", BACKFILL)
    project.migrate()
    assert project.rows(
        "SELECT r.xmin = max(l.xid)::xid FROM schema_migrations r, log l WHERE version = '002' GROUP BY r.xmin"
    ) == [(True,)]


def test_a_run_that_stopped_is_partial_and_the_next_goes_on_after_its_last_batch(project: Project) -> None:
    project.put("002_b.sql", BACKFILL)
    project.rows("ANALYZE t")
    stop(project, 3)
    assert project.rows(ONCE) == [(300, 300, 3)]
    assert project.recorded() == ["001"]
    assert project.states()["002"] is VersionState.PARTIAL
    with open_session(project.url) as session:
        (entry,) = [one for one in read_status(session, project.files()).plan.entries if one.partial]
    assert str(entry.partial) == "30 % of t.id; the next run goes on from there"
    result = project.migrate()
    assert project.rows(ONCE) == [(1000, 1000, 10)]
    assert re.fullmatch(r"7 batches of \S+ m?s, .* at most, went on from 30 % of t.id", result.applied[0].note)


KEYS = {
    "integer": "g * 3 - 1000",
    "smallint": "g",
    "bigint": "g::bigint << 40",
    "numeric": "g / 7.0",
    "text": "md5(g::text) || '\\''",
    'varchar(40) COLLATE "C"': "md5(g::text)",
    "char(40)": "md5(g::text)",
    "uuid": "md5(g::text)::uuid",
    "date": "date '0044-03-15 BC' + g",
    "timestamp": "timestamp '2024-01-01' + g * interval '1.000001 s'",
    "timestamptz": "timestamptz '1890-01-01 00:00:00.000001+00' + g * interval '1 s'",
    "positive": "g",
}


USUAL_KEYS = ("text", "uuid", "timestamptz")


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=() if kind in USUAL_KEYS else pytest.mark.slow) for kind in KEYS]
)
def test_keys_of_every_ordinary_type_are_walked(project: Project, kind: str) -> None:
    project.rows("SET datestyle = 'German'; CREATE DOMAIN positive AS int CHECK (VALUE > 0)")
    project.rows(
        f'CREATE TABLE k ("Key" {kind} PRIMARY KEY, b int); '
        f"INSERT INTO k SELECT {KEYS[kind].replace(chr(92) + chr(39), chr(39) * 2)} FROM generate_series(1, 250) g"
    )
    project.put("002_k.sql", '-- migrate: batch=100 by=k."Key" pause=0\nUPDATE k SET b = coalesce(b, 0);\n')
    stop(project, 1)
    other = project.reached(options="-c DateStyle=SQL,DMY -c TimeZone=Asia/Kolkata -c extra_float_digits=0")
    assert other.migrate().applied[0].note.startswith("2 batches ")
    assert project.rows("SELECT count(*) FROM k WHERE b = 0") == [(250,)]


def test_rows_of_an_equal_key_are_of_one_batch_whatever_its_name_is(project: Project) -> None:
    project.rows(
        'CREATE TABLE "user" ("order" int NOT NULL, b int);'
        'INSERT INTO "user" SELECT g / 7 FROM generate_series(0, 999) g; CREATE INDEX ON "user" ("order", b)'
    )
    project.put("002_k.sql", '-- migrate: batch=10 by=user.order pause=0\nUPDATE "user" SET b = 1 WHERE b IS NULL;\n')
    project.migrate()
    assert project.rows('SELECT count(*) FROM "user" WHERE b IS NULL') == [(0,)]
    split = 'SELECT FROM "user" GROUP BY "order" HAVING count(DISTINCT xmin::text) > 1'
    assert project.rows(f"SELECT count(*) FROM ({split}) x") == [(0,)]


@pytest.mark.parametrize("rows", [0, pytest.param(1, marks=pytest.mark.slow), 100, 101])
def test_a_table_of_few_rows_is_walked_to_its_end(project: Project, rows: int) -> None:
    project.rows(f"DELETE FROM t WHERE a > {rows}")
    project.put("002_b.sql", BACKFILL)
    project.migrate()
    assert project.rows("SELECT count(*) FROM log") == [(rows,)]
    assert project.recorded() == ["001", "002"]


@pytest.mark.slow
def test_the_partitions_of_a_table_are_walked_together(project: Project) -> None:
    project.rows(
        "CREATE TABLE p (id int PRIMARY KEY, b int) PARTITION BY HASH (id);"
        "CREATE TABLE p0 PARTITION OF p FOR VALUES WITH (MODULUS 2, REMAINDER 0);"
        "CREATE TABLE p1 PARTITION OF p FOR VALUES WITH (MODULUS 2, REMAINDER 1);"
        "INSERT INTO p SELECT generate_series(1, 500)"
    )
    project.put("002_p.sql", "-- migrate: batch=100 by=p.id pause=0\nUPDATE p SET b = 1;\n")
    assert project.migrate().applied[0].note.startswith("5 batches ")
    assert project.rows("SELECT count(*) FROM p WHERE b = 1") == [(500,)]


def test_rows_are_deleted_and_copied_in_batches_too(project: Project) -> None:
    project.rows("CREATE TABLE c (id bigint PRIMARY KEY, a int)")
    copy = "INSERT INTO c (id, a) SELECT o.id, o.a FROM t AS o WHERE o.a > 100 OR o.a < 50 ON CONFLICT DO NOTHING;\n"
    project.put("002_copy.sql", HEAD + copy)
    project.put("003_delete.sql", HEAD + "DELETE FROM t o USING c WHERE c.id = o.id\n")
    project.migrate()
    assert project.rows("SELECT count(*), (SELECT count(*) FROM t) FROM c") == [(949, 51)]


@pytest.mark.slow
def test_rows_that_are_inserted_meanwhile_are_left_to_the_application(project: Project) -> None:
    project.put("002_b.sql", BACKFILL)

    def react(event: Event) -> None:
        if isinstance(event, BatchCommitted):
            project.rows("INSERT INTO t (id, a) SELECT max(id) + 1, 0 FROM t")

    project.react = react
    project.migrate()
    assert project.rows("SELECT count(*), count(b) FROM t") == [(1010, 1000)]


def test_a_statement_or_key_that_changed_between_two_runs_is_drift_and_a_batch_size_is_not(project: Project) -> None:
    path = project.put("002_b.sql", BACKFILL)
    stop(project, 1)
    path.write_text(BACKFILL.replace("a + 1", "a + 2"))
    with pytest.raises(Drift, match=r"002_b.sql: the backfill, of which .* % of t.id ran before, .* --restart 002"):
        project.migrate()
    path.write_text(BACKFILL.replace("batch=100", "batch=450"))
    assert project.migrate().applied[0].note.startswith("2 batches ")
    assert project.rows(ONCE) == [(1000, 1000, 3)]


def test_a_partial_backfill_that_was_renumbered_is_refused(project: Project) -> None:
    path = project.put("002_b.sql", BACKFILL)
    stop(project, 1)
    path.rename(project.folder / "003_b.sql")
    with pytest.raises(Drift, match=r"003_b.sql: what ran of it as version 002 \(.* % of t.id\) would run again"):
        project.migrate()


def test_restarting_begins_with_the_first_row_again(project: Project) -> None:
    project.put("002_b.sql", HEAD + "UPDATE t SET b = a + 1;\n")
    stop(project, 4)
    with open_session(project.url) as session:
        restart_file(session, project.files(), restart="002", lock_wait_seconds=0, waiting=lambda _holder: None)
    project.migrate()
    assert project.rows("SELECT count(*), count(DISTINCT id) FROM log") == [(1400, 1000)]


def test_an_error_names_its_place_what_is_committed_and_where_the_next_run_goes_on(project: Project) -> None:
    path = project.put("002_b.sql", HEAD + "UPDATE t\nSET b = 1 / (a - 250)\nWHERE b IS NULL;\n")
    project.rows("ANALYZE t")
    failed = project.failure()
    assert (failed.failure.line, failed.failure.sqlstate) == (2, "22012")
    assert failed.aftermath == (
        "20 % of t.id, the batches up to the key 40000, committed and kept; the next run goes on from there"
    )
    assert project.rows("SELECT count(*) FROM log") == [(200,)]
    project.rows(f"DELETE FROM {PROGRESS}")
    path.write_text(HEAD + "UPDATE t SET b = 1 WHERE q IS NULL;\n")
    failed = project.failure()
    assert (failed.failure.line, failed.failure.column) == (2, 26)
    assert failed.aftermath == "rolled back: no batch is committed, and the next run begins with the first"
    assert project.states()["002"] is VersionState.PENDING


def test_of_two_runners_one_walks_at_a_time_and_every_row_is_changed_once(project: Project) -> None:
    project.put("002_b.sql", BACKFILL)
    with ThreadPoolExecutor(4) as pool:
        results = [future.result() for future in [pool.submit(project.migrate) for _ in range(4)]]
    assert sum(len(result.applied) for result in results) == 1
    assert project.rows(ONCE) == [(1000, 1000, 10)]


def test_a_runner_without_the_lock_does_not_go_on_where_another_one_did(project: Project) -> None:
    """The progress, not the lock alone, decides who commits a batch."""
    project.put("002_b.sql", BACKFILL)

    def react(event: Event) -> None:
        if isinstance(event, BatchCommitted) and event.walk.rows == 200:
            project.rows(f"UPDATE {PROGRESS} SET updated_at = now()")

    project.react = react
    with pytest.raises(LockBusy, match=r"its progress in public.schema_migrations_progress is not as this "):
        project.migrate()
    assert project.rows(ONCE) == [(200, 200, 2)]
    project.react = lambda _event: None
    project.migrate()
    assert project.rows(ONCE) == [(1000, 1000, 10)]


@pytest.mark.slow
def test_a_session_that_waits_for_a_batch_makes_the_next_ones_smaller(
    project: Project, other: psycopg.Connection[Any]
) -> None:
    project.rows(
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(1); RETURN NEW; END $$"
    )
    project.rows("CREATE TRIGGER slow BEFORE UPDATE ON t FOR EACH ROW WHEN (OLD.id = 2500) EXECUTE FUNCTION slow()")
    project.put("002_b.sql", BACKFILL.replace("batch=100", "batch=400"))

    def write() -> None:
        project.until("SELECT FROM pg_stat_activity WHERE wait_event = 'PgSleep'")
        other.execute("UPDATE t SET a = a WHERE id = 1")
        other.commit()

    writer = threading.Thread(target=write)
    writer.start()
    project.migrate()
    writer.join()
    (shrunk,) = [event for event in project.events if isinstance(event, BatchesShrunk)]
    assert (shrunk.waiting_sessions, shrunk.rows) == (1, 200)
    sizes = [event.walk.rows for event in project.events if isinstance(event, BatchCommitted)]
    assert sizes[:2] == [400, 600]


def test_a_batch_that_finds_a_locked_row_is_tried_again_with_fewer_rows(
    project: Project, other: psycopg.Connection[Any]
) -> None:
    other.execute("SELECT FROM t WHERE a = 50 FOR UPDATE")
    project.put("002_b.sql", "-- migrate: lock_timeout=50ms\n" + BACKFILL.replace("batch=100", "batch=400"))

    def react(event: Event) -> None:
        if isinstance(event, MigrationRetrying) and event.attempt == 2:
            other.rollback()

    project.react = react
    project.waits = WaitLimits(lock_wait_seconds=10, lock_retries=3, retry_pause_seconds=0.01)
    project.migrate()
    assert next(event.walk.rows for event in project.events if isinstance(event, BatchCommitted)) == 100
    assert project.rows("SELECT count(DISTINCT id) FROM log WHERE b IS NOT NULL") == [(1000,)]


@pytest.mark.slow
def test_a_table_that_another_session_has_locked_is_waited_for_with_the_lock_timeout(
    project: Project, other: psycopg.Connection[Any]
) -> None:
    other.execute("LOCK TABLE t")
    project.put("002_b.sql", "-- migrate: lock_timeout=50ms\n" + BACKFILL)

    def react(event: Event) -> None:
        if isinstance(event, MigrationRetrying) and event.attempt == 2:
            other.rollback()

    project.react = react
    project.waits = WaitLimits(lock_wait_seconds=10, lock_retries=3, retry_pause_seconds=0.01)
    project.migrate()
    assert project.rows(ONCE) == [(1000, 1000, 10)]


@pytest.mark.slow
def test_the_pause_is_as_long_as_the_batch_or_as_the_file_says(project: Project) -> None:
    project.put("002_b.sql", BACKFILL.replace("batch=100", "batch=400").replace("pause=0", "pause=300ms"))
    began = time.monotonic()
    project.migrate()
    assert time.monotonic() - began > 0.6


REFUSED = {
    "by=nothing.id|UPDATE nothing SET b = 1": ":1: by=nothing.id: there is no table nothing",
    "by=t.nothing|UPDATE t SET b = 1": ":1: by=t.nothing: t has no column nothing",
    "by=t.a|UPDATE t SET b = 1": ":1: by=t.a: no valid B-tree index begins with it, ",
    "by=n.k|UPDATE n SET b = 1": ":1: by=n.k: there are rows in which it is NULL, which are in no range; ",
    "by=n.p|UPDATE n SET b = 1": ":1: by=n.p: keys of type point are not walked; ",
    "by=n.part|UPDATE n SET b = 1": ":1: by=n.part: no valid B-tree index begins with it, ",
    "by=v.id|UPDATE v SET b = 1": ":1: by=v.id: v is a view; name a table",
    "by=app.t.id|UPDATE t SET b = 1": ":1: by=app.t.id: t in the statement is another table",
    "by=t.id|UPDATE t SET b = mine(a)": ":2:18: mine() is VOLATILE: ",
    "by=t.id|UPDATE t SET b = 1 WHERE mine(a) > 1": ":2:26: mine() is VOLATILE: ",
    "by=t.id|INSERT INTO n (k) SELECT count(*) FROM t ON CONFLICT (k) DO NOTHING": (
        ":2:26: count() would have a value for each range; "
    ),
    "by=t.id|INSERT INTO log (b) SELECT a FROM t ON CONFLICT DO NOTHING": (
        ":2:1: no unique key of log is of the columns b, so that ON CONFLICT never applies "
    ),
}


def test_what_the_database_has_against_backfills_is_refused_before_anything_runs(project: Project) -> None:
    project.rows(
        "CREATE TABLE n (k int UNIQUE, p point, part int, b int); INSERT INTO n VALUES (1), (NULL);"
        "CREATE INDEX ON n USING gist (p); CREATE INDEX ON n (part) WHERE part > 0; CREATE VIEW v AS SELECT * FROM t;"
        "CREATE SCHEMA app; CREATE TABLE app.t (id int PRIMARY KEY);"
        "CREATE FUNCTION mine(int) RETURNS int LANGUAGE sql AS 'SELECT 1'"
    )
    project.put("002_c.sql", "CREATE TABLE unrelated ();\n")
    for number, case in enumerate(REFUSED, start=3):
        words, statement = case.split("|")
        project.put(f"{number:03}_b.sql", f"-- migrate: batch=100 {words}\n{statement};\n")
    with pytest.raises(FilesInvalid) as refused:
        project.migrate()
    found = [str(problem) for problem in refused.value.problems]
    assert len(found) == len(REFUSED)
    for number, (problem, expected) in enumerate(zip(found, REFUSED.values(), strict=True), start=3):
        assert problem.startswith(f"{number:03}_b.sql{expected}")
    assert project.recorded() == ["001"]


@pytest.mark.slow
def test_a_key_that_is_null_is_refused_too_where_a_lock_kept_it_from_being_seen(project: Project) -> None:
    project.rows("CREATE TABLE n (k int UNIQUE, b int); INSERT INTO n VALUES (1), (NULL)")
    project.put("002_b.sql", "-- migrate: batch=100 by=n.k\nUPDATE n SET b = 1;\n")
    with psycopg.connect(project.url) as other:
        other.execute("LOCK TABLE n")
        timer = threading.Timer(3, other.rollback)  # the looks before and in the run wait for a second each
        timer.start()
        try:
            failed = project.failure(waits=replace(project.waits, lock_timeout_ms=10_000))
        finally:
            timer.join()
    assert str(failed).startswith("by=n.k: there are rows in which it is NULL, which are in no range; ")
    assert project.recorded() == ["001"]
    assert project.rows("SELECT count(*) FROM n WHERE b IS NOT NULL") == [(0,)]


def test_a_key_that_an_earlier_pending_file_makes_is_looked_at_before_the_first_batch(project: Project) -> None:
    project.put("002_k.sql", "CREATE TABLE k (id int PRIMARY KEY, b int); INSERT INTO k VALUES (1);")
    project.put("003_b.sql", "-- migrate: batch=100 by=k.id\nUPDATE k SET b = 1;\n")
    project.put("004_n.sql", "ALTER TABLE k ADD c int; INSERT INTO k VALUES (2);")
    path = project.put("005_b.sql", "-- migrate: batch=100 by=k.c\n\nUPDATE k SET b = 2;\n")
    failed = project.failure()
    assert (failed.failure.file, failed.failure.line) == ("005_b.sql", 1)
    assert str(failed).startswith("by=k.c: no valid B-tree index begins with it")
    assert project.recorded() == ["001", "002", "003", "004"]
    path.write_text(path.read_text().replace("k.c", "k.id"))
    project.migrate()
    assert project.rows("SELECT DISTINCT b FROM k") == [(2,)]


def test_a_backfill_is_refused_in_a_single_transaction(project: Project) -> None:
    project.put("002_b.sql", BACKFILL)
    with pytest.raises(FilesInvalid, match="runs outside of a transaction, which --single-transaction rules out"):
        project.migrate(single_transaction=True)


@pytest.mark.slow
def test_a_volatile_function_is_accepted_where_the_condition_or_the_file_protects_it(project: Project) -> None:
    project.rows("CREATE FUNCTION mine(int) RETURNS int LANGUAGE sql AS 'SELECT 1'")
    project.put("002_b.sql", HEAD + "UPDATE t SET b = mine(a) WHERE b IS NULL;\n")
    allowed = "-- migrate: allow=range-not-repeatable mine() is a constant\n"
    project.put("003_b.sql", HEAD + allowed + "UPDATE t SET b = mine(b);\n")
    project.migrate()
    assert project.rows("SELECT count(*) FROM log") == [(2000,)]


def _script(project: Project) -> str:
    with open_session(project.url) as session:
        options = MigrateOptions()
        prepared = prepare_migrate(session, project.files(), options)
        return b"".join(migrate_sql(session, prepared, options)).decode()


def test_the_sql_of_a_dry_run_does_what_the_run_does(project: Project) -> None:
    project.put("002_b.sql", BACKFILL)
    script = _script(project)
    assert "UPDATE t SET b = a + 1 WHERE(b IS NULL) AND t.id <= 10000;" in script
    assert project.rows("SELECT count(*) FROM log") == [(0,)]
    project.rows(script)
    assert project.rows(ONCE) == [(1000, 1000, 2)]
    assert project.recorded() == ["001", "002"]


def test_the_sql_of_a_dry_run_of_a_table_to_come_is_the_whole_statement(project: Project) -> None:
    project.put("002_k.sql", "CREATE TABLE k (id int PRIMARY KEY, b int); INSERT INTO k VALUES (1);")
    project.put("003_b.sql", "-- migrate: batch=100 by=k.id\nUPDATE k SET b = 1\n-- all of them")
    project.rows(_script(project))
    assert project.rows("SELECT b FROM k") == [(1,)]
    assert project.recorded() == ["001", "002", "003"]


def test_a_statement_that_changes_the_ledger_through_a_trigger_is_rolled_back(project: Project) -> None:
    project.rows(
        "CREATE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN DELETE FROM schema_migrations; RETURN NEW; END $$;"
        "CREATE TRIGGER meddle AFTER UPDATE ON t FOR EACH ROW WHEN (OLD.a = 150) EXECUTE FUNCTION meddle()"
    )
    project.put("002_b.sql", BACKFILL)
    assert "it changes the records in public.schema_migrations; leave that table to the runner" in str(
        project.failure()
    )
    assert project.recorded() == ["001"]
    assert project.rows("SELECT count(*) FROM log") == [(100,)]


@pytest.mark.slow
def test_a_table_of_progress_of_a_former_release_gets_its_column(project: Project) -> None:
    project.rows(f"ALTER TABLE {PROGRESS} DROP COLUMN walk")
    project.put("002_b.sql", BACKFILL)
    stop(project, 1)
    with open_session(project.url) as session:
        assert find_ledger(session).exists
    project.migrate()
    assert project.rows(ONCE) == [(1000, 1000, 10)]
