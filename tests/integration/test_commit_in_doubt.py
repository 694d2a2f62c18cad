"""A COMMIT whose answer is lost: its outcome is that of the very transaction, whatever other runners did since."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest

from kernel.apply.commit_in_doubt import SentCommit, commit_in_doubt_error
from kernel.apply.events import ignore_event
from kernel.apply.executor import WaitLimits, open_executor
from kernel.db.connection import open_session
from kernel.db.ledger import find_ledger
from kernel.db.records import record_query

if TYPE_CHECKING:
    from tests.integration.conftest import Project

RECORD = "INSERT INTO schema_migrations VALUES ('002', '002_b.sql', now(), 'checksum')"
LOST = psycopg.OperationalError("server closed the connection")


@pytest.fixture(autouse=True)
def _two_files(project: Project) -> None:
    project.put("001_a.sql", "CREATE TABLE a (i int);")
    project.migrate()
    project.put("002_b.sql", "CREATE TABLE b (i int);")


def outcome(project: Project, xid: str, *, leaves_record: bool = True, apart: bool = True) -> tuple[str, str]:
    """(the message, the aftermath) after the answer to a COMMIT of 002 was lost."""
    with (
        open_session(project.url) as session,
        open_executor(session, find_ledger(session), waits=WaitLimits(), observer=ignore_event) as executor,
    ):
        query = record_query(session.connection, executor.ledger, "002")
        sent = SentCommit(xid=xid, record_sql=query, leaves_record=leaves_record, apart=apart)
        error = commit_in_doubt_error(executor, project.files()[1], LOST, sent)
    return str(error), error.aftermath


def run_transaction(project: Project, *statements: str, end: str) -> str:
    """Run a transaction in another session; returns its id."""
    with psycopg.connect(project.url, autocommit=True) as connection:
        connection.execute("BEGIN")
        for statement in statements:
            connection.execute(statement.encode())
        (xid,) = connection.execute("SELECT pg_current_xact_id()::text").fetchall()[0]
        connection.execute(end.encode())
        return str(xid)


def test_a_transaction_that_committed_is_known_by_its_id(project: Project) -> None:
    xid = run_transaction(project, RECORD, end="COMMIT")
    assert outcome(project, xid) == (
        "the connection was lost at COMMIT; it had committed (server closed the connection)",
        "committed, the change of its record included",
    )


def test_a_record_that_another_runner_made_since_is_not_taken_for_ours(project: Project) -> None:
    xid = run_transaction(project, RECORD, end="ROLLBACK")
    assert "it had not committed (" in outcome(project, xid)[0]
    run_transaction(project, RECORD, end="COMMIT")
    message, aftermath = outcome(project, xid)
    assert "it had not committed, and another runner has done it since" in message
    assert aftermath.startswith("rolled back")


def test_a_rollback_of_another_runner_is_not_taken_for_ours(project: Project) -> None:
    xid = run_transaction(project, "DELETE FROM schema_migrations", end="ROLLBACK")
    assert "another runner has done it since" in outcome(project, xid, leaves_record=False)[0]


def test_without_the_id_of_the_transaction_a_record_is_all_that_is_claimed(project: Project) -> None:
    assert outcome(project, "", apart=False)[0] == "the connection was lost: server closed the connection"
    run_transaction(project, RECORD, end="COMMIT")
    message, aftermath = outcome(project, "")
    assert "; its record is there (" in message
    assert aftermath == "committed with its record, by this run or by another runner since"


def test_an_id_that_the_server_has_not_reached_is_not_ours(project: Project) -> None:
    """A standby took the place of the primary before it had received the transaction."""
    run_transaction(project, RECORD, end="COMMIT")
    assert "another runner has done it since" in outcome(project, str(2**31))[0]
