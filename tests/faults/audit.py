"""The migrations of the fault tests, and the audit: what ran, how often, and whether the ledger says the same.

Each body leaves a row in audit.ran for each of its marks. A migration that ran twice leaves two, one that was rolled
back leaves none, and the ledger must agree with what is there.
"""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from kernel.db.advisory_lock import advisory_lock_key

if TYPE_CHECKING:
    from pathlib import Path

    import psycopg

    Observer = psycopg.Connection[tuple[Any, ...]]

GATE = 4711  # an advisory lock: whoever holds it keeps the body of 002 waiting in its middle
LAST_GATE = 4712  # and of 004
FREE_SECONDS = 2.0
KEY = advisory_lock_key("public", "schema_migrations")
_POLL_SECONDS = 0.01
_FILLER = "INSERT INTO app.filler SELECT repeat('x', 1000) FROM generate_series(1, 300);\n"

FIRST = {"001_first.sql": "CREATE TABLE app.events (id int);\nINSERT INTO audit.ran VALUES ('001', 'whole');\n"}
# 600 statements, which is more than one message holds: between the first and the second mark lies a new batch. Without
# a semicolon at its end, COMMIT has a message of its own.
IN_TRANSACTION = {
    "002_middle.sql": (
        "INSERT INTO audit.ran VALUES ('002', 'begin');\n"
        f"SELECT pg_advisory_xact_lock({GATE});\n{_FILLER}"
        + "INSERT INTO app.events VALUES (1);\n" * 600
        + "INSERT INTO audit.ran VALUES ('002', 'end')\n"
    )
}
IN_STEPS = {
    "003_steps.sql": (
        "-- migrate: no-transaction\n"
        "INSERT INTO audit.ran VALUES ('003', 'first');\n"
        f"INSERT INTO audit.ran VALUES ('003', 'second');\n{_FILLER}"
        "CREATE INDEX CONCURRENTLY events_id ON app.events (id);\n"
        "INSERT INTO audit.ran VALUES ('003', 'last');\n"
    )
}
LAST = {
    "004_last.sql": (
        f"INSERT INTO audit.ran VALUES ('004', 'whole');\nSELECT pg_advisory_xact_lock({LAST_GATE});\n{_FILLER}"
    ),
    "005_end.sql": f"INSERT INTO audit.ran VALUES ('005', 'whole');\n{_FILLER}",
}
MARKS = {
    "001": ("whole",),
    "002": ("begin", "end"),
    "003": ("first", "second", "last"),
    "004": ("whole",),
    "005": ("whole",),
}
_STEPPED = ("003",)


def prepare(observer: Observer) -> None:
    """The schemas that the migrations write to, which are not the ledger's."""
    observer.execute(
        "CREATE SCHEMA audit; CREATE TABLE audit.ran (version text, mark text); "
        "CREATE SCHEMA app; CREATE TABLE app.filler (text text)"
    )


def write(folder: Path, *files: dict[str, str]) -> None:
    """Put migration files into a folder."""
    folder.mkdir(exist_ok=True)
    for one in files:
        for name, text in one.items():
            (folder / name).write_text(text)


def recorded(observer: Observer) -> set[str]:
    """The versions in the ledger."""
    if observer.execute("SELECT to_regclass('schema_migrations') IS NULL").fetchone() == (True,):
        return set()
    return {version for (version,) in observer.execute("SELECT version FROM schema_migrations")}


def check(observer: Observer, marks: dict[str, tuple[str, ...]] = MARKS, stepped: tuple[str, ...] = _STEPPED) -> None:
    """Assert that records equal effects: everything ran once or not at all, and what is recorded ran whole."""
    ran: Counter[tuple[str, str]] = Counter(observer.execute("SELECT version, mark FROM audit.ran").fetchall())
    assert not (twice := [mark for mark, times in ran.items() if times > 1]), f"ran more than once: {twice}"
    records = recorded(observer)
    for version, expected in marks.items():
        found = tuple(mark for mark in expected if (version, mark) in ran)
        if version in records:
            assert found == expected, f"{version} is recorded, and only {found} of it ran"
        elif version in stepped:
            assert found == expected[: len(found)], f"{version} ran out of order: {found}"
        else:
            assert not found, f"{version} is not recorded, and {found} of it stayed"


def check_finished(observer: Observer, marks: dict[str, tuple[str, ...]] = MARKS) -> None:
    """Assert that everything is applied, with nothing left behind by what went wrong before."""
    check(observer, marks)
    assert recorded(observer) == set(marks)
    invalid = observer.execute("SELECT indexrelid::regclass FROM pg_index WHERE NOT indisvalid").fetchall()
    assert not invalid, f"left INVALID: {invalid}"
    indexes = observer.execute("SELECT indexname FROM pg_indexes WHERE indexname LIKE 'events_id%'").fetchall()
    assert indexes == [("events_id",)]
    assert observer.execute("SELECT * FROM schema_migrations_progress").fetchall() == []


def await_free_lock(observer: Observer) -> None:
    """Assert that the lock of the runners is free within FREE_SECONDS."""
    deadline = time.monotonic() + FREE_SECONDS
    while observer.execute("SELECT pg_try_advisory_lock(%s)", (KEY,)).fetchone() != (True,):
        assert time.monotonic() < deadline, f"the lock is not free after {FREE_SECONDS} s"
        time.sleep(_POLL_SECONDS)
    observer.execute("SELECT pg_advisory_unlock(%s)", (KEY,))


def await_row(observer: Observer, query: str, *, seconds: float = 20) -> None:
    """Wait for a query to yield a row."""
    deadline = time.monotonic() + seconds
    while observer.execute(query.encode()).fetchone() is None:
        assert time.monotonic() < deadline, f"in vain: {query}"
        time.sleep(_POLL_SECONDS)
