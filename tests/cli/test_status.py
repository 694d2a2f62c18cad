"""db.status: what it shows, its exit codes for scripts, and that it only reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import Project


def test_check_tells_pending_by_3_and_drift_by_4_and_without_it_all_is_0(three: Project) -> None:
    three.call("db.migrate", "--to", "2")
    pending = three.inv("db.status", "--check")
    assert pending.code == 3
    assert "Applied: 2\nPending: 1\n" in pending.out

    three.call("db.migrate")
    assert three.inv("db.status", "--check").code == 0

    three.write("002_two.sql", "CREATE TABLE two (id bigint);\n")
    three.write("004_four.sql")
    drifted = three.inv("db.status", "--check", "--json")
    assert drifted.code == 4
    assert [one["state"] for one in drifted.document["migrations"]] == ["applied", "modified", "applied", "pending"]
    assert "inv db.repair --accept 002" in drifted.document["migrations"][1]["drift"]
    assert three.inv("db.status").code == 0


def test_json_says_what_the_table_shows(three: Project) -> None:
    three.call("db.migrate", "--to", "1")
    document = three.inv("db.status", "--json").document
    assert {key: document[key] for key in ("total", "applied", "pending")} == {"total": 3, "applied": 1, "pending": 2}
    assert document["database"].endswith(f":5432/{three.value('SELECT current_database()')}")
    first, second, _third = document["migrations"]
    assert (first["version"], first["filename"], first["state"]) == ("001", "001_one.sql", "applied")
    assert first["checksum"] == three.value("SELECT checksum FROM schema_migrations")
    assert (second["state"], second["applied_at"]) == ("pending", None)
    assert first.keys() == second.keys() == {"version", "filename", "state", "applied_at", "checksum"}


def test_with_long_it_shows_when_each_was_applied_and_its_checksum(three: Project) -> None:
    three.call("db.migrate", "--to", "1")
    rows = three.call("db.status", "--long").out.splitlines()
    applied_at, checksum = three.rows(
        "SELECT to_char(applied_at, 'YYYY-MM-DD HH24:MI:SS') || ' UTC', checksum FROM schema_migrations"
    )[0]
    assert any(line.startswith("Database: ") for line in rows)
    assert [line.partition("sql")[2].split(maxsplit=2)[-1] for line in rows[-3:]] == [
        f"{applied_at}  {checksum}",
        "never applied",
        "never applied",
    ]


@pytest.mark.slow
def test_check_with_wait_ends_when_the_last_pending_file_is_applied(three: Project) -> None:
    waiting = three.start("db.status", "--check", "--wait", "19")
    assert waiting.stderr
    line = waiting.stderr.readline()
    while "waiting: 3 migrations pending" not in line:
        assert line, "it ended"
        line = waiting.stderr.readline()
    assert three.call("db.migrate").code == 0
    ended = three.ended(waiting)
    assert ended.code == 0
    assert "Pending: 0" in ended.out


@pytest.mark.slow
def test_check_with_wait_exits_with_3_or_7_when_the_time_is_over(three: Project) -> None:
    over = three.call("db.status", "--check", "--wait", "1")
    assert (over.code, "Pending: 3" in over.out) == (3, True)
    never = three.call("db.status", "--check", "--wait", "1", DATABASE_URL="postgresql://127.0.0.1:1/none")
    assert (never.code, never.out) == (7, "")
    assert "Connection refused" in never.err


def test_names_that_look_like_numbers_and_long_ones_stay_as_they_are(project: Project) -> None:
    long = "1000_" + "a_rather_long_name_" * 3 + "indeed.sql"
    project.write("999_1e5.sql")
    project.write(long)
    assert project.call("db").out.splitlines()[-2:] == [
        f"  999  999_1e5.sql{' ' * (len(long) - 11)} ⏳ Pending",
        f"  1000 {long} ⏳ Pending",
    ]


def test_nothing_is_created_in_an_empty_database(three: Project) -> None:
    before = three.state()
    assert three.call("db.status").code == 0
    assert three.state() == before


def test_a_role_that_may_only_select_can_read_it(three: Project, role: str) -> None:
    three.call("db.migrate", "--to", "1")
    url = three.url_with(user=role)
    refused = three.call("db.status", "--json", DATABASE_URL=url)
    assert (refused.code, refused.error["code"]) == (7, "database_refused")
    assert f"let its owner run: GRANT SELECT ON public.schema_migrations TO {role}" in refused.err

    three.rows(f"GRANT SELECT ON public.schema_migrations TO {role}")
    read = three.call("db.status", "--json", DATABASE_URL=url)
    assert read.document["applied"] == 1
    grant = f"GRANT SELECT ON public.schema_migrations_progress TO {role}"
    assert f"an incomplete file is shown as pending; let its owner run: {grant}" in read.err

    three.rows(grant)
    assert "incomplete" not in three.call("db.status", DATABASE_URL=url).err


@pytest.mark.slow
def test_it_takes_no_lock_and_works_while_a_migration_runs(three: Project) -> None:
    three.write("002_two.sql", "CREATE TABLE two (id int);\nSELECT pg_sleep(30);\n")
    runner = three.start("db.migrate")
    three.until_asleep()
    assert three.locked()
    status = three.call("db.status", "--check", "--json")
    assert (status.code, status.document["applied"]) == (3, 1)
    runner.terminate()
    assert three.ended(runner).code == 143


def test_a_read_only_session_is_enough(three: Project) -> None:
    three.call("db.migrate", "--to", "1")
    options = "-c default_transaction_read_only=on"
    status = three.call("db.status", DATABASE_URL=three.url_with(options=options))
    assert status.code == 0
    named, warning = status.err.splitlines()
    assert named.startswith("database: ")
    assert named.endswith(f"/{three.connection.info.dbname}")
    assert warning.startswith("warning: inv db.migrate will refuse this database: ")
    assert "is read-only" in warning
    assert "Pending: 2" in status.out


@pytest.mark.slow
def test_a_pending_file_that_a_run_would_refuse_is_named_and_changes_neither_the_table_nor_the_exit_code(
    three: Project,
) -> None:
    before = three.call("db.status", "--check")
    three.write("002_two.sql", "SELECT 'unterminated;\n")
    after = three.call("db.status", "--check")
    assert (after.code, after.out) == (before.code, before.out) == (3, before.out)
    assert "warning" not in before.err
    assert "warning: inv db.migrate will refuse this file: 002_two.sql:1:8: " in after.err


def test_a_database_ahead_of_the_files_is_shown_and_is_no_drift(three: Project) -> None:
    three.call("db.migrate")
    (three.migrations / "003_three.sql").unlink()
    status = three.call("db.status", "--check")
    assert status.code == 0
    assert "  003 003_three.sql                        ❓ Missing\n" in status.out
    assert "the database is ahead of these files: 003_three.sql; " in status.out
    migrate = three.call("db.migrate")
    assert migrate.code == 0
    assert "warning: the database is ahead of these files: 003_three.sql" in migrate.err


def test_a_database_that_a_run_would_refuse_is_named_so(three: Project) -> None:
    three.rows("CREATE TABLE users (id int)")
    status = three.call("db.status")
    assert status.code == 0
    refused = three.call("db.migrate")
    assert refused.code == 4
    assert refused.err.replace("error: ", "warning: inv db.migrate will refuse this database: ") in status.err
    assert three.call("db.status", "--check").code == 4
    assert three.call("db.baseline", "--to", "0").code == 0
    assert "warning" not in three.call("db.status").err


def test_the_records_of_another_project_ask_for_the_right_database(three: Project) -> None:
    three.call("db.migrate")
    three.rows("UPDATE schema_migrations SET filename = version || '_other.sql', checksum = md5(version)")
    for task in ("db.status", "db.migrate", "db.verify"):
        ended = three.call(task)
        text = ended.out + ended.err
        assert "none of the 3 recorded migrations (001_other.sql, 002_other.sql, 003_other.sql)" in text
        assert "is this the right database?" in text
        assert "--accept" not in text
