"""db.preflight names what is in the way of the pending files, and ends no session."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from kernel.db.connection import open_session
from kernel.errors import LockBusy
from kernel.lint.expected_locks import expected_locks
from kernel.lint.lock_modes import LOCK_MODE_STRENGTH, modes_conflict
from kernel.lint.source import read_source
from kernel.operations.preflight import Obstacle, find_obstacles, wait_until_calm

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.integration.conftest import Project

_SCHEMA = """
CREATE TABLE parents (id int PRIMARY KEY, name text);
CREATE TABLE children (id int PRIMARY KEY, parent int REFERENCES parents);
CREATE INDEX children_parent ON children (parent);
CREATE TABLE events (id int, day date) PARTITION BY RANGE (day);
CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
"""


@contextmanager
def _transaction(url: str, statement: str, **parameters: Any) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(url, **parameters) as connection:
        connection.execute(statement.encode())
        yield connection
        connection.rollback()


def _obstacles(project: Project, text: str, **options: Any) -> tuple[Obstacle, ...]:
    project.put("001_change.sql", text)
    locks = expected_locks([read_source(migration) for migration in project.files()])
    with open_session(project.url) as session:
        return find_obstacles(session, locks, **options)


@pytest.fixture
def schema(project: Project) -> Project:
    project.look.execute(_SCHEMA.encode())
    return project


@pytest.mark.parametrize(
    ("migration", "other"),
    [
        ("ALTER TABLE parents ADD COLUMN x int;", "SELECT FROM parents"),
        ("CREATE INDEX ON parents (name);", "INSERT INTO parents VALUES (1)"),
        ("DROP INDEX children_parent;", "SELECT FROM children"),
        ("DROP TABLE parents CASCADE;", "SELECT FROM children"),
        ("ALTER TABLE events ADD COLUMN x int;", "SELECT FROM events_1"),
        ("ALTER TABLE children ADD FOREIGN KEY (id) REFERENCES parents;", "UPDATE parents SET name = ''"),
        ("DO $$ BEGIN EXECUTE 'TRUNCATE parents CASCADE'; END $$;", "SELECT FROM parents"),
        ("UPDATE public.parents SET name = 'x';", "LOCK TABLE parents IN SHARE MODE"),
    ],
)
def test_a_session_with_a_conflicting_lock_is_named_with_the_place(schema: Project, migration: str, other: str) -> None:
    with _transaction(schema.url, other, application_name="shop") as holder:
        (found,) = _obstacles(schema, f"-- a change\n{migration}\n")
        assert (found.kind, found.blocks, found.pid) == ("lock", True, holder.info.backend_pid)
        assert (found.filename, found.line) == ("001_change.sql", 2)
        assert "shop, idle in transaction" in found.message
    assert _obstacles(schema, migration) == ()


_INDEXES_AND_VIEWS = """
CREATE VIEW names AS SELECT id, name FROM parents;
CREATE MATERIALIZED VIEW ids AS SELECT id FROM parents;
CREATE UNIQUE INDEX ids_id ON ids (id);
CREATE SEQUENCE numbers;
CREATE INDEX parents_name ON parents (name);
CREATE INDEX events_day ON events (day);
CREATE INDEX events_id ON ONLY events (id);
CREATE INDEX events_1_id ON events_1 (id);
CREATE SCHEMA other;
CREATE FUNCTION parents() RETURNS int LANGUAGE sql AS 'SELECT 1';
"""
_READ = "SELECT FROM parents; SELECT FROM names; SELECT FROM ids; SELECT FROM events; SELECT FROM numbers"
_LOCK = "LOCK TABLE parents IN ACCESS SHARE MODE"  # unlike a query not on the indexes


@pytest.fixture
def indexes_and_views(schema: Project) -> Project:
    schema.look.execute(_INDEXES_AND_VIEWS.encode())
    return schema


@pytest.mark.parametrize(
    ("statement", "other", "waits"),
    [
        *(
            (statement, _READ, True)
            for statement in (
                "REINDEX TABLE parents",
                "REINDEX (VERBOSE) TABLE public.parents",
                "REINDEX TABLE ids",
                "REINDEX INDEX parents_name",
                "DO $$ BEGIN EXECUTE 'REINDEX INDEX parents_name'; END $$",
                "DROP INDEX parents_name",
                "ALTER INDEX IF EXISTS parents_name SET TABLESPACE pg_default",
                "ALTER INDEX parents_name DEPENDS ON EXTENSION plpgsql",
                "ALTER INDEX events_id ATTACH PARTITION events_1_id",
                "CREATE OR REPLACE VIEW names AS SELECT id, name FROM parents",
                "ALTER VIEW names RENAME TO titles",
                "ALTER VIEW names RENAME COLUMN name TO title",
                "ALTER VIEW names SET SCHEMA other",
                "ALTER VIEW names OWNER TO pg_monitor",
                "ALTER VIEW IF EXISTS public.names SET (security_barrier)",
                "ALTER VIEW names RESET (security_barrier)",
                "ALTER VIEW names ALTER COLUMN name SET DEFAULT 'x'",
                "DO $$ BEGIN ALTER VIEW names ALTER name DROP DEFAULT; END $$",
                "ALTER MATERIALIZED VIEW ids RENAME TO keys",
                "ALTER MATERIALIZED VIEW ids RENAME COLUMN id TO key",
                "ALTER MATERIALIZED VIEW ids SET SCHEMA other",
                "ALTER SEQUENCE numbers RENAME TO digits",
                "ALTER SEQUENCE numbers OWNER TO pg_monitor",
            )
        ),
        ("ALTER INDEX parents_name RENAME TO parents_title", _READ, False),
        ("ALTER INDEX parents_name SET (fillfactor = 90)", _READ, False),
        ("CREATE INDEX ON parents (name)", _READ, False),
        ("CREATE VIEW titles AS SELECT FROM parents", _READ, False),
        ("ALTER FUNCTION parents() RENAME TO parents_function", _READ, False),
        ("ALTER FUNCTION parents() OWNER TO pg_monitor", _READ, False),
        ("REINDEX TABLE parents", _LOCK, False),
        ("REINDEX INDEX parents_name", _LOCK, False),
        ("DROP INDEX parents_name", _LOCK, True),
        ("REINDEX TABLE parents", "LOCK TABLE parents IN ROW EXCLUSIVE MODE", True),
        ("REINDEX INDEX parents_name", "LOCK TABLE parents IN ROW EXCLUSIVE MODE", True),
        ("ALTER INDEX parents_name SET TABLESPACE pg_default", "LOCK TABLE parents", False),
        ("ALTER INDEX parents_name RENAME TO parents_title", "LOCK TABLE parents", False),
        ("DROP INDEX parents_name", "ALTER INDEX parents_name RENAME TO parents_title", True),
        ("ALTER INDEX parents_name RENAME TO x", "ALTER INDEX parents_name RENAME TO parents_title", True),
        ("REINDEX TABLE children", _READ, False),
        ("REINDEX TABLE parents; ALTER TABLE parents DISABLE TRIGGER USER", _READ, True),
    ],
)
def test_preflight_blocks_changes_of_indexes_and_views_exactly_when_the_server_makes_them_wait(
    indexes_and_views: Project, statement: str, other: str, *, waits: bool
) -> None:
    """Source: the server itself, which runs each statement while another session is in the way."""
    with _transaction(indexes_and_views.url, other):
        assert _waits_on_server(indexes_and_views.url, statement) is waits
        assert [one.kind for one in _obstacles(indexes_and_views, f"{statement};") if one.blocks] == ["lock"] * waits
    assert _obstacles(indexes_and_views, f"{statement};") == ()


@pytest.mark.parametrize("statement", ["REINDEX TABLE events", "REINDEX INDEX events_day"])
def test_reindex_of_a_partitioned_table_is_blocked_by_a_reader_of_one_partition(
    indexes_and_views: Project, statement: str
) -> None:
    with _transaction(indexes_and_views.url, "SELECT FROM events_1"):
        assert _waits_on_server(indexes_and_views.url, statement, autocommit=True)
        (found,) = _obstacles(indexes_and_views, f"-- migrate: no-transaction\n{statement};")
    assert found.blocks
    assert "ACCESS EXCLUSIVE would wait" in found.message


def test_the_index_that_reindex_would_wait_for_is_named_with_its_own_mode(indexes_and_views: Project) -> None:
    with _transaction(indexes_and_views.url, _READ):
        (found,) = _obstacles(indexes_and_views, "CREATE INDEX ON parents (id);\nREINDEX INDEX parents_name;")
    assert (found.relation, found.line) == ("parents_name", 2)
    assert found.message.startswith("parents_name: ACCESS EXCLUSIVE would wait for pid ")
    assert found.message.endswith("which holds ACCESS SHARE")


def _waits_on_server(url: str, statement: str, *, autocommit: bool = False) -> bool:
    with psycopg.connect(url, autocommit=autocommit) as connection:
        connection.execute("SET lock_timeout = '150ms'")
        try:
            connection.execute(statement.encode())
        except psycopg.errors.LockNotAvailable:
            return True
        finally:
            connection.rollback()
    return False


def test_a_prepared_transaction_is_named_with_what_ends_it(schema: Project) -> None:
    with psycopg.connect(schema.url, autocommit=True) as other:
        for gid, table in (("left open", "events"), ("it's one", "parents")):
            other.execute(sql.SQL("BEGIN; LOCK {}; PREPARE TRANSACTION {}").format(sql.Identifier(table), gid))
        try:
            locks = [one for one in _obstacles(schema, "ALTER TABLE parents ADD COLUMN x int;") if one.blocks]
        finally:
            for gid in ("left open", "it's one"):
                other.execute(sql.SQL("ROLLBACK PREPARED {}").format(gid))
    (found,) = locks
    assert found.message == (
        "parents: ACCESS EXCLUSIVE would wait for the prepared transaction 'it''s one', which holds ACCESS EXCLUSIVE"
    )
    assert found.remedy == "end it: COMMIT PREPARED 'it''s one' or ROLLBACK PREPARED 'it''s one'"


def test_a_compatible_lock_is_no_obstacle(schema: Project) -> None:
    with _transaction(schema.url, "INSERT INTO parents VALUES (1)"):
        assert _obstacles(schema, "UPDATE parents SET name = '';\nSELECT FROM parents;") == ()


def test_a_session_that_waits_is_in_front_too(schema: Project) -> None:
    with _transaction(schema.url, "SELECT FROM parents"), psycopg.connect(schema.url) as waiter:
        waiting = threading.Thread(target=_execute_and_ignore, args=(waiter, "LOCK TABLE parents"))
        waiting.start()
        schema.until("SELECT FROM pg_locks WHERE NOT granted AND relation = 'parents'::regclass")
        found = _obstacles(schema, "CREATE INDEX ON parents (name);")
        waiter.cancel()
        waiting.join()
    assert ["waits for ACCESS EXCLUSIVE" in one.message for one in found] == [True]


def _execute_and_ignore(connection: psycopg.Connection[Any], statement: str) -> None:
    try:
        connection.execute(statement.encode())
    except psycopg.errors.QueryCanceled:
        connection.rollback()


def test_an_old_snapshot_is_in_the_way_of_concurrently_only(schema: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kernel.operations.preflight._OLD_TRANSACTION_SECONDS", 0)
    with psycopg.connect(schema.url) as reader:
        reader.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        reader.execute("SELECT FROM events")
        concurrently = "-- migrate: no-transaction\nCREATE INDEX CONCURRENTLY i ON parents (name);"
        (waited_for,) = _obstacles(schema, concurrently)
        (noted,) = _obstacles(schema, "CREATE INDEX i ON parents (name);")
        pid = reader.info.backend_pid
    assert (waited_for.kind, waited_for.blocks, waited_for.pid) == ("transaction", True, pid)
    assert (noted.kind, noted.blocks) == ("transaction", False)


def test_space_that_the_rehearsal_needed_is_compared_with_what_is_free(schema: Project) -> None:
    (missing,) = _obstacles(schema, "SELECT 1;", needed_bytes=1 << 60)
    assert missing.kind == "disk"
    assert _obstacles(schema, "SELECT 1;", needed_bytes=1 << 10) == () or not missing.blocks


def test_waiting_for_a_calm_moment_ends_with_the_other_session(schema: Project) -> None:
    schema.put("001_change.sql", "ALTER TABLE parents ADD COLUMN x int;")
    locks = expected_locks([read_source(migration) for migration in schema.files()])
    seen: list[str] = []
    with open_session(schema.url) as session, psycopg.connect(schema.url) as holder:
        holder.execute("SELECT FROM parents")
        with pytest.raises(LockBusy, match=r"(?s)not calm.*idle in transaction.*pg_terminate_backend"):
            wait_until_calm(session, locks, wait_seconds=0, waiting=lambda _found, _seconds: None)

        def end_the_other(found: Any, _seconds: float) -> None:
            seen.extend(one.message for one in found)
            holder.rollback()

        wait_until_calm(session, locks, wait_seconds=60, waiting=end_the_other)
    assert len(seen) == 1


def test_the_table_of_conflicts_is_that_of_the_server(schema: Project) -> None:
    """Source: the server itself, asked for every pair of modes."""
    with psycopg.connect(schema.url) as one, psycopg.connect(schema.url, autocommit=True) as other:
        for held in LOCK_MODE_STRENGTH:
            one.execute(sql.SQL("LOCK TABLE parents IN {} MODE").format(sql.SQL(held)))
            for asked in LOCK_MODE_STRENGTH:
                lock = sql.SQL("BEGIN; LOCK TABLE parents IN {} MODE NOWAIT; ROLLBACK").format(sql.SQL(asked))
                assert _is_refused(other, lock) == modes_conflict(held, asked) == modes_conflict(asked, held)
            one.rollback()


def _is_refused(connection: psycopg.Connection[Any], lock: sql.Composed) -> bool:
    try:
        connection.execute(lock)
    except psycopg.errors.LockNotAvailable:
        connection.rollback()
        return True
    return False


def test_a_role_is_told_that_sessions_of_others_are_hidden_and_how_to_see_them(schema: Project) -> None:
    schema.put("001_change.sql", "ALTER TABLE parents ADD COLUMN x int;")
    locks = expected_locks([read_source(migration) for migration in schema.files()])
    schema.look.execute("CREATE ROLE blind_deployer LOGIN")
    with (
        _transaction(schema.url, "SELECT FROM parents") as holder,
        open_session(make_conninfo(schema.url, user="blind_deployer")) as session,
    ):
        lock, hidden = find_obstacles(session, locks)
        pid = holder.info.backend_pid
    schema.look.execute("DROP ROLE blind_deployer")
    assert f"pid {pid}" in lock.message
    assert "hides what it runs" in lock.message
    assert (hidden.kind, hidden.blocks) == ("hidden-sessions", False)
    assert "GRANT pg_read_all_stats" in hidden.remedy
