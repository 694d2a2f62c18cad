"""One runner at a time: the second names the first, waits for it, and finds its work done."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from kernel.apply.events import MigrationApplied, StatementBlocked, WaitingForLock
from kernel.apply.executor import WaitLimits
from kernel.db.advisory_lock import advisory_lock_key, hold_advisory_lock, try_advisory_lock
from kernel.db.connection import open_session
from kernel.db.ledger import find_ledger
from kernel.errors import LockBusy, MigrationFailed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kernel.apply.events import Event
    from kernel.db.connection import Session
    from tests.integration.conftest import Project

AT_ONCE = WaitLimits(lock_wait_seconds=0)
KEY = advisory_lock_key("public", "schema_migrations")


@pytest.fixture
def holder(project: Project) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
    """Another runner, which holds the lock."""
    with open_session(project.reached(application_name="the first runner").url) as session:
        assert try_advisory_lock(session, KEY)
        yield session.connection


@pytest.fixture(autouse=True)
def _two_files(project: Project) -> None:
    project.put("001_make.sql", "CREATE TABLE made (a int);")
    project.put("002_fill.sql", "INSERT INTO made VALUES (1);")


def test_a_runner_that_does_not_wait_names_the_holder_and_touches_nothing(
    project: Project, holder: psycopg.Connection[tuple[Any, ...]]
) -> None:
    with pytest.raises(LockBusy) as busy:
        project.migrate(waits=AT_ONCE)
    pid = holder.info.backend_pid
    assert f"another runner holds the lock of {holder.info.host}" in str(busy.value)
    assert f"pid {pid} (the first runner) from local, connected " in str(busy.value)
    assert str(busy.value).endswith(f"or end it: SELECT pg_terminate_backend({pid})")
    assert not project.has("schema_migrations")
    assert project.events == [], "who does not wait is not told that it waits"


@pytest.fixture
def two_roles(project: Project) -> Iterator[tuple[Project, Project]]:
    """The project as two roles, neither of which may see what the other runs."""
    first, second = f"first_{id(project)}", f"second_{id(project)}"
    for role in (first, second):
        project.rows(f"CREATE ROLE {role} LOGIN")
        project.rows(f"GRANT CREATE ON SCHEMA public TO {role}")
    yield project.reached(user=first, application_name="the first runner"), project.reached(user=second)
    for role in (first, second):
        project.rows(f"DROP OWNED BY {role} CASCADE")
        project.rows(f"DROP ROLE {role}")


def test_a_holder_of_another_role_is_named_as_far_as_the_server_shows_it(two_roles: tuple[Project, Project]) -> None:
    first, second = two_roles
    role = first.url.partition("user=")[2].partition(" ")[0]
    with open_session(first.url) as session:
        assert try_advisory_lock(session, KEY)
        pid = session.connection.info.backend_pid
        with pytest.raises(LockBusy) as busy:
            second.migrate(waits=AT_ONCE)
        assert f": pid {pid} (the first runner) of role {role}; wait longer" in str(busy.value)
        assert str(busy.value).endswith(f"or end it as {role} or a superuser: SELECT pg_terminate_backend({pid})")
        with pytest.raises(LockBusy):
            second.migrate(waits=WaitLimits(lock_wait_seconds=0.1))
    assert [str(event.holder) for event in second.events if isinstance(event, WaitingForLock)] == [
        f"pid {pid} (the first runner) of role {role}"
    ]


def test_a_blocker_of_another_role_is_named_as_far_as_the_server_shows_it(two_roles: tuple[Project, Project]) -> None:
    first, second = two_roles
    role = first.url.partition("user=")[2].partition(" ")[0]
    second.migrate()
    second.rows("GRANT SELECT ON made TO PUBLIC")
    second.put("003_alter.sql", "ALTER TABLE made ADD b int;")
    with psycopg.connect(first.url) as reader:
        reader.execute("SELECT FROM made")
        second.failure(waits=WaitLimits(lock_timeout_ms=300, lock_retries=0))
        pid = reader.info.backend_pid
    blocked = [event.blockers for event in second.events if isinstance(event, StatementBlocked)]
    assert blocked
    assert set(blocked) == {(f"pid {pid} (the first runner) of role {role}, which hides what it runs",)}


@pytest.mark.parametrize(
    ("holds", "waits"),
    [
        ("LOCK made IN ACCESS SHARE MODE", "ALTER TABLE made ADD b int;"),
        ("UPDATE made SET a = 2", "UPDATE made SET a = 3;"),
        ("INSERT INTO made VALUES (4)", "CREATE UNIQUE INDEX ON made (a);"),
    ],
)
def test_a_prepared_transaction_that_blocks_is_named_with_what_ends_it(
    project: Project, holds: str, waits: str
) -> None:
    project.migrate()
    project.rows("INSERT INTO made VALUES (1)")
    with psycopg.connect(project.url, autocommit=True) as other:
        for gid, statement in (("it's open", holds), ("another", "CREATE TABLE other ()")):
            other.execute(f"BEGIN; {statement}; PREPARE TRANSACTION '{gid.replace(chr(39), chr(39) * 2)}'".encode())
        project.put("003_alter.sql", waits)
        project.failure(waits=WaitLimits(lock_timeout_ms=300, lock_retries=0))
        other.execute("ROLLBACK PREPARED 'it''s open'")
        other.execute("ROLLBACK PREPARED 'another'")
    (blockers,) = {event.blockers for event in project.events if isinstance(event, StatementBlocked)}
    ends = "COMMIT PREPARED 'it''s open' or ROLLBACK PREPARED 'it''s open'"
    assert blockers == (f"the prepared transaction 'it''s open' of postgres; end it: {ends}",)


def test_a_runner_gives_up_after_lock_wait(project: Project, holder: psycopg.Connection[tuple[Any, ...]]) -> None:
    with pytest.raises(LockBusy, match=f"pid {holder.info.backend_pid} "):
        project.migrate(waits=WaitLimits(lock_wait_seconds=0.1))
    assert [type(event) for event in project.events] == [WaitingForLock]


@pytest.mark.parametrize("wait_seconds", [10, -1])
def test_a_runner_waits_for_the_holder_and_then_goes_on(
    project: Project, holder: psycopg.Connection[tuple[Any, ...]], wait_seconds: int
) -> None:
    def release(event: Event) -> None:
        if isinstance(event, WaitingForLock):
            assert event.holder.pid == holder.info.backend_pid
            holder.execute("SELECT pg_advisory_unlock_all()")

    project.react = release
    project.migrate(waits=WaitLimits(lock_wait_seconds=wait_seconds))
    assert project.recorded() == ["001", "002"]


def test_the_lock_of_a_runner_that_died_is_free(project: Project, holder: psycopg.Connection[tuple[Any, ...]]) -> None:
    project.rows(f"SELECT pg_terminate_backend({holder.info.backend_pid})")
    project.migrate()
    assert project.recorded() == ["001", "002"]


def test_with_nothing_pending_the_lock_is_not_taken(project: Project) -> None:
    project.migrate()
    with open_session(project.url) as session:
        assert try_advisory_lock(session, KEY)
        assert project.migrate(waits=AT_ONCE).applied == ()


def test_ledgers_in_different_schemas_do_not_wait_for_each_other(
    project: Project,
    holder: psycopg.Connection[tuple[Any, ...]],  # noqa: ARG001 - it holds the lock of public
) -> None:
    project.rows("CREATE SCHEMA app")
    project.reached(options="-csearch_path=app").migrate(waits=AT_ONCE)
    assert project.has("app.made")


def test_the_lock_is_released_after_success_and_after_an_error(project: Project) -> None:
    def fail(session: Session) -> None:
        with hold_advisory_lock(session, find_ledger(session), wait_seconds=0, waiting=lambda _holder: None):
            assert len(locks(project)) == 1
            session.connection.execute("BEGIN")
            session.connection.execute("SELECT 1 / 0")

    with open_session(project.url) as session:
        with pytest.raises(psycopg.errors.DivisionByZero):
            fail(session)
        assert locks(project) == [], "the session is still there, its lock is not"


def locks(project: Project) -> list[tuple[Any, ...]]:
    return project.rows(
        "SELECT pid FROM pg_locks JOIN pg_database d ON d.oid = database"
        " WHERE locktype = 'advisory' AND datname = current_database()"
    )


def test_six_concurrent_runners_apply_each_version_once(project: Project) -> None:
    with ThreadPoolExecutor(6) as runners:
        outcomes = list(runners.map(lambda _: project.migrate(), range(6)))
    assert sorted(one.migration.version for outcome in outcomes for one in outcome.applied) == ["001", "002"]
    assert project.rows("SELECT * FROM made") == [(1,)]


def test_a_runner_that_waited_says_what_another_has_done(project: Project) -> None:
    project.put("003_wait.sql", "SELECT pg_advisory_xact_lock(42);")
    project.rows("SELECT pg_advisory_lock(42)")
    with ThreadPoolExecutor(2) as runners:
        first = runners.submit(project.migrate)
        project.until("SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
        second = runners.submit(project.migrate)
        project.wait_for_event(WaitingForLock)
        project.rows("SELECT pg_advisory_unlock(42)")
        assert (len(first.result().applied), first.result().applied_by_others) == (3, 0)
        assert (second.result().applied, second.result().applied_by_others, second.result().pending) == ((), 1, ())


def test_an_index_can_be_built_concurrently_while_another_runner_waits(
    project: Project, other: psycopg.Connection[tuple[Any, ...]]
) -> None:
    project.migrate()
    project.put("003_index.sql", "CREATE INDEX CONCURRENTLY made_a ON made (a);")
    other.execute("INSERT INTO made VALUES (2)")  # the build waits for this transaction
    with ThreadPoolExecutor(2) as runners:
        building = runners.submit(project.migrate)
        project.until("SELECT FROM pg_stat_progress_create_index WHERE phase LIKE 'waiting%'")
        waiting = runners.submit(project.migrate)
        project.wait_for_event(WaitingForLock)
        other.commit()
        assert [one.migration.version for one in building.result().applied] == ["003"]
        assert waiting.result().applied == ()
    assert project.rows("SELECT indisvalid FROM pg_index WHERE indexrelid = 'made_a'::regclass") == [(True,)]


def test_the_lock_is_taken_again_after_a_migration_released_it(project: Project) -> None:
    project.put("003_unlock.sql", "SELECT pg_advisory_unlock_all();")
    project.put(
        "004_look.sql",
        "CREATE TABLE locks AS SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid();",
    )
    project.migrate()
    assert project.rows("SELECT * FROM locks") == [(1,)]


def test_a_runner_stops_after_the_file_when_another_took_its_lock(project: Project) -> None:
    project.put("003_unlock.sql", "SELECT pg_advisory_unlock_all(); SELECT pg_advisory_xact_lock(42);")
    project.put("004_never.sql", "SELECT 1 / 0;")
    project.rows("SELECT pg_advisory_lock(42)")
    with ThreadPoolExecutor(1) as runners:
        running = runners.submit(project.migrate)
        project.until("SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
        assert project.rows(f"SELECT pg_try_advisory_lock({KEY})") == [(True,)]
        project.rows("SELECT pg_advisory_unlock(42)")
        with pytest.raises(LockBusy, match="a migration let go of the lock, and another runner has it now"):
            running.result()
    assert project.recorded() == ["001", "002", "003"]


def test_a_failed_run_leaves_the_lock_to_the_next(project: Project) -> None:
    project.put("002_fill.sql", "INSERT INTO made VALUES ('x');")
    with pytest.raises(MigrationFailed):
        project.migrate()
    project.put("002_fill.sql", "INSERT INTO made VALUES (2);")
    project.migrate(waits=AT_ONCE)
    assert [event.migration.version for event in project.events if isinstance(event, MigrationApplied)] == [
        "001",
        "002",
    ]
