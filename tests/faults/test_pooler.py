"""Behind a real PgBouncer: exactly once, nothing left in sessions that are others' too, and a way around it."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from kernel.db.connection import open_session
from tests.faults import audit, runner
from tests.faults.pgbouncer import SERVERS, pgbouncer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.faults.fault_database import FaultDatabase

pytestmark = pytest.mark.slow

RUNNERS = 8
FILES = {
    f"{number:03}_change.sql": f"INSERT INTO audit.ran VALUES ('{number:03}', 'whole');\n"
    f"CREATE TABLE app.t{number} (id int);\nSET lock_timeout = '77ms';\n"
    for number in range(1, 51)
}
MARKS: dict[str, tuple[str, ...]] = {filename[:3]: ("whole",) for filename in FILES}
ADVISORY_LOCKS = "SELECT pid FROM pg_locks WHERE locktype = 'advisory'"


@pytest.fixture
def transaction_mode(target: FaultDatabase, free_folder: Path) -> Iterator[str]:
    """The test's database through a pooler that gives a session for a transaction."""
    with pgbouncer(target.server, free_folder / "transaction", mode="transaction") as conninfo:
        yield make_conninfo(conninfo, dbname=target.name)


@pytest.fixture
def session_mode(target: FaultDatabase, free_folder: Path) -> Iterator[str]:
    """The same through one that gives a session for a connection."""
    with pgbouncer(target.server, free_folder / "session", mode="session") as conninfo:
        yield make_conninfo(conninfo, dbname=target.name)


def _finished(target: FaultDatabase) -> None:
    audit.check(target.observer, MARKS, ())
    assert audit.recorded(target.observer) == set(MARKS)


def test_a_pooler_that_shares_its_sessions_is_recognised(target: FaultDatabase, transaction_mode: str) -> None:
    with open_session(transaction_mode) as session:
        assert session.pooled
    with open_session(target.url) as session:
        assert not session.pooled


def test_a_pooler_that_shares_its_sessions_is_recognised_while_it_is_busy(transaction_mode: str) -> None:
    with ExitStack() as clients:
        for _ in range(SERVERS - 1):  # which leaves one session for both connections of the test
            clients.enter_context(psycopg.connect(transaction_mode, prepare_threshold=None)).execute("SELECT 1")
        with open_session(transaction_mode) as session:
            assert session.pooled


def test_a_pooler_in_session_mode_is_as_good_as_none(session_mode: str) -> None:
    with open_session(session_mode) as session:
        assert not session.pooled


def test_a_pooler_in_session_mode_that_has_no_session_left_is_as_good_as_none(session_mode: str) -> None:
    with ExitStack() as clients:
        for _ in range(SERVERS - 1):
            clients.enter_context(psycopg.connect(session_mode, prepare_threshold=None)).execute("SELECT 1")
        with open_session(session_mode) as session:
            assert not session.pooled


def test_a_pooler_in_session_mode_runs_every_kind_of_file_and_leaves_nothing(
    target: FaultDatabase, session_mode: str
) -> None:
    audit.write(target.folder, audit.FIRST, audit.IN_TRANSACTION, audit.IN_STEPS, audit.LAST)
    code, _, err = runner.run(target.folder, session_mode)
    assert code == 0, err
    audit.check_finished(target.observer)
    assert target.observer.execute(ADVISORY_LOCKS).fetchall() == []


def test_a_pooler_in_session_mode_holds_the_lock_of_a_run(target: FaultDatabase, session_mode: str) -> None:
    audit.write(target.folder, audit.FIRST, audit.IN_TRANSACTION)
    target.observer.execute("SELECT pg_advisory_lock(%s)", (audit.GATE,))
    process = runner.start(target.folder, session_mode)
    audit.await_row(target.observer, "SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
    code, _, err = runner.run(target.folder, session_mode, "--lock-wait", "0")
    assert code == 5, err
    assert "another runner holds the lock" in err
    target.observer.execute("SELECT pg_advisory_unlock(%s)", (audit.GATE,))
    assert runner.finish(process)[0] == 0


@pytest.mark.parametrize("mode", ["transaction_mode", "session_mode"])
def test_of_eight_runners_behind_a_pooler_each_version_is_applied_by_one(
    target: FaultDatabase, mode: str, request: pytest.FixtureRequest
) -> None:
    pooled = request.getfixturevalue(mode)
    audit.write(target.folder, FILES)
    running = [runner.start(target.folder, pooled) for _ in range(RUNNERS)]
    ended = [runner.finish(process) for process in running]
    assert [code for code, _, _ in ended] == [0] * RUNNERS, ended
    _finished(target)
    told = [line for _, out, _ in ended for line in out.splitlines() if line.startswith("applied ")]
    assert len(told) == len(FILES), "each is told of by the one that applied it"


@pytest.mark.parametrize("mode", ["transaction_mode", "session_mode"])
def test_of_eight_runners_behind_a_pooler_one_applies_a_changed_repeatable_file(
    target: FaultDatabase, mode: str, request: pytest.FixtureRequest
) -> None:
    pooled = request.getfixturevalue(mode)
    audit.write(target.folder, FILES)
    (target.folder / "repeatable").mkdir()
    for columns in ("1 AS one, 2 AS two", "2 AS two, 1 AS one"):  # the second cannot take the place of the first
        mark = f"INSERT INTO audit.ran VALUES ('{{}}', '{columns[:1]}');\n"
        first = f"CREATE OR REPLACE VIEW app.first AS SELECT {columns};\n{mark.format('first')}"
        (target.folder / "repeatable" / "first.sql").write_text(first)
        second = f"CREATE OR REPLACE VIEW app.second AS SELECT one FROM app.first;\n{mark.format('second')}"
        (target.folder / "repeatable" / "second.sql").write_text(second)
        running = [runner.start(target.folder, pooled) for _ in range(RUNNERS)]
        ended = [runner.finish(process) for process in running]
        assert [code for code, _, _ in ended] == [0] * RUNNERS, ended
        query = "SELECT version FROM audit.ran WHERE version IN ('first', 'second') AND mark = %s ORDER BY 1"
        assert target.observer.execute(query, (columns[:1],)).fetchall() == [("first",), ("second",)]


def test_a_pooled_run_leaves_no_setting_and_no_lock_in_a_session(target: FaultDatabase, transaction_mode: str) -> None:
    audit.write(target.folder, FILES)
    assert runner.run(target.folder, transaction_mode)[0] == 0
    assert target.observer.execute(ADVISORY_LOCKS).fetchall() == []
    clients = [psycopg.connect(transaction_mode, prepare_threshold=None) for _ in range(3)]  # one for each session
    try:
        for client in clients:
            seen = client.execute(
                "SELECT current_setting('lock_timeout'), current_setting('statement_timeout'), "
                "current_setting('application_name') LIKE 'inv db%'"
            ).fetchone()
            assert seen == ("0", "0", False)
            assert client.execute("SELECT count(*) FROM pg_prepared_statements").fetchone() == (0,)
    finally:
        for client in clients:
            client.close()


def test_behind_a_pooler_a_file_outside_of_a_transaction_is_refused_before_anything_runs(
    target: FaultDatabase, transaction_mode: str
) -> None:
    audit.write(target.folder, audit.FIRST, audit.IN_TRANSACTION, audit.IN_STEPS)
    code, _, err = runner.run(target.folder, transaction_mode)
    assert code == 2
    assert "003_steps.sql: runs outside of a transaction, for which a pooler gives no session of our own" in err
    assert "MIGRATION_DATABASE_URL" in err
    assert audit.recorded(target.observer) == set()
    assert target.observer.execute("SELECT count(*) FROM audit.ran").fetchone() == (0,)


@pytest.fixture
def owner(target: FaultDatabase) -> Iterator[str]:
    """A role that may create what the files create."""
    name = f"owner_of_{target.name}"
    target.observer.execute(f"CREATE ROLE {name}; GRANT ALL ON SCHEMA app, audit, public TO {name}".encode())
    target.observer.execute(f"GRANT ALL ON ALL TABLES IN SCHEMA audit TO {name}".encode())
    yield name
    target.observer.execute(f"DROP OWNED BY {name} CASCADE; DROP ROLE {name}".encode())


def _owners(target: FaultDatabase) -> list[tuple[str]]:
    query = "SELECT DISTINCT relowner::regrole::text FROM pg_class WHERE relname IN ('events', 'schema_migrations')"
    return target.observer.execute(query).fetchall()


def test_a_role_that_a_pooler_would_not_keep_is_refused_and_the_remedy_sets_it(
    target: FaultDatabase, transaction_mode: str, owner: str
) -> None:
    audit.write(target.folder, audit.FIRST)
    code, _, err = runner.run(target.folder, transaction_mode, KERNEL_ROLE=owner)
    assert code == 7
    assert "KERNEL_ROLE: a pooler shares its sessions, which keep no role; set MIGRATION_DATABASE_URL" in err
    assert f"or run: ALTER ROLE postgres SET role = {owner}" in err
    assert target.observer.execute("SELECT FROM audit.ran").fetchall() == []

    # For this database alone: other tests log in as the same role.
    target.observer.execute(f"ALTER ROLE postgres IN DATABASE {target.name} SET role = {owner}".encode())
    target.observer.execute(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )  # the sessions that the pooler has are older
    code, _, err = runner.run(target.folder, transaction_mode)
    assert code == 0, err
    assert _owners(target) == [(owner,)]


def test_a_pooler_in_session_mode_keeps_the_role_that_is_set(
    target: FaultDatabase, session_mode: str, owner: str
) -> None:
    steps = {"002_steps.sql": "-- migrate: no-transaction\nSELECT 1;\nVACUUM app.events;\n"}
    audit.write(target.folder, audit.FIRST, steps)
    code, _, err = runner.run(target.folder, session_mode, KERNEL_ROLE=owner)
    assert code == 0, err
    assert _owners(target) == [(owner,)]


def test_the_direct_url_goes_around_the_pooler(target: FaultDatabase, transaction_mode: str) -> None:
    audit.write(target.folder, audit.FIRST, audit.IN_TRANSACTION, audit.IN_STEPS, audit.LAST)
    code, _, err = runner.run(target.folder, target.url, DATABASE_URL=transaction_mode)
    assert code == 0, err
    audit.check_finished(target.observer)


def test_a_runner_behind_a_pooler_and_a_direct_one_apply_each_version_once(
    target: FaultDatabase, transaction_mode: str
) -> None:
    audit.write(target.folder, FILES)
    running = [runner.start(target.folder, url) for url in (transaction_mode, target.url) * 2]
    ended = [runner.finish(process) for process in running]
    assert [code for code, _, _ in ended] == [0] * 4, ended
    _finished(target)


def test_a_killed_pooled_runner_leaves_nothing_to_repair(target: FaultDatabase, transaction_mode: str) -> None:
    audit.write(target.folder, audit.FIRST, audit.IN_TRANSACTION, audit.LAST)
    marks = {version: marks for version, marks in audit.MARKS.items() if version != "003"}
    target.observer.execute("SELECT pg_advisory_lock(%s)", (audit.GATE,))
    process = runner.start(target.folder, transaction_mode)
    audit.await_row(target.observer, "SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
    process.kill()
    process.communicate()
    audit.await_row(target.observer, _nobody_waits())
    target.observer.execute("SELECT pg_advisory_unlock(%s)", (audit.GATE,))
    audit.check(target.observer, marks, ())
    assert runner.run(target.folder, transaction_mode)[0] == 0
    audit.check(target.observer, marks, ())
    assert audit.recorded(target.observer) == set(marks)


def _nobody_waits() -> str:
    """PgBouncer ends the server's session when its client is gone in the middle of a transaction."""
    return "SELECT WHERE NOT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted)"
