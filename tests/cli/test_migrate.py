"""db.migrate: its flags, its answers as text and as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import Project

NAMES = ["001_one.sql", "002_two.sql", "003_three.sql"]


def test_to_stops_behind_the_version_however_it_is_padded(three: Project) -> None:
    first = three.inv("db.migrate", "--to", "1")
    assert first.code == 0
    assert first.out.startswith("applied 001_one.sql (1 statement, ")
    assert first.out.endswith("; 2 pending\n")
    assert three.tables() == {"one"}
    assert three.inv("db.migrate", "--to=0002").code == 0
    assert three.recorded() == ["001", "002"]


@pytest.mark.parametrize(
    ("to", "message"),
    [
        ("9", "--to 9: no migration file has this version"),
        ("", "--to: empty; write a version such as 016, or omit the flag"),
        ("9" * 5000, "is no version; write the number of the file"),
    ],
)
def test_to_a_version_that_cannot_be_meant_is_refused(three: Project, to: str, message: str) -> None:
    before = three.state()
    refused = three.call("db.migrate", f"--to={to}", "--json")
    assert (refused.code, refused.error["code"]) == (2, "usage")
    assert message in refused.error["message"]
    assert message in refused.err
    assert three.state() == before


@pytest.mark.parametrize(
    "arguments",
    [("db.migrate", "--dry-run"), ("--dry", "db.migrate"), ("db.migrate", "--dry")],
    ids=" ".join,
)
def test_every_spelling_of_a_dry_run_shows_the_plan_and_writes_nothing(
    three: Project, arguments: tuple[str, ...]
) -> None:
    three.write("004_index.sql", "CREATE INDEX CONCURRENTLY i ON one (id);\n")
    before = three.state()
    dry = three.call(*arguments)
    assert dry.code == 0
    title, *plan = dry.out.splitlines()
    assert title.startswith("would apply to ")
    assert plan == [
        "  001_one.sql (1 statement)",
        "  002_two.sql (1 statement)",
        "  003_three.sql (1 statement)",
        "  004_index.sql (1 statement, its one statement outside a transaction)",
    ]
    assert three.state() == before


def test_json_is_the_only_thing_on_stdout(three: Project) -> None:
    dry = three.inv("db.migrate", "--json", "--dry-run", "--to", "2").document
    pending = [{"version": name[:3], "filename": name} for name in NAMES]
    assert dry == {"applied": [], "failed": None, "pending": pending[:2]}

    done = three.inv("db.migrate", "--json", "--to", "2").document
    assert [(one["version"], one["filename"], one["statements"]) for one in done["applied"]] == [
        ("001", "001_one.sql", 1),
        ("002", "002_two.sql", 1),
    ]
    assert all(0 < one["seconds"] < 10 for one in done["applied"])
    assert (done["failed"], done["pending"]) == (None, pending[2:])

    three.call("db.migrate")
    assert three.inv("db.migrate", "--json").document == {"applied": [], "failed": None, "pending": []}


def test_sql_prints_a_script_on_stdout_and_writes_nothing(three: Project) -> None:
    three.write("003_three.sql", "CREATE ROLE never_made PASSWORD 'geheim';\n")
    before = three.state()
    shown = three.inv("db.migrate", "--dry-run", "--sql")
    assert shown.code == 0
    assert "\nCREATE TABLE one (id int);\n" in shown.out
    assert "PASSWORD 'geheim'" in shown.out
    assert "warning: a file has a password in a statement, which is printed unchanged" in shown.err
    assert three.state() == before


@pytest.mark.parametrize(("flags", "message"), [((), "add --dry-run"), (("--dry-run", "--json"), "choose one of them")])
def test_sql_without_its_dry_run_or_as_json_is_refused(three: Project, flags: tuple[str, ...], message: str) -> None:
    refused = three.call("db.migrate", "--sql", *flags)
    assert (refused.code, message in refused.err) == (2, True)


def test_single_transaction_is_all_or_none(three: Project) -> None:
    three.write("003_three.sql", "CREATE TABLE three (id int);\nSELECT 1 / 0;\n")
    failed = three.inv("db.migrate", "--single-transaction", "--json")
    assert failed.code == 6
    assert failed.document["applied"] == []
    assert [one["filename"] for one in failed.document["pending"]] == NAMES
    assert (three.tables(), three.recorded()) == (set(), [])

    three.write("003_three.sql", "CREATE TABLE three (id int);\n")
    assert three.inv("db.migrate", "--single-transaction").code == 0
    assert three.value("SELECT count(DISTINCT xmin::text) FROM schema_migrations") == 1


def test_in_a_single_transaction_a_file_finds_the_session_as_after_a_commit(project: Project) -> None:
    project.write(
        "001_one.sql",
        "CREATE TABLE one (id int PRIMARY KEY, other int REFERENCES one DEFERRABLE INITIALLY DEFERRED);\n"
        "SELECT pg_catalog.set_config('search_path', '', false);\nCREATE TEMP TABLE two (id int);\n",
    )
    for version in ("002", "003"):
        project.write(
            f"{version}_loop.sql", f"INSERT INTO one VALUES ({version}, 1{version}), (1{version}, {version});"
        )
    project.write("004_two.sql", "CREATE TABLE two (id int);\nALTER TABLE one ADD COLUMN note text;\n")
    migrate = project.call("db.migrate", "--single-transaction")
    assert (migrate.code, migrate.err) == (0, "")
    assert project.tables() == {"one", "two"}


def test_single_transaction_refuses_what_cannot_be_in_one(three: Project) -> None:
    three.write("004_index.sql", "CREATE INDEX CONCURRENTLY i ON one (id);\n")
    before = three.state()
    refused = three.call("db.migrate", "--single-transaction")
    assert refused.code == 2
    assert "004_index.sql: runs outside of a transaction, which --single-transaction rules out" in refused.err
    assert three.state() == before


def test_out_of_order_is_refused_until_it_is_allowed(three: Project) -> None:
    three.call("db.migrate")
    three.write("0025_late.sql")
    three.rows("DELETE FROM schema_migrations WHERE version = '002'; DROP TABLE two")
    before = three.state()
    refused = three.call("db.migrate")
    assert refused.code == 4
    assert "error: 002_two.sql: pending, but 003 is applied already; " in refused.err
    assert "inv db.renumber 002_two.sql" in refused.err
    assert three.state() == before

    assert three.call("db.migrate", "--allow-out-of-order").code == 0
    assert three.recorded() == ["001", "002", "0025", "003"]


@pytest.mark.parametrize("wait", ["-2", "nan"])
def test_a_lock_wait_that_cannot_be_meant_is_refused(three: Project, wait: str) -> None:
    refused = three.call("db.migrate", f"--lock-wait={wait}")
    expected = f"error: --lock-wait {wait}: expected seconds, 0 not to wait, -1 to wait without limit\n"
    assert (refused.code, refused.err) == (2, expected)


def test_an_empty_file_is_recorded_with_a_warning(project: Project) -> None:
    project.write("001_one.sql", "-- nothing yet\n")
    migrate = project.call("db.migrate")
    assert migrate.code == 0
    assert "warning: 001_one.sql holds no statement; it is recorded as applied" in migrate.err
    assert project.recorded() == ["001"]


def test_a_file_is_sent_as_utf_8_whatever_the_url_asks_for(project: Project) -> None:
    project.write("001_one.sql", "CREATE TABLE one (word text);\nINSERT INTO one VALUES ('Zürich ✓');\n")
    project.call("db.migrate", DATABASE_URL=project.url_with(client_encoding="LATIN1"), PGCLIENTENCODING="LATIN1")
    assert project.value("SELECT word FROM one") == "Zürich ✓"
