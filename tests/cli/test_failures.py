"""A migration that fails: where, why, what is applied, what is pending, what to do; and what it must not leave."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import Project


def test_the_report_leads_from_the_place_to_the_next_step(three: Project) -> None:
    three.write(
        "002_two.sql",
        "-- zwei: größer\nCREATE TABLE two (id int);\n\n  INSERT INTO  twoo (id)\n  VALUES (1);\nSELECT 2;\n",
    )
    failed = three.inv("db.migrate")
    assert failed.code == 6
    assert failed.out.startswith("applied 001_one.sql ")
    assert failed.err == (
        'error: 002_two.sql:4:16: relation "twoo" does not exist (42P01)\n'
        "\n"
        "4 |   INSERT INTO  twoo (id)\n"
        "  |                ^\n"
        "5 |   VALUES (1);\n"
        "\n"
        "applied before: 001_one.sql\n"
        "002_two.sql: rolled back: the database is as it was before this file\n"
        "still pending: 002_two.sql, 003_three.sql\n"
        "next: no such table; check its spelling and schema, and whether an earlier migration should have made it\n"
    )
    assert (three.recorded(), three.tables()) == (["001"], {"one"})

    document = three.inv("db.migrate", "--json").document
    assert document["error"] == {
        "code": "migration_failed",
        "exit": 6,
        "message": 'relation "twoo" does not exist',
        "file": "002_two.sql",
        "line": 4,
        "column": 16,
        "statement": "INSERT INTO  twoo (id)\n  VALUES (1);",
        "sqlstate": "42P01",
        "hint": "no such table; check its spelling and schema, and whether an earlier migration should have made it",
        "aftermath": "rolled back: the database is as it was before this file",
    }
    assert document["applied"] == []
    assert document["failed"] == {"version": "002", "filename": "002_two.sql"}
    assert [one["version"] for one in document["pending"]] == ["002", "003"]

    three.write("002_two.sql", "CREATE TABLE two (id int);\n")
    assert three.inv("db.migrate").code == 0
    assert three.recorded() == ["001", "002", "003"]


def test_what_the_server_adds_is_shown(project: Project) -> None:
    project.write(
        "001_one.sql",
        "SELECT 1;\nDO $$\nBEGIN\n"
        "  RAISE EXCEPTION 'no luck' USING DETAIL = 'a detail', HINT = 'a hint', ERRCODE = '23514';\n"
        "END $$;\n",
    )
    failed = project.call("db.migrate")
    assert failed.code == 6
    for line in (
        "error: 001_one.sql:4: no luck (23514)",
        "detail: a detail",
        "server's hint: a hint",
        "context: PL/pgSQL function inline_code_block line 3 at RAISE",
        "next: rows violate the check; fix them in an earlier migration, then run inv db.migrate again",
    ):
        assert line in failed.err.splitlines()


def test_a_file_without_a_transaction_says_what_stays_and_goes_on_from_there(project: Project) -> None:
    script = "-- migrate: no-transaction\nCREATE TABLE one (id int);\nINSERT INTO one VALUES (1);\n{}\n"
    project.write("001_one.sql", script.format("SELECT 1 / 0;"))
    failed = project.call("db.migrate")
    assert failed.code == 6
    assert "error: 001_one.sql:4: division by zero (22012)" in failed.err
    assert "001_one.sql: statements 1 to 2, down to line 3, committed and kept; the next run goes on" in failed.err
    assert project.call("db.status", "--json").document["migrations"][0]["state"] == "partial"

    project.write("001_one.sql", script.format("INSERT INTO one VALUES (2);"))
    done = project.call("db.migrate")
    assert done.code == 0
    assert "went on with statement 3" in done.out
    assert project.rows("SELECT id FROM one ORDER BY id") == [(1,), (2,)]
    assert project.tables() == {"one"}


FORGETFUL = (
    "DROP SCHEMA public CASCADE; CREATE SCHEMA public;",
    "ALTER TABLE schema_migrations RENAME TO old;",
    "TRUNCATE schema_migrations;",
    "UPDATE schema_migrations SET checksum = '';",
)


def test_a_file_cannot_make_the_ledger_forget_it(three: Project) -> None:
    three.call("db.migrate", "--to", "1")
    before = three.state()
    for script in FORGETFUL:
        three.write("002_two.sql", f"CREATE TABLE two ();\n{script}\n")
        failed = three.call("db.migrate")
        assert failed.code == 2
        assert "it changes the ledger, in which the runner records what is applied" in failed.err
        assert three.state() == before


def test_a_file_without_a_transaction_that_drops_the_ledger_is_stopped_at_that_statement(project: Project) -> None:
    project.rows("CREATE FUNCTION f() RETURNS void LANGUAGE sql AS 'DROP TABLE schema_migrations'")
    project.write("001_one.sql", "-- migrate: no-transaction\nCREATE TABLE one ();\nSELECT f();\n")
    failed = project.call("db.migrate")
    assert failed.code == 6
    assert (
        'error: 001_one.sql:3: it drops or alters a table of the runner (relation "public.schema_migrations" does not '
        "exist); leave public.schema_migrations and public.schema_migrations_progress to the runner" in failed.err
    )
    assert "001_one.sql: statement 1, down to line 2, committed and kept; the next run goes on with" in failed.err
    assert project.recorded() == []


@pytest.mark.parametrize("directive", ["", "-- migrate: no-transaction\n"], ids=["transaction", "no transaction"])
def test_a_role_that_a_file_takes_ends_with_the_file(three: Project, role: str, directive: str) -> None:
    script = f"GRANT CREATE ON SCHEMA public TO {role};\nSET ROLE {role};\nCREATE TABLE one ();\n"
    three.write("001_one.sql", directive + script)
    migrate = three.call("db.migrate")
    assert (migrate.code, migrate.err) == (0, "")
    owners = "SELECT tablename, tableowner FROM pg_tables WHERE tablename IN ('one', 'two') ORDER BY 1"
    assert three.rows(owners) == [("one", role), ("two", "postgres")]


@pytest.mark.slow
def test_a_connection_that_is_lost_is_told_and_the_next_run_goes_on(three: Project) -> None:
    three.write("002_two.sql", "CREATE TABLE two ();\nSELECT pg_terminate_backend(pg_backend_pid());\n")
    failed = three.call("db.migrate", "--json")
    assert (failed.code, failed.error["file"]) == (6, "002_two.sql")
    assert "the connection was lost" in failed.err
    assert (three.recorded(), three.tables()) == (["001"], {"one"})
    three.write("002_two.sql", "CREATE TABLE two ();\n")
    assert three.call("db.migrate").code == 0
