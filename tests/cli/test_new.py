"""db.new: the next file, in the project's folder, without a database."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.cli.conftest import Project


def test_the_next_number_is_scaffolded_and_its_path_printed(three: Project) -> None:
    made = three.inv("db.new", "add_user_preferences", "--description", "Preferences of tenants", DATABASE_URL="")
    assert (made.code, made.out, made.err) == (0, "migrations/004_add_user_preferences.sql\n", "")
    assert (three.root / made.out.strip()).read_text().splitlines()[:2] == [
        "-- Migration: 004 - Add user preferences",
        "-- Description: Preferences of tenants",
    ]


def test_with_revert_and_no_transaction_both_files_are_as_asked_for(three: Project) -> None:
    made = three.inv("db.new", "Index the tenants", "--revert", "--no-transaction")
    assert made.out.splitlines() == [
        "migrations/004_index_the_tenants.sql",
        "migrations/revert/004_index_the_tenants.sql",
    ]
    assert made.err == "named index_the_tenants\n"
    assert "-- migrate: no-transaction" in (three.migrations / "004_index_the_tenants.sql").read_text()
    assert three.inv("db.migrate", "--allow-empty").code == 0
    assert three.recorded() == ["001", "002", "003", "004"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "edit",
    [
        lambda text: text,
        lambda text: text.replace("Add users", "Add users and their names"),
        lambda text: text + "-- TODO: add the columns\n",
        lambda text: "".join(text.splitlines(keepends=True)[:2]),
        lambda text: text.replace("\n", "\r\n"),
    ],
    ids=["as it is", "described", "with a remark", "its header", "CRLF"],
)
@pytest.mark.parametrize("flags", [(), ("--no-transaction",)])
def test_a_new_file_that_is_not_written_yet_is_not_applied(
    three: Project, edit: Callable[[str], str], flags: tuple[str, ...]
) -> None:
    three.call("db.migrate")
    three.call("db.new", "Add users", *flags)
    path = three.migrations / "004_add_users.sql"
    path.write_bytes(edit(path.read_text()).encode())
    for arguments in ((), ("--dry-run",), ("--single-transaction",)):
        refused = three.call("db.migrate", *arguments)
        assert refused.code == 2
        assert (
            "004_add_users.sql: still as db.new wrote it, without a statement; write the migration, or " in refused.err
        )
    assert three.recorded() == ["001", "002", "003"]
    assert three.call("db.verify").code == 2
    assert three.call("db.migrate", "--allow-empty").code == 0
    assert three.recorded() == ["001", "002", "003", "004"]
    assert three.call("db.verify").code == 0, "--allow-empty was meant"


@pytest.mark.parametrize("text", ["", ";\n", "-- nothing to do: 003 has it already\n"])
def test_an_empty_file_of_the_author_is_applied_with_a_warning(three: Project, text: str) -> None:
    three.write("004_four.sql", text)
    applied = three.call("db.migrate")
    assert applied.code == 0
    assert "warning: 004_four.sql holds no statement" in applied.err


@pytest.mark.slow
def test_what_is_written_after_it_was_applied_empty_is_applied_by_rollback_and_migrate(three: Project) -> None:
    three.call("db.new", "Add users")
    three.call("db.migrate", "--allow-empty")
    path = three.migrations / "004_add_users.sql"
    path.write_text(path.read_text() + "CREATE TABLE users ();\n")
    for task in ("db.migrate", "db.status", "db.verify"):
        shown = three.call(task)
        text = shown.out + shown.err
        assert "004_add_users.sql: it had no statement when it was applied on " in text
        assert "remove its record with inv db.rollback, then run inv db.migrate" in text
        assert "db.repair" not in text
    assert three.call("db.rollback").code == 0
    assert three.call("db.migrate").code == 0
    assert "users" in three.tables()


def test_below_newer_records_its_statements_go_to_a_new_file(three: Project) -> None:
    three.write("004_four.sql", "")
    three.write("005_five.sql", "CREATE TABLE five ();\n")
    three.call("db.migrate")
    three.write("004_four.sql", "CREATE TABLE four ();\n")
    refused = three.call("db.migrate")
    assert refused.code == 4
    assert "restore it, and write the statements into a new file: inv db.new" in refused.err
    assert "db.rollback" not in refused.err


def test_a_revert_file_that_is_not_written_yet_reverts_nothing(three: Project) -> None:
    three.call("db.new", "Add users", "--revert")
    three.write("004_add_users.sql", "CREATE TABLE users ();\n")
    three.call("db.migrate")
    refused = three.call("db.rollback", "--revert")
    assert refused.code == 2
    assert (
        "revert/004_add_users.sql: still as db.new wrote it, without a statement, and would undo nothing; "
        in refused.err
    )
    assert three.recorded() == ["001", "002", "003", "004"]
    verified = three.call("db.verify")
    assert verified.code == 2
    assert "revert/004_add_users.sql: still as db.new wrote it" in verified.out
    three.write("revert/004_add_users.sql", "-- nothing to undo: the table stays\n")
    assert three.call("db.rollback", "--revert").code == 0


def test_the_linter_names_files_that_are_not_written_yet(three: Project) -> None:
    three.call("db.new", "Add users", "--revert")
    linted = three.call("db.lint")
    assert "004_add_users.sql: still as db.new wrote it" in linted.err
    assert "revert/004_add_users.sql: still as db.new wrote it" in linted.err


def test_a_description_that_another_file_has_is_mentioned(three: Project) -> None:
    assert three.call("db.new", "Add users").err == "named add_users\n"
    again = three.call("db.new", "add_users")
    assert (again.code, again.out) == (0, "migrations/005_add_users.sql\n")
    assert again.err == "note: 004_add_users.sql has the same description; delete the new file if it is one too many\n"


@pytest.mark.parametrize("name", ["--help", "", "../other"])
def test_a_name_that_cannot_be_one_makes_no_file(three: Project, name: str) -> None:
    before = sorted(three.root.rglob("*.sql"))
    refused = three.call("db.new", name)
    assert refused.code == 2
    assert refused.err.startswith("error: name: ")
    assert sorted(three.root.rglob("*.sql")) == before
