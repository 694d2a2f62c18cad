"""JSON documents, whose keys scripts rely on, and the text of errors."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

from kernel.apply.events import MigrationApplied
from kernel.db.ledger import Ledger
from kernel.db.records import Record
from kernel.errors import Drift, Failure, LockBusy, MigrationFailed, Problem, UsageError
from kernel.operations.migrate import MigrateResult
from kernel.plan import Status, build_plan
from kernel.report.errors import error_text
from kernel.report.json_documents import error_document, json_text, migrate_document, status_document
from tests.unit.fileless_migration import FilelessMigration

A = FilelessMigration(version="001", filename="001_a.sql", directory=Path(), checksum="a" * 64)
B = FilelessMigration(version="002", filename="002_b.sql", directory=Path(), checksum="b" * 64)
APPLIED_AT = datetime(2026, 1, 31, 10, 0, 0, 250_000)  # noqa: DTZ001 - the column has no time zone

FAILED = MigrationFailed(
    'column "nmae" does not exist',
    failure=Failure(
        file="002_b.sql",
        line=2,
        column=8,
        statement="SELECT\n       nmae FROM users;",
        excerpt="1 | SELECT\n2 |        nmae FROM users;\n  |        ^",
        sqlstate="42703",
        server_hint='Perhaps you meant "name".',
        context="first\nsecond",
    ),
    aftermath="rolled back: the database is as it was before this file",
    hint="no such column; check its spelling",
)
FAILED.applied, FAILED.pending = ("001_a.sql",), ("002_b.sql", "003_c.sql")


def test_status_gives_every_version_its_state_and_times_in_utc() -> None:
    record = Record(version="001", filename="001_a.sql", applied_at=APPLIED_AT, checksum="a" * 64)
    now = Status(
        database="localhost:5432/aibos",
        ledger=Ledger(schema="public", exists=True),
        plan=build_plan([A, B], [record]),
    )
    assert status_document(now) == {
        "database": "localhost:5432/aibos",
        "total": 2,
        "applied": 1,
        "pending": 1,
        "migrations": [
            {
                "version": "001",
                "filename": "001_a.sql",
                "state": "applied",
                "applied_at": "2026-01-31T10:00:00Z",
                "checksum": "a" * 64,
            },
            {
                "version": "002",
                "filename": "002_b.sql",
                "state": "pending",
                "applied_at": None,
                "checksum": "b" * 64,
            },
        ],
    }


def test_drift_is_shown_with_its_version_and_recorded_checksum() -> None:
    record = Record(version="001", filename="001_a.sql", applied_at=APPLIED_AT, checksum="0" * 64)
    now = Status(database="here:1/d", ledger=Ledger(schema="public", exists=True), plan=build_plan([A], [record]))
    text = json_text(status_document(now))
    (entry,) = json.loads(text)["migrations"]
    assert (entry["state"], entry["checksum"]) == ("modified", "0" * 64)
    assert entry["drift"].startswith("changed after it was applied on 2026-01-31; restore it")


def test_a_run_lists_applied_and_pending_files() -> None:
    done = MigrationApplied(migration=A, seconds=0.12345678, statements=3)
    assert migrate_document(MigrateResult(database="here:1/d", applied=(done,), pending=(B,), total_files=2)) == {
        "applied": [{"version": "001", "filename": "001_a.sql", "seconds": 0.123457, "statements": 3}],
        "failed": None,
        "pending": [{"version": "002", "filename": "002_b.sql"}],
    }


def test_an_error_has_code_exit_and_no_empty_keys() -> None:
    assert error_document(LockBusy("another runner holds the lock", hint="wait")) == {
        "error": {"code": "lock_busy", "exit": 5, "message": "another runner holds the lock", "hint": "wait"}
    }


def test_problems_are_listed_and_the_first_gives_the_place() -> None:
    problems = [Problem(message="one", file="001_a.sql", line=3), Problem(message="two")]
    assert error_document(Drift(problems)) == {
        "error": {
            "code": "drift",
            "exit": 4,
            "message": "001_a.sql:3: one\ntwo",
            "file": "001_a.sql",
            "line": 3,
            "problems": [{"message": "one", "file": "001_a.sql", "line": 3}, {"message": "two"}],
        }
    }


def test_a_failed_migration_has_its_place_and_the_applied_and_pending_files() -> None:
    document = error_document(FAILED)
    assert document == {
        "error": {
            "code": "migration_failed",
            "exit": 6,
            "message": 'column "nmae" does not exist',
            "hint": "no such column; check its spelling",
            "file": "002_b.sql",
            "line": 2,
            "column": 8,
            "statement": "SELECT\n       nmae FROM users;",
            "sqlstate": "42703",
            "context": "first\nsecond",
            "aftermath": "rolled back: the database is as it was before this file",
        },
        "applied": [{"version": "001", "filename": "001_a.sql"}],
        "failed": {"version": "002", "filename": "002_b.sql"},
        "pending": [{"version": "002", "filename": "002_b.sql"}, {"version": "003", "filename": "003_c.sql"}],
    }


def test_documents_are_ascii() -> None:
    text = json_text({"message": "größe ✅"})
    assert text.isascii()
    assert json.loads(text) == {"message": "größe ✅"}


def test_the_text_of_a_failure_goes_from_the_place_to_the_next_step() -> None:
    assert error_text(FAILED) == (
        'error: 002_b.sql:2:8: column "nmae" does not exist (42703)\n'
        "\n"
        "1 | SELECT\n2 |        nmae FROM users;\n  |        ^\n"
        "\n"
        'server\'s hint: Perhaps you meant "name".\n'
        "context: first\n         second\n"
        "applied before: 001_a.sql\n"
        "002_b.sql: rolled back: the database is as it was before this file\n"
        "still pending: 002_b.sql, 003_c.sql\n"
        "next: no such column; check its spelling"
    )


def test_the_text_of_several_problems_has_a_line_for_each() -> None:
    problems = [Problem(message="one", file="001_a.sql"), Problem(message="two")]
    assert error_text(Drift(problems)) == "error: 001_a.sql: one\n       two"


def test_the_text_of_an_error_is_its_message_and_hint() -> None:
    assert error_text(UsageError("no")) == "error: no"
    assert error_text(UsageError("no", hint="yes")) == "error: no\nnext: yes"
